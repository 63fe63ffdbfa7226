"""Whatever the order in which tokens come: one that is lower than an exclusive one that has passed never passes."""

import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from lockd_client import InvalidArgument, LockdError
from lockd_client.fence import (
    BadFence,
    DamagedMark,
    Fence,
    FenceBusy,
    FenceError,
    FenceRequired,
    StaleToken,
    TooManyNames,
)
from lockd_client.fence.file import FileMarks
from lockd_client.fence.marks import Marks, MemoryMarks
from lockd_client.fence.sql import SqlMarks
from tests.fence.resources import FENCE, METADATA
from tests.integration.cluster import ROOT

THREADS = 8

_rounds = count()

requests = st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 12) | st.integers(2**53 - 3, 2**53 - 1), st.booleans())


@pytest.fixture(params=["memory", "file", "sqlite", "postgresql", "mariadb"])
def marks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Marks]:
    match request.param:
        case "memory":
            yield MemoryMarks()
            return
        case "file":
            yield FileMarks(tmp_path)
            return
        case "sqlite":
            engine = create_engine("sqlite://", poolclass=StaticPool)
        case server:
            engine = create_engine(request.getfixturevalue(server))
    METADATA.create_all(engine)
    yield SqlMarks(engine, FENCE)
    engine.dispose()


def passes(marks: Marks, name: str, token: int, shared: bool = False) -> int:
    """0, or the highest token by which it was refused."""
    try:
        marks.check(name, token, shared=shared)
    except StaleToken as error:
        return error.highest
    return 0


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(requests, max_size=12))
def test_marks_do_what_the_highest_exclusive_token_of_each_lock_says(marks, sequence):
    this_round = next(_rounds)
    highest: dict[str, int] = {}
    for name, token, shared in sequence:
        present = highest.get(name, 0)
        assert passes(marks, f"{name} in round {this_round}", token, shared) == (present if token < present else 0)
        if not shared:
            highest[name] = max(present, token)


@pytest.fixture
def threads_take_turns_often() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def compete(marks: Marks, name: str, hands: list[list[int]]) -> list[tuple[int, int]]:
    """Lets one thread play each hand of tokens. What passed: the token, and the highest that had passed before it was
    asked.
    """
    passed: list[tuple[int, int]] = []
    start = threading.Barrier(len(hands))

    def play(hand: list[int]) -> None:
        start.wait()
        for token in hand:
            floor = max((each for each, _ in passed), default=0)
            if not passes(marks, name, token):
                passed.append((token, floor))

    threads = [threading.Thread(target=play, args=(hand,)) for hand in hands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return passed


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.lists(st.integers(1, 50), min_size=5, max_size=20), min_size=THREADS, max_size=THREADS))
def test_among_threads_no_token_passes_after_a_higher_one_has_passed(tmp_path, threads_take_turns_often, hands):
    for marks in (MemoryMarks(), FileMarks(tmp_path)):
        passed = compete(marks, f"round {next(_rounds)}", hands)
        assert [(token, floor) for token, floor in passed if token < floor] == []
        assert max(token for token, _ in passed) == max(map(max, hands))


def test_marks_in_memory_are_compared_and_raised_in_one_step():
    marks, rival_s = MemoryMarks(), 0.2
    rival = threading.Thread(target=marks.check, args=("a", 7))

    class Name(str):
        """Between the comparison and the raising of its mark a rival comes with a higher token."""

        looks = 0

        def __hash__(self) -> int:
            self.looks += 1
            if self.looks == 2:
                rival.start()
                rival.join(rival_s)  # it waits for its turn, where it has to
            return super().__hash__()

    marks.check(Name("a"), 5)
    rival.join()
    assert passes(marks, "a", 6) == 7


def test_marks_in_memory_are_bounded_and_none_is_forgotten():
    marks = MemoryMarks(names_max=2)
    marks.check("a", 7)
    marks.check("b", 7)
    with pytest.raises(TooManyNames, match="names_max is 2"):
        marks.check("c", 7)
    marks.check("c", 7, shared=True)
    marks.check("a", 8)
    assert passes(marks, "a", 7) == 8


@pytest.mark.parametrize(("name", "token"), [("", 1), ("x" * 513, 1), ("a\n", 1), ("a", 0), ("a", 2**53), ("a", True)])
def test_what_is_no_name_or_no_token_is_refused_everywhere(marks, name, token):
    with pytest.raises(InvalidArgument):
        marks.check(name, token)
    with pytest.raises(InvalidArgument):
        Fence(name, token)


@pytest.mark.parametrize(
    "error",
    [
        StaleToken("a", 1, 2),
        DamagedMark("/srv/a.fence"),
        FenceBusy("/srv/a after 2 s"),
        TooManyNames("names_max is 2"),
        BadFence("x"),
        FenceRequired(),
    ],
)
def test_errors_are_of_one_family_say_what_to_do_and_travel_between_processes(error):
    assert isinstance(error, FenceError)
    assert isinstance(error, LockdError)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.reason, vars(copy)) == (type(error), str(error), error.reason, vars(error))
    assert error.reason.isupper()


def test_guards_of_files_and_of_requests_need_the_standard_library_alone():
    modules = ", ".join(f"lockd_client.fence.{name}" for name in ("asgi", "errors", "file", "marks", "web", "wsgi"))
    program = f"import sys, {modules}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(run.stdout.split()) & {"google", "grpc", "sqlalchemy"} == set()
