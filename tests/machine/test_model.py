"""The machine against a plain model of it, on whatever hypothesis thinks of."""

from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lockd.machine import apply as machine
from lockd.machine.commands import (
    Acquire,
    Barrier,
    Batch,
    BeginEpoch,
    Call,
    Command,
    Entry,
    IsLocked,
    ListHolds,
    Release,
    Renew,
    Request,
)
from lockd.machine.outcomes import Applied, HeldByOther, LockedState, Lost, NotHeld, Page, Passed, Refusal
from lockd.machine.state import State
from tests.machine.driver import encoded, follow, restored, whole
from tests.machine.model import Model

LEASES_PER_ENTRY, RECORDS_PER_ENTRY = 2, 3  # bounds that a few commands reach
KEEP_MS = machine.RECORD_KEEP_MS
CHANGES_NOTHING = (Refusal, Lost, NotHeld, HeldByOther, LockedState, Page, Passed)

names = st.sampled_from(["a", "a/b", "b", "é"])
tokens = st.integers(0, 12)
ttls_ms = st.sampled_from([1, 10, 10, 1_000, KEEP_MS + 5, 24 * 3_600_000])
calls = st.builds(Call, st.integers(1, 3), st.integers(1, 9), st.integers(1, 99))
owners = st.sampled_from(["", "ann", "bob"])
# Times from the present clock on: mostly none, sometimes back, sometimes a long way.
jumps_ms = st.sampled_from([0, 0, 0, 1, 9, 10, 11, -7, 1_000, 1_001, KEEP_MS, KEEP_MS + 1])


@st.composite
def requests(draw, clock_ms):
    """Few ids and few digests: most are new, some are repeated, some reused for something else."""
    id = draw(st.integers(0, 9))
    asked = draw(st.sampled_from([b"one", b"one", b"one", b"another"]))
    not_after_ms = max(0, clock_ms + draw(st.sampled_from([240_000, 240_000, 0, -1, 10**9])))
    return Request(draw(st.sampled_from(["ann", "ann", "bo"])), bytes([id]), asked, not_after_ms)


@st.composite
def commands(draw, clock_ms):
    call = draw(calls)
    match draw(st.sampled_from(["lock"] * 4 + ["unlock", "unlock", "by name", "by name", "renew", "seen", "list"])):
        case "lock":
            return Acquire(
                call=call,
                request=draw(requests(clock_ms)),
                name=draw(names),
                ttl_ms=draw(st.just(0) | ttls_ms),
                owner=draw(owners),
                reason=draw(st.sampled_from(["", "nightly"])),
                metadata=draw(st.sampled_from([(), (("k", "v"), ("k", "w"))])),
                by_name=draw(st.booleans()),
            )
        case "unlock":
            name = draw(st.just("") | names)
            return Release(call=call, request=draw(requests(clock_ms)), token=draw(tokens), name=name)
        case "by name":
            return Release(call=call, request=draw(requests(clock_ms)), name=draw(names), by_name=True)
        case "renew":
            return Renew(call=call, token=draw(tokens), ttl_ms=draw(ttls_ms))
        case "seen":
            return draw(st.sampled_from([Barrier(call=call), IsLocked(call=call, name=draw(names))]))
    texts = st.sampled_from(["", "a", "a/", "a/b", "b", "é", "zz"])
    return ListHolds(
        call=call, prefix=draw(texts), after=draw(texts), limit=draw(st.integers(1, 4)), owner=draw(owners)
    )


