"""scripts/integration with scenarios that end as the test wants. The real ones it runs itself, in CI too."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cluster import ROOT
from tests.integration.scenarios import SCENARIOS

PROGRAM = ROOT / "scripts" / "integration"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """As a module, so that it can be given other scenarios."""
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = signal.getsignal(signal.SIGTERM)
    spec = spec_from_loader("integration", SourceFileLoader("integration", str(PROGRAM)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    signal.signal(signal.SIGTERM, before)


def good(folder: Path) -> str:
    return f"3 of 3 in {folder.name}"


def bad(folder: Path) -> str:
    raise AssertionError("a grant was lost")


def test_one_that_fails_ends_it_with_1_and_the_others_run(program, monkeypatch, capsys):
    monkeypatch.setattr(program, "SCENARIOS", {"bad": bad, "good": good})
    monkeypatch.setattr(sys, "argv", ["integration"])
    assert program.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("FAIL bad (0.")
    assert "AssertionError: a grant was lost" in lines
    assert lines[-2].startswith("ok   good (0.")
    assert lines[-2].endswith("s): 3 of 3 in 2-good")
    assert lines[-1].startswith("1 of 2 scenarios passed in 0 s")


def test_some_can_be_chosen(program, monkeypatch, capsys):
    monkeypatch.setattr(program, "SCENARIOS", {"bad": bad, "good": good})
    monkeypatch.setattr(sys, "argv", ["integration", "good"])
    assert program.main() == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(PROGRAM), *arguments], capture_output=True, text=True)


def test_it_tells_what_it_has():
    listed = run("--list").stdout.splitlines()
    assert [line.partition(": ")[0] for line in listed] == list(SCENARIOS)
    assert all(line.endswith(".") for line in listed), "each has a docstring whose first line is a sentence"


def test_a_name_that_it_does_not_know():
    wrong = run("no-such-thing")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "no such scenario: no-such-thing" in wrong.stderr
