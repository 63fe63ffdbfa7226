"""A distributed lock service. The clients are offered here, and loaded when they are first asked for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lockd_client import LockdClient

__version__ = "0.1.0"

__all__ = ["LockdClient", "__version__"]

_CLIENTS = ("LockdClient",)


def __getattr__(name: str) -> object:
    if name in _CLIENTS:
        import lockd_client

        return getattr(lockd_client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_CLIENTS})
