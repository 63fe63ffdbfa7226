"""Scenarios as text: entries, and under each `----` what the machine answered and which records changed.

    # A comment.

    entry stamp=100
      lock jobs ttl=5000 id=a1
    ----
    Granted(token=1, lease_remaining_ms=5000)
    ~ holds 1: ...

`begin E` begins an epoch; `entry` is a batch; `restart` goes on with a state restored from the stored records.
`epoch=` and `term=` (of the append) are those of the last `begin` unless they are given.
"""

from collections.abc import Iterator
from dataclasses import fields
from itertools import count

from lockd.machine.commands import Acquire, Barrier, Command, IsLocked, ListHolds, Release, Renew, Request
from lockd.machine.outcomes import Applied, Refusal
from lockd.machine.state import Change
from tests.machine.driver import CALL, FOREVER, Machine, restored

LINE = "----"


def played(text: str) -> str:
    """The scenario with the answers of this machine in place of those in the text."""
    play = Play()
    return "\n\n".join(play.block(block) for block in text.strip("\n").split("\n\n")) + "\n"


class Play:
    def __init__(self) -> None:
        self._machine = Machine(epoch=0)
        self._fresh = count(1)

    def block(self, block: str) -> str:
        lines = block.splitlines()
        asked = lines[: lines.index(LINE)] if LINE in lines else lines
        steps = [line for line in asked if not line.startswith("#")]
        return "\n".join([*asked, LINE, *_shown(self._machine, self._step(steps))]) if steps else block

    def _step(self, lines: list[str]) -> Applied:
        machine = self._machine
        what, words, options = _words(lines[0])
        match what:
            case "begin":
                epoch, version = int(words[0]), int(options.get("version", 1))
                return machine.begin(epoch, version=version, append_term=int(options.get("term", epoch)))
            case "entry":
                commands = [self._command(line) for line in lines[1:]]
                epoch = int(options.get("epoch", machine.epoch))
                term = int(options.get("term", epoch))
                return machine.entry(*commands, at=int(options["stamp"]), epoch=epoch, append_term=term)
            case "restart":
                machine.state, machine.changed = restored(machine.stored), []
                return Applied()
        raise ValueError(f"a scenario knows no {what!r}")

    def _command(self, line: str) -> Command:
        what, words, options = _words(line)
        name, by_name = words[0] if words else "", "by-name" in words
        token, ttl_ms, limit = (int(options.get(key, 0)) for key in ("token", "ttl", "limit"))
        owner, prefix, after = (options.get(key, "") for key in ("owner", "prefix", "after"))
        request = self._request(line, options)
        match what:
            case "lock":
                return Acquire(call=CALL, request=request, name=name, ttl_ms=ttl_ms, owner=owner, by_name=by_name)
            case "unlock":
                return Release(call=CALL, request=request, token=token, name=name, by_name=by_name)
            case "renew":
                return Renew(call=CALL, token=token, ttl_ms=ttl_ms)
            case "is-locked":
                return IsLocked(call=CALL, name=name)
            case "list":
                return ListHolds(call=CALL, prefix=prefix, after=after, limit=limit or 100, owner=owner)
            case "barrier":
                return Barrier(call=CALL)
        raise ValueError(f"a scenario knows no {what!r}")

    def _request(self, line: str, options: dict[str, str]) -> Request:
        asked = [word for word in line.split() if not word.startswith(("id=", "caller=", "not-after="))]
        return Request(
            caller=options.get("caller", "ann"),
            id=(options.get("id") or f"fresh-{next(self._fresh)}").encode(),
            asked=" ".join(asked).encode(),
            not_after_ms=int(options.get("not-after", FOREVER)),
        )


def _words(line: str) -> tuple[str, list[str], dict[str, str]]:
    """unlock jobs id=u1: ("unlock", ["jobs"], {"id": "u1"})"""
    what, *rest = line.split()
    options = dict(word.split("=", 1) for word in rest if "=" in word)
    return what, [word for word in rest if "=" not in word], options


def _shown(machine: Machine, applied: Applied) -> Iterator[str]:
    for ended in applied.ended:
        yield f"ended: {ended.name} (token {ended.token}, {'expired' if ended.expired else 'released'})"
    for answer in applied.answers:
        yield _value(answer.outcome)
    for change in machine.changed:
        yield _changed(change)
    if not machine.changed:
        yield "nothing changed"


def _changed(change: Change) -> str:
    key = "" if change.key is None else " " + _value(change.key)
    return f"- {change.table}{key}" if change.value is None else f"~ {change.table}{key}: {_fields(change.value)}"


def _value(value: object) -> str:
    match value:
        case Refusal():
            return value.name
        case Request():
            return f"{value.caller}/{value.id.decode()}"
        case (str() as caller, bytes() as id):
            return f"{caller}/{id.decode()}"
        case tuple():
            return f"[{', '.join(map(_value, value))}]"
        case str() | int():
            return str(value)
    return f"{type(value).__name__}({_fields(value)})"


def _fields(value: object) -> str:
    """Those that say something: an empty text, no lease and no time are left out."""
    shown = ((field.name, getattr(value, field.name)) for field in fields(value))  # type: ignore[arg-type]
    return " ".join(f"{name}={_value(it)}" for name, it in shown if it or name.endswith("remaining_ms"))
