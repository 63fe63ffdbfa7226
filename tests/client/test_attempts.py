"""What failed attempts mean, and which endpoint's turn is next, on a clock moved by hand."""

import pytest

from lockd_client import CallFailed, LockdError, OutcomeUnknown, RequestTooOld, SessionLost, Unavailable
from lockd_client.attempts import BACKOFF_MAX_S, MOVE_PAUSE_S, UNFIT_S, Doubt, Failure, Repeat, Route

NODES = ("a:1", "b:1", "c:1")


def failure(code: str, reason: str = "", *, sent: bool = True) -> Failure:
    return Failure(endpoint="a:1", code=code, reason=reason, details="", sent=sent)


def route() -> Route:
    return Route(NODES, chance=lambda: 1.0)


def test_a_round_is_without_pauses_and_rounds_are_apart() -> None:
    campaign, turns, pauses = route(), [], []
    for _ in range(3 * 8):
        turns.append(campaign.endpoint)
        campaign.failed(campaign.endpoint, 100.0)
        pauses.append(round(campaign.not_before - 100.0, 9))
    assert turns == list(NODES) * 8
    assert pauses[2::3] == [0.05, 0.1, 0.2, 0.4, *[BACKOFF_MAX_S] * 4]
    assert set(pauses[0::3] + pauses[1::3]) == {0.0}


def test_who_answered_is_asked_again_and_ends_the_pauses() -> None:
    campaign = route()
    for _ in range(5):
        campaign.failed(campaign.endpoint, 0.0)
    campaign.succeeded("b:1")
    assert campaign.endpoint == "b:1"
    for _ in range(3):
        campaign.failed(campaign.endpoint, 10.0)
    assert campaign.not_before == pytest.approx(10.05)


def test_a_call_after_a_rest_does_not_wait() -> None:
    campaign = route()
    for _ in range(30):
        campaign.failed(campaign.endpoint, 0.0)
    campaign.rested()
    assert campaign.not_before == 0.0


def test_moves_to_the_leader_are_apart() -> None:
    campaign = route()
    assert campaign.leader("c:1", 0.0) == "c:1"
    assert campaign.leader("b:1", MOVE_PAUSE_S / 2) is None
    assert campaign.leader("b:1", MOVE_PAUSE_S) == "b:1"


def test_an_address_of_the_leader_that_does_not_answer_is_left_alone_for_a_while() -> None:
    campaign = route()
    assert campaign.leader("10.0.0.9:2080", 0.0) == "10.0.0.9:2080"
    campaign.unfit("10.0.0.9:2080", 1.0)
    assert campaign.leader("10.0.0.9:2080", 5.0) is None
    assert campaign.leader("10.0.0.9:2080", 1.0 + UNFIT_S) == "10.0.0.9:2080"
    assert campaign.endpoint == "a:1"


def test_what_is_no_address_is_no_leader() -> None:
    assert route().leader("dns:///x y", 0.0) is None


def test_no_attempt_at_all() -> None:
    error = Doubt(Repeat.SAFE).exhausted()
    assert isinstance(error, Unavailable)
    assert "before the first attempt" in str(error)


@pytest.mark.parametrize(("sent", "kind"), [(True, OutcomeUnknown), (False, Unavailable)])
def test_only_what_may_have_been_sent_is_in_doubt(sent: bool, kind: type[LockdError]) -> None:
    doubt = Doubt(Repeat.SAFE)
    assert doubt.failed(failure("UNAVAILABLE", sent=sent)) is None
    assert isinstance(doubt.exhausted(), kind)
    assert doubt.exhausted().endpoints == ("a:1",)


def test_who_asks_again_is_in_doubt_from_the_start() -> None:
    """A refusal now says nothing of the call before, which may hold the lock."""
    asked_again = Doubt(Repeat.SAFE, in_doubt=True)
    assert isinstance(asked_again.failed(failure("RESOURCE_EXHAUSTED", "LIMIT_REACHED")), OutcomeUnknown)
    assert isinstance(asked_again.exhausted(), OutcomeUnknown)


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        ("FAILED_PRECONDITION", "TOO_OLD", RequestTooOld),
        ("FAILED_PRECONDITION", "ANSWERED", RequestTooOld),
        ("FAILED_PRECONDITION", "SESSION_ENDED", SessionLost),
        ("ABORTED", "WITHDRAWN", CallFailed),
    ],
)
def test_answers_that_settle_a_request_whatever_went_before(code: str, reason: str, kind: type[LockdError]) -> None:
    doubt = Doubt(Repeat.SAFE)
    assert doubt.failed(failure("UNAVAILABLE")) is None
    error = doubt.failed(failure(code, reason))
    assert type(error) is kind
    assert error.reason == reason


def test_a_superseded_attempt_is_made_again() -> None:
    assert Doubt(Repeat.SAFE).failed(failure("ABORTED", "SUPERSEDED")) is None
