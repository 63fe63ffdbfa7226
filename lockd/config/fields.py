"""Reading the fields of cluster.yml by their names and kinds. Pure: every refusal is a ConfigError."""

import difflib
import os
from collections.abc import Iterable, Mapping
from typing import TypeVar

from lockd.config.values import ConfigError

T = TypeVar("T")


class Reader:
    """source: what messages call the file. A name in a message is prefix + name: `nodes[0].port`."""

    def __init__(self, source: str) -> None:
        self.source = source

    def mapping(self, content: object, name: str, known: Iterable[str]) -> Mapping[str, object]:
        if not isinstance(content, dict):
            raise self.error(name, f"has no fields; it takes {', '.join(known)}")
        for key in content:
            if key not in known:
                near = difflib.get_close_matches(str(key), list(known), n=1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                raise self.error(str(key) if name == "the file" else f"{name}.{key}", f"is not known; {hint}")
        return content

    def numbers(self, content: Mapping[str, object], names: Iterable[str], prefix: str = "") -> dict[str, int]:
        """Those of the names that are given."""
        found: dict[str, int] = {}
        for name in names:
            value = content.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise self.error(f"{prefix}{name}", f"is {value!r}; it is a whole number")
            found[name] = value
        return found

    def optional(
        self, content: Mapping[str, object], name: str, kind: type[T], what: str, prefix: str = ""
    ) -> T | None:
        value = content.get(name)
        if value is not None and not isinstance(value, kind):
            raise self.error(f"{prefix}{name}", f"is {value!r}; it is {what}")
        return value

    def path(self, content: Mapping[str, object], name: str, prefix: str = "") -> str | None:
        """As text that the operating system takes for one."""
        value = self.optional(content, name, str, "a path", prefix)
        if value is None:
            return None
        try:
            encoded = os.fsencode(value)
        except UnicodeEncodeError:
            encoded = b""
        if not encoded or b"\0" in encoded:
            raise self.error(f"{prefix}{name}", f"is {value!r}; it is a path")
        return value

    def error(self, name: str, what: str) -> ConfigError:
        return ConfigError(name, what, self.source)
