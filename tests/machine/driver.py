"""A machine to drive in tests: a state, and the entries that are applied to it one after the other."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import TypeVar

from lockd.machine.apply import apply
from lockd.machine.commands import Acquire, Batch, BeginEpoch, Call, Command, Entry, Release, Renew, Request
from lockd.machine.outcomes import Applied, Granted, Outcome
from lockd.machine.state import Change, State
from lockd.raft.codec import decode_records, encode_change

FOREVER = 2**60
CALL = Call(node=1, life=7, number=1)
Asked = TypeVar("Asked", Acquire, Release)
_fresh = count(1)


def request(id: bytes = b"", *, caller: str = "ann", asked: bytes = b"", not_after_ms: int = FOREVER) -> Request:
    """Without an id: one that was never used."""
    return Request(caller, id or b"fresh %d" % next(_fresh), asked, not_after_ms)


def lock(name: str, ttl_ms: int = 0, *, req: Request | None = None, owner: str = "", by_name: bool = False) -> Acquire:
    return Acquire(call=CALL, request=req or request(), name=name, ttl_ms=ttl_ms, owner=owner, by_name=by_name)


def unlock(token: int, *, name: str = "", req: Request | None = None) -> Release:
    return Release(call=CALL, request=req or request(), token=token, name=name)


def unlock_by_name(name: str, *, req: Request | None = None) -> Release:
    return Release(call=CALL, request=req or request(), name=name, by_name=True)


def renew(token: int, ttl_ms: int) -> Renew:
    return Renew(call=CALL, token=token, ttl_ms=ttl_ms)


def whole(state: State) -> list[Change]:
    return list(state.all_records())


def encoded(state: State) -> dict[bytes, bytes]:
    """The state as a store holds it."""
    image = dict(encode_change(change) for change in state.all_records())
    assert None not in image.values()
    return {key: value or b"" for key, value in image.items()}


def restored(image: dict[bytes, bytes]) -> State:
    return State.restored(decode_records(iter(sorted(image.items()))))


def follow(image: dict[bytes, bytes], changes: list[Change]) -> None:
    """What a store does after an entry."""
    for key, value in map(encode_change, changes):
        if value is None:
            image.pop(key, None)
        else:
            image[key] = value


class Machine:
    """Checks after each entry that nothing is broken and that a store that follows has the whole state."""

    def __init__(self, *, epoch: int = 1) -> None:
        self.state = State()
        self.stored = encoded(self.state)
        self.changed: list[Change] = []
        """By the last entry."""
        self.begin(epoch)

    @property
    def clock_ms(self) -> int:
        return self.state.scalars.clock_ms

    @property
    def epoch(self) -> int:
        return self.state.scalars.epoch

    def apply(self, entry: Entry, append_term: int) -> Applied:
        applied = apply(self.state, entry, append_term)
        assert list(self.state.invariants()) == []
        self.changed = self.state.take_changes()
        follow(self.stored, self.changed)
        assert self.stored == encoded(self.state)
        return applied

    def begin(self, epoch: int, *, version: int = 1, append_term: int | None = None) -> Applied:
        entry = BeginEpoch(epoch=epoch, version=version)
        return self.apply(entry, epoch if append_term is None else append_term)

    def entry(
        self, *commands: Command, at: int | None = None, epoch: int | None = None, append_term: int | None = None
    ) -> Applied:
        """One batch. at: its stamp, the present clock if none is given."""
        epoch = self.epoch if epoch is None else epoch
        stamp_ms = self.clock_ms if at is None else at
        batch = Batch(epoch=epoch, stamp_ms=stamp_ms, commands=commands)
        return self.apply(batch, epoch if append_term is None else append_term)

    def run(self, *commands: Command, at: int | None = None) -> Outcome:
        """The outcome of the last command of one batch."""
        return self.entry(*commands, at=at).answers[-1].outcome

    def hold(self, name: str, ttl_ms: int = 0, *, by_name: bool = False) -> int:
        """Takes a lock; the token."""
        outcome = self.run(lock(name, ttl_ms, by_name=by_name))
        assert isinstance(outcome, Granted)
        return outcome.token

    def names(self) -> Iterator[str]:
        return self.state.names_after("", "")


def sent_again(command: Asked) -> Asked:
    """The same request by another call."""
    return replace(command, call=Call(node=2, life=9, number=command.call.number + 1))
