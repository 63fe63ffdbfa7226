"""The programs in bench/ run and print their figures. How large those are is asserted nowhere: CI measures nothing."""

import subprocess
import sys

import pytest

from tests.house.sources import ROOT

TITLES = [
    "Lock: grpc.aio echo",
    "Lock: leader of three",
    "Lock: a follower of three",
    "Lock: a single node",
    "Lock: leader of three, lockd_client",
    "Unlock: leader of three",
    "LevelDB, one synced write",
    "lockd's store, one write",
]


def printed(program: str, *options: str) -> str:
    run = subprocess.run(
        [sys.executable, str(ROOT / "bench" / program), *options], capture_output=True, text=True, timeout=100
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def rows(text: str) -> dict[str, list[str]]:
    """The cells of a table's lines, by the first one."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line]
    return {first: rest for first, *rest in lines}


def test_one_lock(tmp_path):
    text = printed("one_lock.py", "--rounds", "2", "--calls", "3", "--folder", str(tmp_path))
    table = rows(text)
    for title in TITLES:
        assert all(float(cell) > 0 for cell in table[title] if cell), text
    assert all(table["Lock: leader of three"]), "beside the echo and the synced write"
    assert "before: cores" in text
    assert "after: cores" in text
    assert list(tmp_path.iterdir()) == []


def test_failover(tmp_path):
    text = printed("failover.py", "--kills", "1", "--folder", str(tmp_path))
    figures = [cells for cells in rows(text).values() if cells[0].isdigit()]
    assert len(figures) == 3, text
    assert list(tmp_path.iterdir()) == []


def test_many_locks(tmp_path):
    few = ("--locks", "300", "--sessions", "20", "--rounds", "1", "--calls", "3", "--ttl", "3")
    text = printed("many_locks.py", *few, "--folder", str(tmp_path))
    table = rows(text)
    assert "bytes" in table["memory a lock, by node"][0]
    assert table["another client's calls meanwhile"][0].endswith(", 0 failed"), text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("program", "option"), [("one_lock.py", "--rounds"), ("failover.py", "--kills"), ("many_locks.py", "--locks")]
)
def test_nothing_to_do_is_refused(program, option):
    run = subprocess.run(
        [sys.executable, str(ROOT / "bench" / program), option, "0"], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 2
    assert "at least 1" in run.stderr


def test_greedy(tmp_path):
    kinds = ("Lock on streams", "Lock, unary", "16 calls at once", "computes, calls nobody")
    few = ("--rounds", "1", "--calls", "3", *(part for kind in kinds for part in ("--kind", kind)))
    text = printed("greedy.py", *few, "--folder", str(tmp_path))
    table = rows(text)
    assert all(float(cell) > 0 for kind in kinds for cell in table[kind]), text
    assert "refused of the greedy one" in text
    assert list(tmp_path.iterdir()) == []
