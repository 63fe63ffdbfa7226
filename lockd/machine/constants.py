"""The machine's constants. They belong to its version: another value is another machine."""

VERSION = 1
"""Of these rules and constants. A node refuses an epoch with a version that it does not know."""

RECORD_KEEP_MS = 300_000
"""How long a request record outlives its waiter or hold, and a client's mark its last message."""

WAIT_GRACE_MS = 10_000
"""The lease under which a node parks calls."""

LEASES_PER_ENTRY = 1_000
NAMES_PER_ENTRY = 1_000
WAITERS_PER_ENTRY = 1_000
"""At most so many leases, names of holds, and waiters end in one entry, so that no entry takes long."""

RECORDS_PER_ENTRY = 1_000
NAMES_PER_PAGE = 5_000
"""How many names a page of a list looks at, whether or not they are its owner's."""

HOLDERS_SHOWN = 32
"""In the answer to a request that was in conflict."""

SET_MAX = 64
LOCK_DELAY_MAX_MS = 60_000
CYCLE_SEARCH_MAX = 20_000
"""Steps after which a search for a deadlock gives up and the wait is admitted."""

MARK_RANGES_MAX = 1_024
"""Ranges of answered sequences that a mark keeps; records in ranges beyond stay until the mark reaches them."""

TOKEN_MAX = 2**53 - 1
