"""Elections: whoever holds the lock of a name leads, and says something of itself. Pure."""

from lockd_client.values import Event, Holder, Leader, LockInfo, Mode

VALUE = "value"  # where the hold's metadata has it


def leader_of(holder: Holder) -> Leader:
    return Leader(
        value=holder.metadata.get(VALUE, ""),
        token=holder.token,
        owner=holder.owner,
        age=holder.age,
    )


def leader_in(info: LockInfo) -> Leader | None:
    """A lock that is held shared has no leader."""
    return next((leader_of(holder) for holder in info.holders if holder.mode is Mode.EXCLUSIVE), None)


def concerns(event: Event, name: str) -> bool:
    return any(name == of for of, _ in event.wants)
