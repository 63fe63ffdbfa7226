"""The server of this process: the first of the configuration that answers, found once."""

import atexit
import logging
import os
import threading
from dataclasses import dataclass
from typing import Any

from lockd_client.distributed_lock.config import Entry, entries_of, read_config
from lockd_client.distributed_lock.servers import Server, Unreachable
from lockd_client.errors import LockdError, Unavailable
from lockd_client.interrupts import put_off

_LOG = logging.getLogger("lockd_client.distributed_lock")


class NoLockingServer(Unavailable):
    """None of the entries of the locking configuration can be reached, and nothing was locked. Start one of these
    servers, or mend the configuration.
    """

    default_reason = "NO_LOCKING_SERVER"


@dataclass(frozen=True)
class Chosen:
    entry: dict[str, Any]
    server: Server


class Choice:
    """Thread-safe. After a fork the child chooses anew. Ctrl-C waits until it is done, which takes some seconds."""

    def __init__(self) -> None:
        self._updated: list[Entry] | None = None
        self._opened: list[Chosen] = []
        self._inherited: list[Chosen] = []  # by a fork; kept, so that nothing of the parent's is torn down here
        self._start_over()

    def _start_over(self) -> None:
        self._choosing = threading.Lock()
        self._chosen: Chosen | None = None

    def after_fork(self) -> None:
        for each in self._opened:
            atexit.unregister(each.server.close)
        self._inherited += self._opened
        self._opened = []
        self._start_over()

    def get(self) -> Chosen:
        """Raises BadLockingConfig, NoLockingServer; it is looked for again at the next call then."""
        with put_off, self._choosing:
            if self._chosen is None:
                entries = read_config() if self._updated is None else self._updated
                self._chosen = first_reachable(entries)
                self._opened.append(self._chosen)
                atexit.register(self._chosen.server.close)
            return self._chosen

    def update(self, given: object) -> None:
        """Raises BadLockingConfig, and then nothing is changed."""
        entries = entries_of(given, "the list given to update_config")
        with put_off, self._choosing:
            self._updated, self._chosen = entries, None

    def forget(self) -> None:
        """All of it, as if the process had just begun; what was opened is closed."""
        with put_off, self._choosing:
            opened, self._opened = self._opened, []
            self._updated, self._chosen = None, None
        for each in opened:
            atexit.unregister(each.server.close)
            each.server.close()


def first_reachable(entries: list[Entry]) -> Chosen:
    """Raises BadLockingConfig, NoLockingServer."""
    refusals = []
    for entry in entries:
        try:
            server = entry.kind.open(entry.config)
        except Unreachable as error:
            refusals.append(f"{entry.place}: {str(error).rstrip('.')}")
            _LOG.info("%s is passed over: %s", entry.place, error)
        except (TypeError, ValueError) as error:
            raise entry.bad(error.last_error if isinstance(error, LockdError) else str(error)) from error
        else:
            _LOG.info("locks are those of %s", entry.place)
            return Chosen(entry.given, server)
    raise NoLockingServer("; ".join(refusals))


CHOICE = Choice()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=CHOICE.after_fork)
