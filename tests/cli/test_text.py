"""What people read."""

import pytest

from lockd.cli.text import aligned, duration, shell_word
from lockd.escape import escaped


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-1, "0s"),
        (0.04, "0.0s"),
        (0.44, "0.4s"),
        (9.9, "9.9s"),
        (10.9, "10s"),
        (59.9, "59s"),
        (63, "1m03s"),
        (3599, "59m59s"),
        (7500, "2h05m"),
        (86400 * 3 + 4 * 3600 + 59, "3d04h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mysql://u@host:3306/db", "mysql://u@host:3306/db"),
        ("a b", "a b"),
        ("Zürich 東京", "Zürich 東京"),
        ("a\nb\t\x00", "a\\nb\\t\\x00"),
        ("\x1b[2J\x9b", "\\x1b[2J\\x9b"),
        ("\u202e\u2028\ufeff", "\\u202e\\u2028\\ufeff"),
        ("a\\nb", "a\\\\nb"),
        ("\udcff", "\\udcff"),
        ("\xa0", "\\xa0"),
    ],
)
def test_escaping(text: str, shown: str) -> None:
    assert escaped(text) == shown
    assert escaped(text).isprintable()


def test_escaping_can_leave_lines_alone() -> None:
    assert escaped("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"


@pytest.mark.parametrize(
    ("text", "word"),
    [("a", "a"), ("a b", "'a b'"), ("it's", "'it'\"'\"'s'"), ("", "''"), ("\u202e'\\", "$'\\u202e\\'\\\\'")],
)
def test_words_for_a_shell(text: str, word: str) -> None:
    assert shell_word(text) == word


def test_a_table() -> None:
    assert aligned(("A", "LONG"), [("xxx", ""), ("y", "z")]) == ["A    LONG", "xxx", "y    z"]
    assert aligned(("A", "B", "C"), [("x", "", "1"), ("y", "", "2")]) == ["A  C", "x  1", "y  2"]
    assert aligned(("A", "B"), []) == ["A  B"]


def test_a_table_of_wide_and_combining_characters() -> None:
    assert aligned(("A", "B"), [("東京", "1"), ("e\u0301", "2")]) == ["A     B", "東京  1", "e\u0301     2"]
