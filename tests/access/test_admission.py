"""Admission: limits, audit, and answers that do not guess."""

from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from lockd.access.admission import NO_ANSWERS, REFUSALS, Admission, Caller, Patience
from lockd.access.authority import Authority
from lockd.access.refusal import Reason, Refused
from lockd.config import Limits
from lockd.machine import commands as c
from lockd.machine import outcomes as o
from lockd.machine.state import State
from tests.engine.cluster import Cluster

CALLER = Caller("peer", 1.0)
CALL = c.Call(1, 7, 1)
EVERYBODY = Authority(None, State)


def request(id: bytes, not_after_ms: int = 240_000) -> c.Request:
    return c.Request(c.Key("", c.FREE_ID + id), b"asked", not_after_ms)


def acquire(name: str, id: bytes = b"id", **fields: Any) -> c.Acquire:
    return c.Acquire(call=CALL, request=request(id), wants=(c.Want(name, c.Mode.EXCLUSIVE),), **fields)


def release(token: int, id: bytes = b"id", **fields: Any) -> c.Release:
    return c.Release(call=CALL, request=request(id), token=token, **fields)


class Asker:
    """Asks a node of a simulated cluster, within the limits."""

    def __init__(self, size: int = 1, **limits: int) -> None:
        self.cluster = Cluster(size)
        self.cluster.do(range(1))
        self.leader = self.cluster.leader
        self.admission = Admission(self.leader.replica, Limits(**limits), EVERYBODY)

    def ask(self, command: c.Command, timeout_s: float | None = 1.0) -> object:
        """The outcome, or what was raised."""
        ended = self.start(command, timeout_s)
        self.cluster.until(lambda: ended)
        return ended[0]

    def start(self, command: c.Command, timeout_s: float | None = None) -> list[object]:
        """Is given the outcome when there is one."""
        ended: list[object] = []

        async def commit() -> None:
            try:
                ended.append(
                    await self.admission.commit(lambda call: replace(command, call=call), CALLER, Patience(timeout_s))
                )
            except Refused as refused:
                ended.append(refused)

        self.leader.process.call(lambda: self.leader.process.start(commit()))
        self.cluster.run(0.1)
        return ended

    def refusal(self, command: c.Command) -> str:
        refused = self.ask(command)
        assert isinstance(refused, Refused), refused
        assert refused.reason is Reason.LIMIT_REACHED
        return str(refused).split(";")[0]


# -- limits


def test_full_records_refuse_new_locks_and_let_go_of_old_ones():
    asker = Asker(records_per_caller_max=1)
    asker.ask(acquire("a", b"first"))
    assert asker.refusal(acquire("b", b"second")) == "records_per_caller_max: 1 of 1 are in use"
    open_session = c.OpenSession(call=CALL, request=request(b"third"), ttl_ms=5_000)
    assert asker.refusal(open_session) == "records_per_caller_max: 1 of 1 are in use"
    assert isinstance(asker.ask(c.IsLocked(call=CALL, name="lock0")), o.LockState)
    assert isinstance(asker.ask(acquire("a", b"first")), o.Granted), "an id on record takes no new place"
    assert isinstance(asker.ask(release(2, b"fourth")), o.Released)


def test_cancelled_ids_and_marks_take_places_too():
    """Both are kept for minutes, and cost whoever sends them nothing."""
    asker = Asker(records_per_caller_max=2)
    for id in (b"first", b"second", b"third", b"fourth"):
        asker.ask(c.Cancel(call=CALL, key=request(id).key))
    fifth = c.Cancel(call=CALL, key=request(b"fifth").key)
    assert asker.refusal(fifth) == "records_per_caller_max: 4 of 4 are in use"
    assert isinstance(asker.ask(c.Cancel(call=CALL, key=request(b"first").key)), o.Cancelled)


def test_what_a_client_says_is_answered_takes_places_by_its_ranges():
    asker = Asker(records_per_caller_max=3)
    key = c.Key(request(b"").key.caller, c.CLIENT_ID + bytes(16) + (1).to_bytes(8, "big"))
    marked = c.Request(key, b"asked", 240_000, c.Answered(2, ((4, 5), (7, 8))))
    wants = (c.Want("a", c.Mode.EXCLUSIVE),)
    answered = asker.ask(c.Acquire(call=CALL, request=marked, wants=wants))
    assert isinstance(answered, Refused)
    assert answered.reason is Reason.ANSWERED
    assert asker.refusal(acquire("b", b"second")) == "records_per_caller_max: 3 of 3 are in use"


