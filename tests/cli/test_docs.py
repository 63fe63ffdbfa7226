"""docs/cli.md says what the commands say."""

import re
from dataclasses import fields

import pytest

import lockd_client
from lockd.cli import exits, main
from lockd.cli.describe import info_json
from tests.cli.reference import DOCS, MARK, WIDTH, by_hand, help_texts, reference

TEXT = DOCS.read_text()


def table(heading: str) -> list[list[str]]:
    """The rows of the table under a heading."""
    section = re.split(r"^##+ ", TEXT.partition(f" {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return rows[2:]


def documented(heading: str) -> set[str]:
    return {name for row in table(heading) for name in re.findall(r"`(\w+)`", row[0])}


def names(kind: type) -> set[str]:
    return {each.name for each in fields(kind)}


def test_the_reference_is_that_of_the_commands() -> None:
    assert f"{by_hand(TEXT)}{MARK}\n{reference()}" == TEXT, "run: python -m tests.cli.reference"


def test_the_table_of_exit_codes_is_whole() -> None:
    assert {int(row[0]): row[1] for row in table("Exit codes")} == exits.MEANINGS


@pytest.mark.parametrize(
    ("heading", "emitted"),
    [
        ("A hold", names(lockd_client.Holder)),
        ("A waiter", names(lockd_client.Waiter)),
        ("The event", names(lockd_client.Event)),
        ("The status", names(lockd_client.Status) | {"endpoint"}),
        ("The token", names(lockd_client.AccessToken)),
        (
            "The lock",
            set(
                info_json(
                    lockd_client.LockInfo(
                        name="a",
                        holders=(),
                        waiters=(),
                        holders_count=0,
                        waiters_count=0,
                        delayed_until_ms=0,
                        clock_ms=0,
                    )
                )
            ),
        ),
    ],
)
def test_every_field_is_documented(heading: str, emitted: set[str]) -> None:
    assert documented(heading) == emitted


def test_help_is_no_wider_than_a_terminal() -> None:
    for title, text in help_texts():
        assert max(map(len, text.splitlines())) <= WIDTH, title


def test_every_command_that_answers_has_json() -> None:
    without = [
        name for name, command in main.commands.items() if "output" not in {each.name for each in command.params}
    ]
    assert without == ["run", "serve", "certs", "token"]  # stdout is what `run` runs has
