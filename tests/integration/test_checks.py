"""What the scenarios hold answers against finds what it looks for."""

import pytest

from tests.integration.contender import Grant
from tests.integration.scenarios import check_grants, spread


def test_grants_that_follow_each_other_pass():
    check_grants([Grant("a", 1, 1.0, 2.0), Grant("b", 2, 1.5, None), Grant("a", 3, 2.1, None)])


@pytest.mark.parametrize(
    ("grants", "said"),
    [
        ([Grant("a", 1, 1.0, 2.0), Grant("b", 1, 3.0, 4.0)], "a token was given out twice"),
        ([Grant("a", 1, 1.0, 2.0), Grant("a", 2, 1.9, 3.0)], "two held a at once"),
        ([Grant("a", 1, 1.0, None), Grant("a", 2, 2.0, 3.0)], "was never let go"),
        ([Grant("a", 2, 1.0, 2.0), Grant("a", 1, 3.0, 4.0)], "token 1 came after 2"),
    ],
)
def test_grants_that_contradict_each_other_do_not(grants, said):
    with pytest.raises(AssertionError, match=said):
        check_grants(grants)


def test_a_spread_is_said_in_milliseconds():
    assert spread([0.002, 0.5, 0.025]) == "median 25 ms, 2 ms to 500 ms"
