"""What guards raise. As of all LockdErrors, the first paragraph of each docstring is what its message begins with."""

import os

from lockd_client.errors import LockdError


class FenceError(LockdError):
    """A guard refused: nothing may be written."""

    default_reason = "FENCED"


class StaleToken(FenceError):
    """The fencing token is stale: a later holder of the lock was here. Write nothing; acquire the lock again, and begin
    with reading what it protects.

    `name`: of the lock, or the path of the file. `token`: the one that was refused. `highest`: the highest exclusive
    token that the guard saw.
    """

    default_reason = "STALE_TOKEN"

    def __init__(self, name: str, token: int, highest: int) -> None:
        super().__init__(f"{name!r}: token {token}, the highest seen is {highest}.")
        self.name, self.token, self.highest = name, token, highest
        self.args = (name, token, highest)  # what a copy in another process is made of


class DamagedMark(FenceError):
    """The mark of a fence cannot be read, so that no token can be told to be stale. Make sure that no holder of before
    writes any more, then delete the mark: the next token that comes makes a new one.

    `path`: of the mark.
    """

    default_reason = "DAMAGED_MARK"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(os.fspath(path))
        self.path = os.fspath(path)


class FenceBusy(FenceError, TimeoutError):
    """Another is writing to the file, or reading from it, and was not done within the wait. Nothing was checked."""

    default_reason = "FENCE_BUSY"


class TooManyNames(FenceError):
    """The marks in memory are as many as they may become. Name the locks that count (name=), or raise names_max."""

    default_reason = "RESOURCE_EXHAUSTED"


class BadFence(FenceError, ValueError):
    """The header Lockd-Fence cannot be read. It is a list, separated by commas, of a lock's name (percent-encoded), a
    blank, its fencing token, and, of a shared hold, a blank and the word shared: `Lockd-Fence: nightly-report 42`.
    """

    default_reason = "BAD_FENCE"


class FenceRequired(FenceError):
    """The request has to say under which fencing token it is made, in the header Lockd-Fence: the lock's name
    (percent-encoded), a blank, and the token of an exclusive hold.
    """

    default_reason = "FENCE_REQUIRED"
