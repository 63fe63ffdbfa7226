"""Scenarios as text: entries, and under each `----` what was answered, what happened and which records changed.

    # A comment.

    entry stamp=100
      a1: lock jobs ttl=5000
      c1: cancel a1
    ----
    a1: Granted(token=1 lease_remaining_ms=5000)
    ...

`begin E` begins an epoch; `entry` is a batch; `restart` goes on with a state restored from the stored records.
`epoch=` and `term=` (of the append) are those of the last `begin` unless they are given.

Every command has a name of its own, to which its answers go, also those that come later. The name is its request id,
unless `id=` gives another: that of an earlier command makes it another attempt of the same request. A name of a set
ends in `+` where it is wanted to be shared; `shared` says so for all.
"""

from collections.abc import Callable, Iterator
from dataclasses import fields
from enum import Enum

from lockd.machine import commands as c
from lockd.machine.outcomes import Applied, Event, Link, Refusal
from lockd.machine.tables import Change, DelayKey, MarkKey, NodeKey
from tests.machine.driver import FOREVER, LIFE, Machine

LINE = "----"
FLAGS = ("shared", "reentrant", "by-name", "force", "waiters")


def played(text: str) -> str:
    """The scenario with the answers of this machine in place of those in the text."""
    play = Play()
    return "\n\n".join(play.block(block) for block in text.strip("\n").split("\n\n")) + "\n"


class Line:
    """a1: lock jobs mail+ ttl=5000 shared"""

    def __init__(self, text: str) -> None:
        self.name, _, rest = text.strip().partition(": ")
        self.what, *words = rest.split()
        self.options = dict(word.split("=", 1) for word in words if "=" in word)
        self.words = [word for word in words if "=" not in word]

    def text(self, option: str) -> str:
        return self.options.get(option, "")

    def number(self, option: str, default: int = 0) -> int:
        return int(self.options.get(option, default))

    def flag(self, word: str) -> bool:
        return word in self.words

    def first(self) -> str:
        return self.words[0] if self.words else ""


KEYS = {
    "leases": ("id",),
    "holds": ("token",),
    "waiters": ("key",),
    "delays": ("name", "mode"),
    "records": ("key",),
    "nodes": ("node", "life"),
}
"""The fields of a record that its key repeats."""

OF_ATTEMPT = ("id", "caller", "not-after", "attempt", "node", "life")
"""What is no part of what is asked."""


class Play:
    def __init__(self) -> None:
        self._machine = Machine(epoch=0)
        self._calls: dict[c.Call, str] = {}

    def block(self, block: str) -> str:
        lines = block.splitlines()
        asked = lines[: lines.index(LINE)] if LINE in lines else lines
        steps = [line for line in asked if not line.startswith("#")]
        return "\n".join([*asked, LINE, *self._shown(self._step(steps))]) if steps else block

    def _step(self, lines: list[str]) -> Applied:
        machine, head = self._machine, Line(f": {lines[0]}")
        match head.what:
            case "begin":
                epoch = int(head.first())
                return machine.begin(epoch, version=head.number("version", 1), append_term=head.number("term", epoch))
            case "entry":
                commands = [self._command(Line(line)) for line in lines[1:]]
                epoch = head.number("epoch", machine.epoch)
                term = head.number("term", epoch)
                return machine.entry(*commands, at=head.number("stamp"), epoch=epoch, append_term=term)
            case "restart":
                machine.restart()
                return Applied()
        raise ValueError(f"a scenario knows no {head.what!r}")

    def _command(self, line: Line) -> c.Command:
        make = COMMANDS.get(line.what)
        if make is None:
            raise ValueError(f"a scenario knows no {line.what!r}")
        call = next((call for call, name in self._calls.items() if name == line.name), None)
        if call is None:
            call = c.Call(line.number("node", 1), line.number("life", LIFE), len(self._calls) + 1)
            self._calls[call] = line.name
        return make(call, line)

    # -- as text

    def _shown(self, applied: Applied) -> Iterator[str]:
        for event in applied.events:
            yield f"! {_happened(event)}"
        for answer in applied.answers:
            yield f"{self._calls[answer.call]}: {self._value(answer.outcome)}"
        for change in self._machine.changed:
            yield self._changed(change)
        if not self._machine.changed:
            yield "nothing changed"

    def _changed(self, change: Change) -> str:
        key = "" if change.key is None else " " + self._value(change.key)
        if change.value is None:
            return f"- {change.table}{key}"
        return f"~ {change.table}{key}: {self._fields(change.value, besides=KEYS.get(change.table, ()))}"

    def _value(self, value: object) -> str:
        match value:
            case Refusal() | Enum():
                return value.name
            case c.Key():
                return f"{value.caller}/{value.id[1:].decode()}"
            case c.Call():
                return self._calls[value]
            case c.Want():
                return value.name + "+" * (value.mode is c.Mode.SHARED)
            case Link():
                return f"{value.agent} waits for {value.name}"
            case DelayKey() | NodeKey() | MarkKey():
                return " ".join(map(self._value, value))
            case bytes():
                return value.decode()
            case tuple():
                return f"[{', '.join(map(self._value, value))}]"
            case str() | int():
                return str(value)
        return f"{type(value).__name__}({self._fields(value)})"

    def _fields(self, value: object, *, besides: tuple[str, ...] = ()) -> str:
        """Those that say something: no empty text, no zero, no count of one, and nothing twice."""
        shown = ((field.name, getattr(value, field.name)) for field in fields(value))  # type: ignore[arg-type]
        return " ".join(
            f"{name}={self._value(it)}" for name, it in shown if name not in besides and _says_something(name, it)
        )


