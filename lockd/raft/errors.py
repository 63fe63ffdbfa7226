"""What goes wrong in the raft room."""


class RaftError(Exception):
    """Base of the room's errors."""


class LinkError(RaftError):
    """A peer refused, or the connection to it broke."""


class CodecError(RaftError):
    """Bytes that came from the log, the store or a peer do not decode."""


class Fatal(RaftError):
    """This node must stop: going on could acknowledge what is not so. The message says why and what to do."""


class JournalCorrupt(Fatal):
    """The stored log, vote or state contradicts itself."""


class Diverged(Fatal):
    """A leader's log contradicts entries that this node knows to be committed."""


class NoLeader(RaftError):
    """No leader was found in time, and the command never left this node: it was not done."""


class OutcomeUnknown(RaftError):
    """The command may or may not have been done: no answer came in time."""


class NodeStopping(RaftError):
    """This node stops while the call waits for a lock. The wait goes on, for a client that comes back elsewhere."""
