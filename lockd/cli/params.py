"""The kinds of values that stand on the command line."""

import math
from typing import TYPE_CHECKING

import click

from lockd.cli import exits
from lockd.escape import escaped

TOKEN_MAX = 2**53 - 1
FOREVER = ("forever", "-1")

if TYPE_CHECKING:
    TextType = click.ParamType[str]
    NumberType = click.ParamType[float]
else:
    TextType = NumberType = click.ParamType  # click < 8.5 has no parameters here


def _is_utf8(text: str) -> bool:
    """Bytes of the command line that are no text come as surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _what(param: click.Parameter | None, ctx: click.Context | None) -> str:
    return "a value" if param is None or ctx is None else param.get_error_hint(ctx)


class Text(TextType):
    """What goes to a node. Its length and its characters are bounded there; what is no UTF-8 cannot be sent."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _is_utf8(value):
            exits.fail(f"{_what(param, ctx)} is not valid UTF-8: {escaped(value)}", exits.DATA)
        return value


class Name(TextType):
    """A lock's. An empty one would mean another thing in some calls."""

    name = "name"
    bound = "A name is 1 to 512 bytes of UTF-8 without control characters."

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value:
            exits.fail(f"{_what(param, ctx)} is empty. {self.bound}", exits.DATA)
        if not _is_utf8(value):
            exits.fail(f"{_what(param, ctx)} is not valid UTF-8: {escaped(value)}. {self.bound}", exits.DATA)
        return value


class Seconds(NumberType):
    """Seconds, 0 or more."""

    name = "seconds"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(value)
        except ValueError:
            self.fail(f"{escaped(str(value))!r} is not a number of seconds", param, ctx)
        if math.isnan(seconds) or math.isinf(seconds) or seconds < 0:
            exits.fail(f"{_what(param, ctx)} is {value}; it takes a number of seconds, 0 or more", exits.DATA)
        return seconds


class Wait(Seconds):
    """The same, or for ever: infinity."""

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if value == math.inf or value in FOREVER:
            return math.inf
        return super().convert(value, param, ctx)


NAME = Name()
TEXT = Text()
SECONDS = Seconds()
WAIT = Wait()
TOKEN = click.IntRange(min=1, max=TOKEN_MAX)