def _says_something(name: str, value: object) -> bool:
    if name == "asked" or (name in ("count", "names", "attempt", "holders_count") and value == 1):
        return False
    return bool(value) or name.endswith("remaining_ms")


def _happened(event: Event) -> str:
    names = " ".join(want.name + "+" * (want.mode is c.Mode.SHARED) for want in event.wants)
    token = f" token={event.token}" if event.token else ""
    why = f" ({event.reason})" if event.reason else ""
    return f"{event.revision} {event.what.value}: {names}{token}{why}"


# -- commands


def _key(line: Line) -> c.Key:
    return c.Key(line.options.get("caller", "ann"), c.FREE_ID + line.options.get("id", line.name).encode())


def _request(line: Line) -> c.Request:
    options = [f"{option}={value}" for option, value in line.options.items() if option not in OF_ATTEMPT]
    asked = " ".join([line.what, *line.words, *options])
    return c.Request(_key(line), asked.encode(), line.number("not-after", FOREVER))


def _wants(line: Line) -> tuple[c.Want, ...]:
    names = [word for word in line.words if word not in FLAGS]
    shared = [name.endswith("+") or line.flag("shared") for name in names]
    modes = [c.Mode.SHARED if is_shared else c.Mode.EXCLUSIVE for is_shared in shared]
    return tuple(c.Want(name.rstrip("+"), mode) for name, mode in zip(names, modes, strict=True))


def _lock(call: c.Call, line: Line) -> c.Acquire:
    return c.Acquire(
        call=call,
        request=_request(line),
        wants=_wants(line),
        attempt=line.number("attempt"),
        session=line.number("session"),
        agent=line.text("agent"),
        ttl_ms=line.number("ttl"),
        wait_ms=line.number("wait"),
        lock_delay_ms=line.number("delay"),
        reentrant=line.flag("reentrant"),
        owner=line.text("owner"),
        by_name=line.flag("by-name"),
    )


def _unlock(call: c.Call, line: Line) -> c.Release:
    name = next((word for word in line.words if word not in FLAGS), "")
    return c.Release(
        call=call,
        request=_request(line),
        token=line.number("token"),
        name=name,
        session=line.number("session"),
        agent=line.text("agent"),
        by_name=line.flag("by-name"),
        force=line.flag("force"),
        reason=line.text("reason"),
    )


def _list(call: c.Call, line: Line) -> c.ListHolds:
    prefix, after, owner = line.text("prefix"), line.text("after"), line.text("owner")
    limit, with_waiters = line.number("limit", 100), line.flag("waiters")
    return c.ListHolds(call=call, prefix=prefix, after=after, owner=owner, limit=limit, with_waiters=with_waiters)


def _cancel(call: c.Call, line: Line) -> c.Cancel:
    return c.Cancel(call=call, key=c.Key(line.options.get("caller", "ann"), c.FREE_ID + line.first().encode()))


def _session(call: c.Call, line: Line) -> c.OpenSession:
    return c.OpenSession(call=call, request=_request(line), ttl_ms=line.number("ttl"), owner=line.text("owner"))


def _keep(call: c.Call, line: Line) -> c.KeepAlive:
    return c.KeepAlive(call=call, caller=line.options.get("caller", "ann"), session=line.number("session"))


def _close(call: c.Call, line: Line) -> c.CloseSession:
    return c.CloseSession(call=call, caller=line.options.get("caller", "ann"), session=line.number("session"))


COMMANDS: dict[str, Callable[[c.Call, Line], c.Command]] = {
    "lock": _lock,
    "unlock": _unlock,
    "cancel": _cancel,
    "open": _session,
    "keep": _keep,
    "close": _close,
    "renew": lambda call, line: c.Renew(call=call, caller="ann", token=line.number("token"), ttl_ms=line.number("ttl")),
    "node": lambda call, _: c.OpenNode(call=call),
    "is-locked": lambda call, line: c.IsLocked(call=call, name=line.first()),
    "get": lambda call, line: c.Get(call=call, name=line.first()),
    "list": _list,
    "barrier": lambda call, _: c.Barrier(call=call),
}
