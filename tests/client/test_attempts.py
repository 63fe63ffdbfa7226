"""Order, patience and pauses of one call's attempts, on a clock moved by hand."""

import pytest

from lockd_client import OutcomeUnknown, Unavailable
from lockd_client.attempts import ATTEMPT_S, BACKOFF_MAX_S, Attempts, Failure, Repeat

NODES = ("a:1", "b:1", "c:1")


def attempts(repeat: Repeat, endpoints: tuple[str, ...] = NODES, *, deadline: float = 10.0) -> Attempts:
    return Attempts(endpoints, repeat, deadline=deadline, chance=lambda: 1.0)


def test_a_round_is_without_pauses_and_rounds_are_apart() -> None:
    campaign = attempts(Repeat.SAFE)
    made = [campaign.next(0.0) for _ in range(3 * 8)]
    assert [attempt.endpoint for attempt in made if attempt] == list(NODES) * 8
    delays = [attempt.delay for attempt in made if attempt]
    assert delays[0::3] == [0.0, 0.05, 0.1, 0.2, 0.4, BACKOFF_MAX_S, BACKOFF_MAX_S, BACKOFF_MAX_S]
    assert set(delays[1::3] + delays[2::3]) == {0.0}


@pytest.mark.parametrize(
    ("repeat", "endpoints", "timeout"),
    [
        (Repeat.READ, NODES, ATTEMPT_S),
        (Repeat.SAFE, NODES, ATTEMPT_S),
        (Repeat.ONCE, NODES, 5.0),
        (Repeat.ONCE, NODES[:1], 10.0),
    ],
)
def test_patience(repeat: Repeat, endpoints: tuple[str, ...], timeout: float) -> None:
    first = attempts(repeat, endpoints).next(0.0)
    assert first is not None
    assert first.timeout == timeout


def test_an_attempt_never_outlives_the_deadline() -> None:
    campaign = attempts(Repeat.SAFE)
    assert campaign.next(0.0) is not None
    late = campaign.next(9.0)
    assert late is not None
    assert late.timeout == 1.0
    assert campaign.next(9.95) is None, "too little is left"


def test_the_first_attempt_is_made_however_little_time_there_is() -> None:
    assert attempts(Repeat.ONCE, deadline=0.01).next(0.0) is not None


def test_no_attempt_at_all() -> None:
    campaign = attempts(Repeat.SAFE, deadline=1.0)
    assert campaign.next(2.0) is None
    assert "before the first attempt" in str(campaign.exhausted())


@pytest.mark.parametrize(("sent", "kind"), [(True, OutcomeUnknown), (False, Unavailable)])
def test_only_what_may_have_been_sent_is_in_doubt(sent: bool, kind: type[Exception]) -> None:
    campaign = attempts(Repeat.SAFE)
    campaign.next(0.0)
    assert campaign.failed(Failure(endpoint="a:1", code="UNAVAILABLE", reason="", details="", sent=sent)) is None
    assert isinstance(campaign.exhausted(), kind)
    assert campaign.exhausted().endpoints == ("a:1",)


def test_who_asks_again_is_in_doubt_from_the_start() -> None:
    """A refusal now says nothing of the call before, which may hold the lock."""
    asked_again = Attempts(NODES, Repeat.SAFE, deadline=10.0, chance=lambda: 1.0, in_doubt=True)
    assert asked_again.next(0.0) is not None
    refused = Failure(endpoint="a:1", code="RESOURCE_EXHAUSTED", reason="LIMIT_REACHED", details="full")
    assert isinstance(asked_again.failed(refused), OutcomeUnknown)
    assert isinstance(asked_again.exhausted(), OutcomeUnknown)
