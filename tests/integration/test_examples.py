"""The examples of README.md and pyclient/README.md, as a reader would type them, against a real node."""

import doctest
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockd_client import LockdClient
from tests.integration.cluster import ROOT, Cluster, running

README, CLIENTS = ROOT / "README.md", ROOT / "pyclient" / "README.md"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = {README: (1, 1), CLIENTS: (1, 3)}
"""Of each file how many sessions of an interpreter, and how many pieces of code."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("examples"), size=1) as cluster:
        yield cluster


@pytest.fixture
def here(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node of `make run`, at an address of its own."""
    monkeypatch.setenv("LOCKD_ENDPOINTS", cluster.nodes[1].endpoint)


def sessions(file: Path) -> list[str]:
    return [text for _, text in FENCED.findall(file.read_text()) if ">>> " in text]


def code(file: Path) -> list[str]:
    return [text for language, text in FENCED.findall(file.read_text()) if language == "python"]


@pytest.mark.parametrize("file", SHOWN, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_examples_are_found(file: Path) -> None:
    assert (len(sessions(file)), len(code(file))) == SHOWN[file]


@pytest.mark.parametrize("file", SHOWN, ids=lambda file: str(file.relative_to(ROOT)))
def test_sessions_say_what_they_show(here: None, file: Path) -> None:
    for text in sessions(file):
        test = doctest.DocTestParser().get_doctest(text, {}, file.name, str(file), 0)
        assert test.examples
        assert doctest.DocTestRunner(verbose=False).run(test, clear_globs=False).failed == 0
        client = next(value for value in test.globs.values() if isinstance(value, LockdClient))
        client.close()


def test_the_safe_way_to_hold_a_lock(here: None) -> None:
    (text,) = code(README)
    tokens: list[int] = []
    with LockdClient() as client:
        exec(text, {"lockd_client": client, "write_report": lambda fence: tokens.append(fence)})
        assert not client.is_locked("nightly-report")
    assert len(tokens) == 1


def test_the_clients_examples(here: None, capsys: pytest.CaptureFixture[str]) -> None:
    first, progress, functions = code(CLIENTS)
    exec(first, {})
    loaded: list[int] = []
    with LockdClient() as client:
        given: dict[str, Any] = {"client": client, "batches": [1, 2], "load": loaded.append}
        exec(progress, given)
        exec(functions, given)
        assert not list(client.list())
    assert loaded == [1, 2]
    assert capsys.readouterr().out.splitlines()[-1] == "host1:8080"
