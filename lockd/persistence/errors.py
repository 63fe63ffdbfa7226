"""What can go wrong with a data directory, told to the operator who has to act on it.

Every message names the directory, says what was found and what to do. `StoreFailed` leaves open whether the last
write happened; the others are raised before anything was promised.
"""

from pathlib import Path

_REMEDY = (
    "Nothing was repaired and nothing is served from it. A member of a cluster: move the directory away and start "
    "this node again, it fetches everything from the others. A single node: restore the directory from a backup."
)


class StoreError(Exception):
    """Anything wrong with a node's store."""


class StoreInUse(StoreError):
    """Another process holds the data directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"data directory {path} is in use by another process. Stop the lockd that runs on it, "
            "or give this one a directory of its own."
        )


class StoreCorrupt(StoreError):
    """Records that were acknowledged are missing or damaged."""

    def __init__(self, path: Path, damage: str, remedy: str = _REMEDY) -> None:
        self.path = path
        self.damage = damage
        super().__init__(f"data directory {path} is damaged: {damage}. {remedy}")


class StoreTooNew(StoreError):
    """A later lockd wrote the data directory."""

    def __init__(self, path: Path, *, found: int, known: int) -> None:
        self.path = path
        self.found = found
        self.known = known
        super().__init__(
            f"data directory {path} was written in format {found}; this lockd reads formats up to {known}. "
            "Run the lockd version that wrote it, or a later one."
        )


class StoreForeign(StoreError):
    """The data directory belongs to another node."""

    def __init__(self, path: Path, *, found: int, wanted: int) -> None:
        self.path = path
        self.found = found
        self.wanted = wanted
        super().__init__(
            f"data directory {path} belongs to node {found}; this is node {wanted}. "
            "Check --id and --data-dir: a node that runs on another's votes breaks the cluster's promises."
        )


class StoreFailed(StoreError):
    """The system refused a read or a write: a full disk, a limit, a permission, a dying device.

    A write that failed may or may not be there after the next open. No later write is tried: see
    `lockd.persistence.leveldb`.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"{path}: {reason}. What was acknowledged is on disk. Remove the cause (free space, limits, permissions, "
            "the device) and start this node again."
        )


class StoreClosed(StoreError):
    """The store, or the view, was closed before this call."""

    def __init__(self) -> None:
        super().__init__("the store was closed before this call")
