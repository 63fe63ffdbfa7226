"""Names and tokens, as guards take them, and the one rule that all of them keep."""

import re
from dataclasses import dataclass

from lockd_client.errors import InvalidArgument
from lockd_client.fence.errors import StaleToken

TOKEN_MAX = 2**53 - 1  # a cluster gives out 1 to this
NAME_BYTES_MAX = 512

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Fence:
    """A lock and the token under which somebody holds it, or did. shared: the hold is a reader's."""

    name: str
    token: int
    shared: bool = False

    def __post_init__(self) -> None:
        """Raises InvalidArgument."""
        checked_name(self.name)
        checked_token(self.token)


def checked_name(name: str) -> str:
    """Raises InvalidArgument."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"name is not valid UTF-8: {error}") from error
    if not 1 <= size <= NAME_BYTES_MAX or _CONTROL.search(name):
        raise InvalidArgument(f"name is {name!r}; it is 1 to {NAME_BYTES_MAX} bytes of UTF-8, no control characters")
    return name


def checked_token(token: int) -> int:
    """Raises InvalidArgument. A lock that is not held has the token 0."""
    if not isinstance(token, int) or isinstance(token, bool) or not 1 <= token <= TOKEN_MAX:
        raise InvalidArgument(f"token is {token!r}; that of a hold is a number from 1 to {TOKEN_MAX}")
    return token


def refuse_below(highest: int, name: str, token: int) -> None:
    """The rule. An equal token passes: its holder comes more than once. Raises StaleToken."""
    if token < highest:
        raise StaleToken(name, token, highest)