def test_waiters_of_a_name():
    asker = Asker(waiters_per_name_max=1)
    asker.ask(acquire("a", b"holder"))
    asker.start(acquire("a", b"waiter", wait_ms=-1))
    assert asker.refusal(acquire("a", b"other", wait_ms=-1)) == "waiters_per_name_max: 1 of 1 are in use"
    assert isinstance(asker.ask(acquire("a", b"impatient")), o.HeldByOther), "who does not wait needs no place"
    again = asker.start(acquire("a", b"waiter", wait_ms=-1))
    asker.ask(c.Cancel(call=CALL, key=request(b"waiter").key))
    asker.cluster.until(lambda: again)
    assert isinstance(again[0], o.Cancelled), "another attempt of what waits takes no new place"


def test_waiters_and_sessions():
    asker = Asker(waiters_per_session_max=1, sessions_per_caller_max=1)
    opened = asker.ask(c.OpenSession(call=CALL, request=request(b"session"), ttl_ms=5_000))
    assert isinstance(opened, o.Opened)
    other = c.OpenSession(call=CALL, request=request(b"another"), ttl_ms=5_000)
    assert asker.refusal(other) == "sessions_per_caller_max: 1 of 1 are in use"
    asker.ask(acquire("a", b"holder"))
    asker.start(acquire("a", b"waiter", wait_ms=-1, session=opened.session))
    more = acquire("a", b"more", wait_ms=-1, session=opened.session)
    assert asker.refusal(more) == "waiters_per_session_max: 1 of 1 are in use"
    assert isinstance(asker.ask(c.CloseSession(call=CALL, caller="", session=opened.session)), o.Closed)
    assert isinstance(asker.ask(other), o.Opened)


def test_waits_of_a_caller():
    asker = Asker(waits_per_caller_max=1, calls_per_caller_max=1)
    granted = asker.ask(acquire("a", b"holder"))
    assert isinstance(granted, o.Granted)
    waiting = asker.start(acquire("a", b"waiter", wait_ms=-1))
    assert asker.refusal(acquire("a", b"other", wait_ms=-1)) == "waits_per_caller_max: 1 of 1 are in use"
    assert isinstance(asker.ask(c.IsLocked(call=CALL, name="a")), o.LockState), "a wait is no call in work"
    assert isinstance(asker.ask(release(granted.token, b"release")), o.Released)
    asker.cluster.until(lambda: waiting)
    assert isinstance(asker.ask(acquire("a", b"next")), o.HeldByOther)
    assert len(asker.start(acquire("a", b"another", wait_ms=-1))) == 0, "the wait is over, and another may begin"


def test_calls_in_work_leave_room_for_what_frees():
    asker = Asker(2, calls_per_caller_max=1)
    granted = asker.ask(acquire("a", b"holder"))
    assert isinstance(granted, o.Granted)
    asker.cluster.isolate(asker.cluster.followers[0])
    asker.start(c.IsLocked(call=CALL, name="a"))
    assert asker.refusal(c.IsLocked(call=CALL, name="a")) == "calls_per_caller_max: 1 of 1 are in use"
    freed = asker.start(release(granted.token, b"release"), timeout_s=0.5)
    asker.cluster.until(lambda: freed)
    assert isinstance(freed[0], Refused)
    assert freed[0].reason is Reason.OUTCOME_UNKNOWN, "it was taken in"


def test_a_node_that_stops_takes_nothing_more():
    asker = Asker()
    asker.admission.is_stopping = True
    refused = asker.ask(c.IsLocked(call=CALL, name="a"))
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.STOPPING


# -- audit


def test_force_is_audited():
    asker = Asker()
    granted = asker.ask(acquire("a"))
    assert isinstance(granted, o.Granted)
    with capture_logs() as logs:
        asker.ask(release(granted.token, b"force", force=True, reason="its owner is gone", owner="ann"))
    assert {
        "event": "lock broken",
        "outcome": "done",
        "token": granted.token,
        "reason": "its owner is gone",
        "label": "ann",
        "identity": "",
        "credential": "",
        "peer": "peer",
        "log_level": "info",
    } in logs