class MachineAndModel(RuleBasedStateMachine):
    """Two machines, of which the twin is now and then restored from its records, and the model."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.twin = State(), State()
        self.stored = encoded(self.state)
        self.model = Model(
            record_keep_ms=KEEP_MS, leases_per_entry=LEASES_PER_ENTRY, records_per_entry=RECORDS_PER_ENTRY
        )
        self.patches = [
            patch.object(machine, "LEASES_PER_ENTRY", LEASES_PER_ENTRY),
            patch.object(machine, "RECORDS_PER_ENTRY", RECORDS_PER_ENTRY),
        ]
        for each in self.patches:
            each.start()

    def teardown(self) -> None:
        for each in self.patches:
            each.stop()

    def apply(self, entry: Entry, append_term: int) -> Applied:
        clock_ms, version = self.state.scalars.clock_ms, self.state.scalars.version
        applied = machine.apply(self.state, entry, append_term)
        assert applied == self.model.apply(entry, append_term)
        assert applied == machine.apply(self.twin, entry, append_term)
        assert self.state.scalars.clock_ms >= clock_ms
        assert self.state.scalars.version >= version
        follow(self.stored, self.state.take_changes())
        return applied

    def batch(self, jump_ms: int, commands: list[Command]) -> Applied:
        stamp_ms = max(0, self.model.clock_ms + jump_ms)
        entry = Batch(epoch=self.model.epoch, stamp_ms=stamp_ms, commands=tuple(commands))
        return self.apply(entry, self.model.epoch)

    @initialize()
    def begin(self):
        self.apply(BeginEpoch(epoch=1, version=1), 1)

    @rule(jump_ms=jumps_ms, data=st.data())
    def entry(self, jump_ms, data):
        clock_ms = max(0, self.model.clock_ms + jump_ms)
        self.batch(jump_ms, data.draw(st.lists(commands(clock_ms), min_size=1, max_size=6)))

    @rule(jump_ms=jumps_ms, data=st.data())
    def one_command(self, jump_ms, data):
        """After an empty entry, so that what changes is this command's doing."""
        self.batch(jump_ms, [])
        self.batch(0, [])
        command = data.draw(commands(self.model.clock_ms))
        self.batch_until_nothing_is_due()
        before = whole(self.state)
        outcome = self.batch(0, [command]).answers[0].outcome
        event(outcome.name if isinstance(outcome, Refusal) else type(outcome).__name__)
        if isinstance(outcome, CHANGES_NOTHING):
            after = whole(self.state)
            if isinstance(outcome, NotHeld | HeldByOther) and not isinstance(command, Renew):
                own = command.request.caller, command.request.id
                before, after = ([each for each in records if each.key != own] for records in (before, after))
            assert after == before

    def batch_until_nothing_is_due(self) -> None:
        while self.model.due() or self.model.forgettable():
            self.batch(0, [])

    @rule(step=st.integers(-2, 3), off=st.sampled_from([0, 0, 0, 0, -1, 1]), version=st.integers(0, 4))
    def begin_epoch(self, step, off, version):
        epoch = max(0, self.model.epoch + step)
        self.apply(BeginEpoch(epoch=epoch, version=version), max(0, epoch + off))

    @rule(step=st.integers(-2, 2), off=st.integers(-1, 1), jump_ms=st.sampled_from([-5, 0, 10**9]), data=st.data())
    def stale_entry(self, step, off, jump_ms, data):
        if step == off == 0:
            step = -1
        epoch, stamp_ms = self.model.epoch + step, max(0, self.model.clock_ms + jump_ms)
        asked = data.draw(st.lists(commands(self.model.clock_ms), max_size=3))
        before = whole(self.state)
        applied = self.apply(Batch(epoch=epoch, stamp_ms=stamp_ms, commands=tuple(asked)), epoch + off)
        assert [answer.outcome for answer in applied.answers] == [Refusal.STALE_EPOCH] * len(asked)
        assert whole(self.state) == before

    @rule(data=st.data(), times=st.integers(1, 3), ttl_ms=ttls_ms, jump_ms=jumps_ms)
    def renew_in_one_entry(self, data, times, ttl_ms, jump_ms):
        token = data.draw(st.sampled_from(sorted(self.model.held) or [0]))
        self.batch(jump_ms, [Renew(call=Call(1, 1, 1), token=token, ttl_ms=ttl_ms)] * times)

    @rule(past_ms=st.integers(0, 1))
    def at_the_next_bound(self, past_ms):
        bound = self.state.next_bound_ms()
        if bound is not None:
            self.batch(bound + past_ms - self.model.clock_ms, [])

    @rule()
    def restart_the_twin(self):
        self.twin = restored(self.stored)
        assert whole(self.twin) == whole(self.state)

    @invariant()
    def nothing_is_broken(self):
        assert list(self.state.invariants()) == []
        assert list(self.twin.invariants()) == []

    @invariant()
    def the_store_that_followed_has_everything(self):
        assert self.stored == encoded(self.state) == encoded(self.twin)

    @invariant()
    def state_and_model_are_the_same(self):
        state, model = self.state, self.model
        scalars = state.scalars
        assert (scalars.clock_ms, scalars.epoch, scalars.version) == (model.clock_ms, model.epoch, model.version)
        assert scalars.last_token == model.last_token
        assert sorted(state.holds) == sorted(model.held)
        for token, held in model.held.items():
            hold = state.hold_of(held.name)
            assert hold is state.holds[token]
            assert (state.holder(hold),) == model.holders(held.name)
            lease = state.leases.get(hold.lease)
            assert (lease.deadline_ms if lease else None) == held.deadline_ms
        untils = {key: record.until_ms or None for key, record in state.records.items()}
        assert untils == {key: known.until_ms for key, known in model.known.items()}
        deadlines = [held.deadline_ms for held in model.held.values() if held.deadline_ms is not None]
        assert state.next_bound_ms() == min(deadlines, default=None)
        assert machine.more_is_due(state) == bool(model.due())


MachineAndModel.TestCase.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],  # Phase.explain takes minutes here
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestMachineAndModel = pytest.mark.timeout(400)(MachineAndModel.TestCase)  # a failure is shrunk for 300 s at most
