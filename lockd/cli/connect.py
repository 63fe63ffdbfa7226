"""The options that client verbs share, and their way to the cluster."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import click

from lockd.cli import exits
from lockd.escape import escaped

if TYPE_CHECKING:
    from lockd_client import LockdClient

F = TypeVar("F", bound=Callable[..., object])

TIMEOUT_S = 10.0

output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    help="What to print on stdout: for people, or for programs. Default: text.",
)

endpoint_option = click.option(
    "--endpoint",
    "endpoints",
    multiple=True,
    metavar="HOST:PORT",
    help="Where a node serves clients; may be repeated. Default: LOCKD_ENDPOINTS, else 127.0.0.1:2080.",
)

timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True, max=86400),
    default=TIMEOUT_S,
    metavar="SECONDS",
    help="How long to look for a node that answers. Default: 10.",
)


def cluster_options(command: F) -> F:
    """--endpoint and --timeout."""
    return endpoint_option(timeout_option(command))


@contextmanager
def connected(endpoints: tuple[str, ...], timeout: float = TIMEOUT_S) -> "Iterator[LockdClient]":
    """A client whose errors end the command with their exit code."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's core would write to stderr beside our messages
    import lockd_client as client

    endings: dict[type[client.LockdError], tuple[int, str]] = {
        client.Compacted: (
            exits.DATA,
            "the events from there on are no longer kept; see `lockd list`, then `lockd watch` without --from",
        ),
        client.InvalidArgument: (exits.DATA, "refused, and nothing was changed"),
        client.LimitReached: (exits.UNAVAILABLE, "refused, and nothing was changed: a limit is reached"),
        client.OutcomeUnknown: (exits.TEMPFAIL, "it may or may not have been done; look with `lockd list` first"),
        client.PermissionDenied: (exits.NOPERM, "refused, and nothing was changed: not allowed"),
        client.RequestTooOld: (
            exits.TEMPFAIL,
            "refused, and nothing was changed: nodes disagree on the time",
        ),
        client.Unauthenticated: (exits.NOPERM, "refused, and nothing was changed: the node does not know this caller"),
        client.Unavailable: (
            exits.UNAVAILABLE,
            "no node answered, and nothing was changed; see `lockd status`",
        ),
    }
    try:
        with client.LockdClient(endpoints=endpoints or None, timeout=timeout) as connection:
            yield connection
    except client.LockdError as error:
        code, what = endings.get(type(error), (exits.SOFTWARE, "a node failed the call"))
        tried = f" (tried {', '.join(error.endpoints)})" if len(error.endpoints) > 1 else ""
        exits.fail(f"{what}{tried}: {escaped(error.last_error)}", code)