# -- answers


def test_every_refusal_has_its_reason():
    asked_again = {o.Refusal.STALE_EPOCH, o.Refusal.STALE_NODE}
    assert set(REFUSALS) == set(o.Refusal) - asked_again
    assert len({*REFUSALS.values(), *NO_ANSWERS.values()}) == len(REFUSALS) + len(NO_ANSWERS), "each its own"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (c.KeepAlive(call=CALL, caller="", session=99), Reason.SESSION_ENDED),
        (acquire("b", session=99), Reason.SESSION_ENDED),
        (acquire("other name", b"used"), Reason.ID_REUSED),
        (replace(acquire("b"), request=request(b"late", not_after_ms=1)), Reason.TOO_OLD),
        (c.Renew(call=CALL, caller="", token=2, ttl_ms=5_000), Reason.NO_LEASE),
    ],
)
def test_what_is_no_answer_is_an_error(command, reason):
    asker = Asker()
    asker.ask(replace(acquire("a", b"used"), request=c.Request(request(b"used").key, b"something else", 240_000)))
    refused = asker.ask(command)
    assert isinstance(refused, Refused), refused
    assert refused.reason is reason


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (c.IsLocked(call=CALL, name="a"), Reason.NO_ANSWER),
        (c.Get(call=CALL, name="a"), Reason.NO_ANSWER),
        (c.Renew(call=CALL, caller="", token=1, ttl_ms=2_000), Reason.OUTCOME_UNKNOWN),
        (c.KeepAlive(call=CALL, caller="", session=1), Reason.OUTCOME_UNKNOWN),
        (acquire("a"), Reason.OUTCOME_UNKNOWN),
    ],
)
def test_a_change_that_is_not_answered_is_unknown_and_a_read_is_not(command, reason):
    asker = Asker(3)
    for member in asker.cluster.followers:
        asker.cluster.isolate(member)
    refused = asker.ask(command, 0.3)
    assert isinstance(refused, Refused)
    assert refused.reason is reason


def test_an_id_of_the_nodes_own_survives_a_clock_that_lies_behind():
    """A node that has just come back makes ids from the clock that it had."""
    asker = Asker()
    asker.cluster.run(400.0)
    asker.cluster.do(range(1))  # the clock moves on, past the first id's time
    ids = {"by task": iter((0, 10**9)), "by callback": iter((0, 10**9))}
    ended: dict[str, object] = {}

    def make(way: str, call: c.Call) -> c.Command:
        not_after_ms = next(ids[way]) + 1
        return replace(acquire(way), call=call, request=request(b"%d" % not_after_ms + way.encode(), not_after_ms))

    async def commit() -> None:
        done = ended.__setitem__
        asker.admission.submit(
            lambda call: make("by callback", call),
            lambda outcome: done("by callback", outcome),
            CALLER,
            Patience(1.0),
            has_own_id=True,
        )
        outcome = await asker.admission.commit(
            lambda call: make("by task", call), CALLER, Patience(1.0), has_own_id=True
        )
        done("by task", outcome)

    asker.leader.process.call(lambda: asker.leader.process.start(commit()))
    asker.cluster.until(lambda: len(ended) == 2)
    assert isinstance(ended["by task"], o.Granted)
    assert isinstance(ended["by callback"], o.Granted)


def test_an_id_of_the_nodes_own_that_has_grown_old_is_in_doubt(monkeypatch: pytest.MonkeyPatch):
    """TOO_OLD proves nothing then: the command may have been carried out, and its record gone since."""
    monkeypatch.setattr("lockd.access.admission.OWN_ID_YOUNG_S", -1.0)
    asker = Asker()
    asker.cluster.run(400.0)
    asker.cluster.do(range(1))
    old = acquire("a")
    ended: list[object] = []

    async def commit() -> None:
        try:
            make = lambda call: replace(old, call=call, request=request(b"old", 1))  # noqa: E731 - a Make
            await asker.admission.commit(make, CALLER, Patience(1.0), has_own_id=True)
        except Refused as refused:
            ended.append(refused.reason)

    asker.leader.process.call(lambda: asker.leader.process.start(commit()))
    asker.cluster.until(lambda: ended)
    assert ended == [Reason.OUTCOME_UNKNOWN]
