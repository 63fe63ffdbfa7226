"""Locks in words: who holds one, who waits, what to type. And as JSON, for programs. Pure."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from lockd.cli.text import aligned, duration, shell_word
from lockd.escape import escaped

if TYPE_CHECKING:
    from lockd_client import Holder, LockInfo, Waiter

HOLDERS_SAID = 5  # of one lock, where they stand in an error

RENEWED_S = 0.2  # by so much a renewal is later than the grant

_SHARED = "SHARED"  # lockd_client.Mode: to import it would load gRPC


# ---- sentences


def held_line(holder: "Holder") -> str:
    """Who holds a lock, since when, until when and why."""
    shared = " shared" if holder.mode == _SHARED else ""
    parts = [f"for {duration(holder.age)}", f"token {holder.token}", _until(holder)]
    if holder.identity:
        parts.append(f"identity {escaped(holder.identity)}")
    if holder.names > 1:
        parts.append(f"one of {holder.names} locks")
    if holder.reason:
        parts.append(f"reason: {escaped(holder.reason)}")
    return f"{escaped(holder.name)} is held{shared} by {escaped(holder.owner)}: {', '.join(parts)}"


def _until(holder: "Holder") -> str:
    if not holder.ttl:
        return "until it is unlocked"
    remain = f"{duration(holder.lease_remaining)} remain"
    return f"{remain} unless its session is kept alive" if holder.session_id else remain


def renewals(holder: "Holder") -> list[str]:
    """When its lease was renewed last."""
    since = max(0.0, holder.ttl - holder.lease_remaining)
    if not holder.ttl:
        return ["no lease: it outlives whoever took it"]
    if holder.age - since < RENEWED_S:
        return [f"a ttl of {duration(holder.ttl)}, not renewed since the grant"]
    return [f"a ttl of {duration(holder.ttl)}, renewed {duration(since)} ago"]


def in_the_way(info: "LockInfo") -> list[str]:
    """Why a lock is not to be had at once: holders, a lock delay, and how many wait. Empty: it is free."""
    lines = [held_line(holder) for holder in info.holders[:HOLDERS_SAID]]
    more = info.holders_count - len(lines)
    if more > 0:
        lines.append(f"{escaped(info.name)} is held by {more} more: lockd info {name_argument(info.name)}")
    if info.delayed_until_ms:
        lines.append(f"{escaped(info.name)} has a lock delay: nobody gets it for another {duration(delay(info))}")
    if info.waiters_count:
        lines.append(f"{escaped(info.name)}: {waiting(info.waiters_count)}")
    return lines


def waiting(count: int) -> str:
    return "1 waits" if count == 1 else f"{count} wait"


def delay(info: "LockInfo") -> float:
    """Seconds that its lock delay still lasts; 0 where there is none."""
    return max(0, info.delayed_until_ms - info.clock_ms) / 1000


def is_free(info: "LockInfo") -> bool:
    """Not held, nobody waits, no lock delay."""
    return not (info.holders_count or info.waiters_count or info.delayed_until_ms)


def state_line(info: "LockInfo") -> str:
    """One lock in a sentence."""
    parts = []
    if info.holders_count:
        shared = info.holders[0].mode == _SHARED
        parts.append(f"held shared by {info.holders_count}" if shared else "held")
    else:
        parts.append("not held")
    parts.append(waiting(info.waiters_count) if info.waiters_count else "nobody waits")
    if info.delayed_until_ms:
        parts.append(f"lock delay for another {duration(delay(info))}")
    return f"{escaped(info.name)}: {', '.join(parts)}"


# ---- what to type


def name_argument(name: str) -> str:
    """A name as the last argument, which may look like an option."""
    return f"-- {shell_word(name)}" if name.startswith("-") else shell_word(name)


def unlock_line(names: Sequence[str], token: int) -> str:
    """Frees the hold; one of its names is enough."""
    return _line("unlock", names[0], f"--token {token}")


def break_line(name: str, token: int) -> str:
    return _line("break", name, f"--token {token} --reason WHY")


def _line(verb: str, name: str, options: str) -> str:
    if name.startswith("-"):
        return f"lockd {verb} {options} {name_argument(name)}"
    return f"lockd {verb} {shell_word(name)} {options}"


# ---- tables

_LISTED = ("NAME", "TURN", "MODE", "TOKEN", "OWNER", "IDENTITY", "AGE", "REMAINING", "REASON")
_HELD = ("TOKEN", "MODE", "OWNER", "IDENTITY", "AGE", "REMAINING", "SESSION", "COUNT", "LOCKS", "REASON", "METADATA")
_WAITING = ("TURN", "MODE", "OWNER", "IDENTITY", "AGE", "GIVES UP IN", "SESSION", "REASON", "METADATA")


def listed(holders: "Sequence[Holder]", waiters: "Sequence[Waiter]" = ()) -> list[str]:
    """Locks in the order of their names; of each its holders, then its waiters in the order of their turns."""
    shared = _any_shared(holders) or _any_shared(waiters)
    rows = [
        (
            (each.name, 0, each.token),
            (
                escaped(each.name),
                "holds" if waiters else "",
                _mode(each, shared),
                str(each.token),
                escaped(each.owner),
                escaped(each.identity),
                duration(each.age),
                _remaining(each),
                escaped(each.reason),
            ),
        )
        for each in holders
    ] + [
        (
            (each.name, 1, each.position),
            (
                escaped(each.name),
                str(each.position + 1),
                _mode(each, shared),
                "",
                escaped(each.owner),
                escaped(each.identity),
                duration(each.waited),
                "",
                escaped(each.reason),
            ),
        )
        for each in waiters
    ]
    return aligned(_LISTED, [row for _, row in sorted(rows, key=lambda pair: pair[0])])


def holders_table(holders: "Sequence[Holder]") -> list[str]:
    shared = _any_shared(holders)
    rows = [
        (
            str(each.token),
            _mode(each, shared),
            escaped(each.owner),
            escaped(each.identity),
            duration(each.age),
            _remaining(each),
            str(each.session_id) if each.session_id else "",
            str(each.count) if each.count > 1 else "",
            str(each.names) if each.names > 1 else "",
            escaped(each.reason),
            _metadata(each),
        )
        for each in holders
    ]
    return aligned(_HELD, rows)


def waiters_table(waiters: "Sequence[Waiter]", clock_ms: int) -> list[str]:
    """In the order of their turns, the next one first."""
    rows = [
        (
            str(each.position + 1),
            each.mode.lower(),
            escaped(each.owner),
            escaped(each.identity),
            duration(each.waited),
            duration(max(0, each.until_ms - clock_ms) / 1000) if each.until_ms else "",
            str(each.session_id) if each.session_id else "",
            escaped(each.reason),
            _metadata(each),
        )
        for each in waiters
    ]
    return aligned(_WAITING, rows)


def _any_shared(those: "Sequence[Holder | Waiter]") -> bool:
    return any(each.mode == _SHARED for each in those)


def _mode(each: "Holder | Waiter", is_shown: bool) -> str:
    return each.mode.lower() if is_shown else ""


def _remaining(holder: "Holder") -> str:
    return duration(holder.lease_remaining) if holder.ttl else "no ttl"


def _metadata(each: "Holder | Waiter") -> str:
    return escaped(", ".join(f"{key}={value}" for key, value in sorted(each.metadata.items())))


# ---- JSON: the names are those of lockd_client's values


def as_json(content: object) -> str:
    """One line, in ASCII: no name can move a terminal's cursor."""
    return json.dumps(content)


def all_json(values: "Iterable[Holder | Waiter]") -> list[dict[str, object]]:
    return [asdict(value) for value in values]


def info_json(info: "LockInfo") -> dict[str, object]:
    return {**asdict(info), "is_free": is_free(info), "delay_remaining": delay(info)}
