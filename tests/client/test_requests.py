"""Request ids and marks, against a set."""

from hypothesis import given
from hypothesis import strategies as st

from lockd_client.requests import GIVE_UP_S, NOT_AFTER_MS, RANGES_MAX, Requests


def covered(requests: Requests) -> set[int]:
    below, ranges = requests.mark()
    return set(range(1, below)) | {each for first, last in ranges for each in range(first, last + 1)}


@given(st.lists(st.integers(1, 40)))
def test_the_mark_says_what_was_answered(answered: list[int]) -> None:
    requests = Requests(bytes(16))
    said: set[int] = set()
    for sequence in answered:
        requests.answered(sequence)
        said.add(sequence)
        assert covered(requests) == said
        below, ranges = requests.mark()
        edges = [below - 1, *(edge for each in ranges for edge in each)]
        assert edges == sorted(edges)
        gaps = zip([below - 1, *(last for _, last in ranges)], [first for first, _ in ranges], strict=False)
        assert all(first - last > 1 for last, first in gaps), "ranges that touch are one"


@given(st.sets(st.integers(1, 2_000), min_size=300))
def test_the_mark_is_bounded_and_never_says_too_much(answered: set[int]) -> None:
    requests = Requests(bytes(16))
    for sequence in answered:
        requests.answered(sequence)
    assert len(requests.mark()[1]) <= RANGES_MAX
    assert covered(requests) <= answered


def test_ids_count_from_one_and_outlive_the_clock_by_four_minutes() -> None:
    requests = Requests(b"c" * 16)
    first, second = requests.new(1000), requests.new(2000)
    assert (first.client, first.sequence, first.not_after_ms) == (b"c" * 16, 1, 1000 + NOT_AFTER_MS)
    assert (second.sequence, second.not_after_ms) == (2, 2000 + NOT_AFTER_MS)


def test_a_doubtful_one_is_given_up_after_a_while() -> None:
    requests = Requests(bytes(16))
    requests.doubtful(1, 100.0)
    requests.give_up(100.0 + GIVE_UP_S - 1)
    assert requests.mark() == (1, ())
    requests.give_up(100.0 + GIVE_UP_S)
    assert requests.mark() == (2, ())
