"""The commands against `lockd serve`: the contract's names and bounds, as an operator meets them."""

import json
from collections.abc import Iterator

import pytest
from click.testing import Result

from tests.cli.command import run
from tests.integration.cluster import running

NAMES = [
    "a",
    "x" * 512,
    "東" * 170 + "xx",  # 512 bytes
    "mysql://u@host:3306/db?a=b#c",
    "/var/lib/postgresql/main",
    "日本語",
    "with a space, a 'quote' and a \\",
    "-dash",
    "e\u0301 is not é",
]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("cli"), size=1) as cluster:
        yield cluster.nodes[1].endpoint


def ok(endpoint: str, *arguments: str) -> str:
    result = run(endpoint, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("name", NAMES)
def test_names_that_work_everywhere(endpoint: str, name: str) -> None:
    token = ok(endpoint, "lock", "--owner", "ann", "--", name).strip()
    assert run(endpoint, "lock", "--", name).exit_code == 1
    (hold,) = json.loads(ok(endpoint, "info", "-o", "json", "--", name))["holders"]
    assert (hold["name"], hold["token"], hold["owner"]) == (name, int(token), "ann")
    assert [each["name"] for each in json.loads(ok(endpoint, "list", "-o", "json", "--", name))["holders"]] == [name]
    assert run(endpoint, "wait", "--timeout", "0", "--", name).exit_code == 1
    ok(endpoint, "unlock", "--token", token, "--", name)
    ok(endpoint, "wait", "--timeout", "0", "--", name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "is empty. A name is 1 to 512 bytes of UTF-8 without control characters."),
        ("x" * 513, "name has 513 bytes; the bound is 512"),
        ("東" * 171, "name has 513 bytes; the bound is 512"),
        ("a\nb", "name has the control character U+000A at place 2"),
        ("\x7f", "name has the control character U+007F at place 1"),
        ("\x85", "name has the control character U+0085 at place 1"),
        ("a\udcff", "A name is 1 to 512 bytes of UTF-8 without control characters."),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ("lock",),
        ("unlock", "--token", "1"),
        ("unlock",),
        ("info",),
        ("wait",),
        ("break", "--token", "1", "--reason", "x", "--yes"),
    ],
)
def test_names_that_are_refused(endpoint: str, command: tuple[str, ...], name: str, text: str) -> None:
    check_refused(run(endpoint, *command, name), text)


@pytest.mark.parametrize("command", ["list", "watch"])
def test_prefixes_that_are_refused(endpoint: str, command: str) -> None:
    check_refused(run(endpoint, command, "x" * 513), "prefix has 513 bytes; the bound is 512")
    check_refused(run(endpoint, command, "a\x1b"), "prefix has the control character U+001B at place 2")
    check_refused(run(endpoint, command, "\udcff"), "is not valid UTF-8")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("a", "--ttl", "0.5"), "it takes 0 (until it is unlocked) or 2000 to 86400000"),
        (("a", "--lock-delay", "61"), "lock_delay_ms is 61000; the bound is 60000"),
        (("a", "--reason", "x" * 513), "reason has 513 bytes; the bound is 512"),
        (("a", "--owner", "x" * 257), "owner has 257 bytes; the bound is 256"),
        (("a", "a"), "is there twice"),
        (tuple(str(number) for number in range(65)), "wants has 65 names; it takes 1 to 64"),
    ],
)
def test_values_that_are_refused(endpoint: str, arguments: tuple[str, ...], text: str) -> None:
    check_refused(run(endpoint, "lock", *arguments), text)


def check_refused(result: Result, text: str) -> None:
    assert (result.exit_code, result.stdout) == (65, "")
    assert text in result.stderr


def test_readers_together_writers_alone(endpoint: str) -> None:
    first = ok(endpoint, "lock", "db/a", "db/b", "--shared", "--owner", "r1").strip()
    second = ok(endpoint, "lock", "db/b", "--shared", "--owner", "r2", "--ttl", "60").strip()
    refused = run(endpoint, "lock", "db/b").stderr.splitlines()
    assert refused[0].startswith("lockd: db/b is held shared by r1: ")
    assert refused[0].endswith(f"token {first}, until it is unlocked, one of 2 locks")
    assert refused[1].startswith("db/b is held shared by r2: ")
    assert len(json.loads(ok(endpoint, "list", "db/", "--mode", "shared", "-o", "json"))["holders"]) == 3
    assert run(endpoint, "list", "db/", "--mode", "exclusive").stderr == "no such locks are held\n"
    ok(endpoint, "unlock", "db/a", "--token", first)
    ok(endpoint, "unlock", "db/b", "--token", second)
    assert run(endpoint, "list", "db/").stderr == "no such locks are held\n"


def test_a_wait_that_is_over_says_who_holds_it(endpoint: str) -> None:
    token = ok(endpoint, "lock", "crane", "--owner", "ann").strip()
    late = run(endpoint, "lock", "crane", "--wait", "0.3", "-o", "json")
    assert (late.exit_code, json.loads(late.stdout)["outcome"]) == (1, "TIMED_OUT")
    assert "crane is held by ann" in late.stderr
    ok(endpoint, "unlock", "crane", "--token", token)


def test_a_broken_lock_has_its_delay(endpoint: str) -> None:
    token = ok(endpoint, "lock", "press", "--lock-delay", "60").strip()
    ok(endpoint, "break", "press", "--token", token, "--reason", "its host is gone", "--yes")
    refused = run(endpoint, "lock", "press")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith("lockd: press has a lock delay: nobody gets it for another ")
    lock = json.loads(ok(endpoint, "info", "press", "-o", "json"))
    assert (lock["holders"], lock["is_free"], lock["delay_remaining"] > 0) == ([], False, True)
