"""The options that client verbs share, and their way to the cluster."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lockd.cli import exits
from lockd.escape import escaped

if TYPE_CHECKING:
    from lockd_client import LockdClient

Command = Callable[..., object]

TIMEOUT_S = 10.0

output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    help="What to print on stdout: for people, or for programs. Default: text.",
)

timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True, max=86400),
    default=TIMEOUT_S,
    metavar="SECONDS",
    help="How long to look for a node that answers. Default: 10.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What the command line says of where to go, and who goes there. What it does not say is for lockd_client to find:
    in the environment, and in client.toml.
    """

    endpoints: tuple[str, ...] = ()
    cluster: Path | None = None
    cacert: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    token_file: Path | None = None
    insecure: bool = False

    def with_its_file(self) -> "Cluster":
        """What the options leave open, from --cluster. Ends the command where that cannot be read."""
        if self.cluster is None:
            return self
        found = _declared(self.cluster)
        return replace(
            self,
            endpoints=self.endpoints or found.endpoints,
            cacert=self.cacert or found.cacert,
            token_file=self.token_file or found.token_file,
        )


def _file(option: str, help: str) -> Callable[[Any], Any]:
    return click.option(option, type=click.Path(path_type=Path), metavar="FILE", help=help)


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--endpoint",
        "endpoints",
        multiple=True,
        metavar="HOST:PORT",
        help="Where a node serves clients; may be repeated. Default: LOCKD_ENDPOINTS, else 127.0.0.1:2080.",
    ),
    _file(
        "--cluster", "A cluster.yml: take from it endpoints, cacert, and the first token of an admin that may be read."
    ),
    _file("--cacert", "The authorities that issue nodes' certificates, in PEM; then TLS. Default: LOCKD_CACERT."),
    _file("--cert", "A certificate to show to nodes, in PEM. Default: LOCKD_CERT."),
    _file("--key", "The key of that certificate, in PEM. Default: LOCKD_KEY."),
    _file("--token-file", "Holds the token that says who calls. Default: LOCKD_TOKEN, else LOCKD_TOKEN_FILE."),
    click.option(
        "--insecure",
        is_flag=True,
        help="Send the token in clear beyond this host, where there is no TLS. Default: LOCKD_INSECURE=1.",
    ),
)


def access_options(command: Command) -> Command:
    """--endpoint and those that say who calls, as one argument `cluster`."""

    @wraps(command)
    def gathered(
        endpoints: tuple[str, ...],
        cluster: Path | None,
        cacert: Path | None,
        cert: Path | None,
        key: Path | None,
        token_file: Path | None,
        insecure: bool,
        **rest: object,
    ) -> object:
        given = Cluster(
            endpoints=endpoints,
            cluster=cluster,
            cacert=cacert,
            cert=cert,
            key=key,
            token_file=token_file,
            insecure=insecure,
        )
        return command(cluster=given, **rest)

    for option in reversed(_OPTIONS):
        gathered = option(gathered)
    return gathered


def cluster_options(command: Command) -> Command:
    """The same, and --timeout."""
    return access_options(timeout_option(command))


@contextmanager
def connected(cluster: Cluster, timeout: float = TIMEOUT_S) -> "Iterator[LockdClient]":
    """A client whose errors end the command with their exit code."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's core would write to stderr beside our messages
    import lockd_client as client

    unknown = "the node does not know this caller; give a token (LOCKD_TOKEN, --token-file) or a certificate (--cert)"
    denied = "not allowed; use the token of one that may (LOCKD_TOKEN, --token-file)"
    endings: dict[type[client.LockdError], tuple[int, str]] = {
        client.Compacted: (
            exits.DATA,
            "the events from there on are no longer kept; see `lockd list`, then `lockd watch` without --from",
        ),
        client.InvalidArgument: (exits.DATA, "refused, and nothing was changed"),
        client.LimitReached: (exits.UNAVAILABLE, "refused, and nothing was changed: a limit is reached"),
        client.OutcomeUnknown: (exits.TEMPFAIL, "it may or may not have been done; look with `lockd list` first"),
        client.PermissionDenied: (exits.NOPERM, f"refused, and nothing was changed: {denied}"),
        client.RequestTooOld: (
            exits.TEMPFAIL,
            "refused, and nothing was changed: nodes disagree on the time",
        ),
        client.Unauthenticated: (exits.NOPERM, f"refused, and nothing was changed: {unknown}"),
        client.Unavailable: (
            exits.UNAVAILABLE,
            "no node answered, and nothing was changed; see `lockd status`",
        ),
    }
    found = cluster.with_its_file()
    try:
        with client.LockdClient(
            endpoints=found.endpoints or None,
            timeout=timeout,
            token_file=found.token_file,
            cacert=found.cacert,
            cert=found.cert,
            key=found.key,
            insecure=found.insecure,
        ) as connection:
            yield connection
    except client.LockdError as error:
        code, what = endings.get(type(error), (exits.SOFTWARE, "a node failed the call"))
        tried = f" (tried {', '.join(error.endpoints)})" if len(error.endpoints) > 1 else ""
        exits.fail(f"{what}{tried}: {escaped(error.last_error)}", code)


# ---- --cluster


def _declared(path: Path) -> Cluster:
    """What a cluster.yml says to clients on its host. Its paths are relative to its folder."""
    from lockd.config.cluster_file import parse
    from lockd.config.values import ConfigError

    try:
        found = parse(path.read_text(), str(path))
    except OSError as error:
        exits.fail(f"{escaped(str(path))}: {error.strerror}", exits.CONFIG)
    except UnicodeDecodeError:
        exits.fail(f"{escaped(str(path))}: is not text in UTF-8", exits.CONFIG)
    except ConfigError as error:
        exits.fail(escaped(str(error)), exits.CONFIG)
    tokens = found.auth.tokens if found.auth else ()
    files = [_beside(path, token.file) for token in tokens if token.role == "admin" and token.file is not None]
    return Cluster(
        endpoints=tuple(node.endpoint for node in found.nodes),
        cacert=None if found.tls is None else _beside(path, found.tls.ca),
        token_file=next((file for file in files if os.access(file, os.R_OK)), None),
    )


def _beside(path: Path, named: Path) -> Path:
    return path.parent / named.expanduser()
