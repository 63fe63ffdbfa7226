"""A lockd in the process of a test, whose time the test moves by hand. docs/testing.md shows how it is used.

`plugin` is pytest's door: it is loaded by every pytest where lockd is installed, so nothing is loaded here before it is
asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lockd.testing.in_process import InProcessLockd

__all__ = ["InProcessLockd"]


def __getattr__(name: str) -> object:
    if name == "InProcessLockd":
        from lockd.testing.in_process import InProcessLockd

        return InProcessLockd
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
