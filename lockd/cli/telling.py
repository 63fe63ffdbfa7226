"""Messages on stderr, which may be closed, full, or a terminal that was hung up."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

import click


def say(text: str) -> None:
    tell(lambda: click.echo(text, err=True))


def tell(show: Callable[[], object]) -> None:
    """show: writes to stderr. Where nobody can be told any more, the exit code says it all the same."""
    if sys.stderr is None:  # it was closed; click would show some errors on stdout then
        return
    try:
        show()
    except OSError:
        give_up(sys.stderr)


def give_up(stream: TextIO | None) -> None:
    """What is left in its buffer cannot be written: the interpreter must not try, or it ends with 120. None: it was
    closed.
    """
    if stream is not None:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
