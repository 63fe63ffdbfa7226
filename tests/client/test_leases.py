"""When leases are renewed and lost, on a clock moved by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockd_client.clock import CLOCK_RATE_BOUND, MARGIN_S, deadline_of
from lockd_client.leases import Lease, Upkeep
from lockd_client.values import RenewAnswer, State

spans = st.floats(0, 86_400)


@given(sent=spans, remaining=spans, waited=spans, rate=st.floats(-CLOCK_RATE_BOUND, CLOCK_RATE_BOUND))
def test_the_deadline_is_never_late_whatever_the_clocks_rates(
    sent: float, remaining: float, waited: float, rate: float
) -> None:
    """The lease ends no earlier than waited + remaining on the cluster's clock after the sending; this clock may run
    faster or slower than it by twice the bound of each.
    """
    here = (waited + remaining) * (1 - CLOCK_RATE_BOUND) / (1 + rate)
    assert deadline_of(sent, remaining, waited) <= sent + here
    assert deadline_of(sent, remaining, waited) <= sent + remaining + waited - MARGIN_S


def lease(deadline: float = 29.0, *, renews: bool = True, ttl: float = 30.0) -> Lease:
    return Lease(ttl, deadline=deadline, sent=0.0, token=7, renews=renews)


def renewal(deadline: float, sent: float = 10.0) -> RenewAnswer:
    return RenewAnswer(renewed=True, lease_remaining=30, deadline=deadline, sent=sent)


def test_it_is_renewed_at_a_third_of_its_ttl() -> None:
    held = lease()
    assert held.due() == 10.0
    assert held.renewed(renewal(39.0), 10.5)
    assert (held.deadline, held.due()) == (39.0, 20.0)


def test_only_the_deadline_of_one_that_is_not_renewed_is_due() -> None:
    assert lease(renews=False).due() == 29.0
    assert lease(math.inf, ttl=0).due() == math.inf


def test_an_answer_never_shortens() -> None:
    held = lease()
    assert held.renewed(renewal(39.0), 10.5)
    assert held.renewed(renewal(35.0, sent=9.0), 11.0)
    assert held.deadline == 39.0


def test_its_own_deadline_is_looked_at_before_an_answer() -> None:
    held = lease()
    assert not held.renewed(renewal(39.0), 29.0)
    assert held.deadline == 29.0


def test_what_is_not_held_is_not_renewed() -> None:
    assert not lease().renewed(RenewAnswer(renewed=False, lease_remaining=0, deadline=-math.inf), 1.0)


def test_lost_stays_lost_and_is_told_once() -> None:
    held = lease()
    told: list[State] = []
    held.listen(told.append)
    unheard = held.listen(told.append)
    unheard()
    held.lose()
    held.lose()
    assert told == [State.LOST]
    assert held.has_passed(0.0)
    assert held.remaining(0.0) == 0.0
    assert not held.renewed(renewal(39.0), 1.0)


def test_where_a_third_is_left_it_is_suspended_until_a_renewal_is_answered() -> None:
    held = lease()
    told: list[State] = []
    held.listen(told.append)
    held.is_renewing = True  # and no answer comes
    assert (held.state(18.9), held.due()) == (State.CONNECTED, 19.0)
    held.tell(19.0)
    held.tell(19.1)
    assert (held.state(19.1), told, held.due()) == (State.SUSPENDED, [State.SUSPENDED], 29.0)
    assert held.renewed(renewal(48.0, sent=19.0), 20.0)
    held.tell(20.0)
    assert told == [State.SUSPENDED, State.CONNECTED]
    assert held.state(48.0) is State.LOST


def test_without_renewals_it_is_connected_until_it_is_lost() -> None:
    assert [lease(renews=False).state(time) for time in (28.9, 29.0)] == [State.CONNECTED, State.LOST]
    assert lease(math.inf, ttl=0).state(1e9) is State.CONNECTED


def test_it_is_renewed_only_while_progress_is_reported() -> None:
    held = Lease(30.0, deadline=29.0, sent=0.0, token=7, progress_within=12.0)
    assert held.wants_renewal(10.0)
    assert not held.wants_renewal(12.0)
    assert held.due() == 19.0  # no renewal is due any more
    held.progress(13.0)
    assert held.due() == 10.0
    assert held.wants_renewal(24.9)
    assert not held.wants_renewal(25.0)


@pytest.mark.parametrize(("time", "short"), [(0.0, False), (19.0, False), (19.1, True), (40.0, True)])
def test_less_than_a_third_is_too_little_to_report(time: float, short: bool) -> None:
    assert lease().is_short(time) is short


def test_upkeep_gives_what_is_due_in_order() -> None:
    upkeep, first, second = Upkeep(), lease(), lease(renews=False)
    upkeep.keep(second)
    upkeep.keep(first)
    assert upkeep.next_due() == 10.0
    assert upkeep.take_due(9.0) == []
    assert upkeep.take_due(10.0) == [first]
    assert first not in upkeep
    first.is_renewing = True
    upkeep.keep(first)
    assert upkeep.next_due() == 19.0
    upkeep.forget(second)
    assert upkeep.take_due(30.0) == [first]
    assert upkeep.next_due() == math.inf


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 100)), max_size=200))
def test_upkeep_against_a_dict(changes: list[tuple[int, float]]) -> None:
    upkeep, leases = Upkeep(), [lease(renews=False) for _ in range(4)]
    kept: dict[int, float] = {}
    for which, deadline in changes:
        if deadline < 20:
            upkeep.forget(leases[which])
            kept.pop(which, None)
        else:
            leases[which].deadline = kept[which] = deadline
            upkeep.keep(leases[which])
        assert upkeep.next_due() == min(kept.values(), default=math.inf)
