"""What the command's exit codes mean, and which error ends in which of them."""

from typing import NoReturn

import click

ANSWER_IS_NO = 1
USAGE = 64
DATA = 65
UNAVAILABLE = 69
SOFTWARE = 70
IO = 74
TEMPFAIL = 75
NOPERM = 77
CONFIG = 78
INTERRUPTED = 130

MEANINGS = {
    0: "done",
    ANSWER_IS_NO: "the answer is no: held by another, not held, or not in time",
    USAGE: "the command line is wrong",
    DATA: "a value is out of its bounds, or such old events are not kept",
    UNAVAILABLE: "no node answered, none knows a leader, or a limit is reached",
    SOFTWARE: "a node failed the call",
    IO: "a file or the output could not be read or written",
    TEMPFAIL: "it may or may not have been done: look before trying again",
    NOPERM: "not allowed",
    CONFIG: "the configuration is wrong",
    INTERRUPTED: "interrupted",
}
"""As they stand in --help, and with more words in docs/cli.md."""


class Failure(click.ClickException):
    """Ends the command with a message on stderr and this exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.code = exit_code


def fail(message: str, exit_code: int) -> NoReturn:
    raise Failure(message, exit_code)


def table() -> str:
    """For --help."""
    rows = "\n".join(f"{code:>5}  {meaning}" for code, meaning in MEANINGS.items())
    return f"\b\nExit codes:\n{rows}"
