"""status: what every node says of itself."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from lockd.cli import exits
from lockd.cli.connect import Cluster, cluster_options, connected, output_option
from lockd.cli.describe import as_json
from lockd.cli.text import aligned, duration
from lockd.escape import escaped

if TYPE_CHECKING:
    from lockd_client import LockdClient, LockdError, Status

_HEADINGS = ("NODE", "ADDRESS", "ROLE", "LEADER", "TERM", "APPLIED", "CLOCK", "LOCKS", "WAITS", "SESSIONS", "LINK")
_ASKED_AT_ONCE = 9
_DEFAULT = ("127.0.0.1:2080",)  # where a client goes that was told nothing


@dataclass(frozen=True, slots=True)
class _Asked:
    """status: None where the node did not answer; then error says why. refusal: where it does not know this caller, or
    lets it see nothing.
    """

    endpoint: str
    status: "Status | None"
    error: str = ""
    refusal: "LockdError | None" = None


@click.command("status", short_help="Show how the nodes are.")
@output_option
@cluster_options
def status_command(output: str, cluster: Cluster, timeout: float) -> None:
    """Ask nodes how they are: those of --endpoint, --cluster or LOCKD_ENDPOINTS, else 127.0.0.1:2080 and its peers.

    LINK is how a node reaches its peers. Exit code 69 if none of them knows a leader.

    \b
    Example:
      lockd status --endpoint 10.0.0.1 --endpoint 10.0.0.2 --endpoint 10.0.0.3
    """
    with connected(cluster, timeout) as client:
        answers = _ask(client, client.endpoints)
        if client.endpoints == _DEFAULT and not cluster.endpoints and not os.environ.get("LOCKD_ENDPOINTS"):
            answers += _ask(client, _peers(answers))
        refusals = [answer.refusal for answer in answers]
        if refusals[0] is not None and None not in refusals:
            raise refusals[0]
    if output == "json":
        click.echo(as_json([_json(answer) for answer in answers]))
    else:
        for line in aligned(_HEADINGS, [_row(answer) for answer in answers]):
            click.echo(line)
    silent = [escaped(answer.error) for answer in answers if answer.status is None]
    if not any(answer.status is not None and answer.status.leader_id for answer in answers):
        exits.fail("\n".join(["no node knows a leader", *silent]), exits.UNAVAILABLE)
    for line in silent:
        click.echo(f"lockd: {line}", err=True)


def _ask(client: "LockdClient", endpoints: tuple[str, ...]) -> tuple[_Asked, ...]:
    """At once, so that nodes that are down cost their time together."""
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        return tuple(pool.map(lambda endpoint: _ask_one(client, endpoint), endpoints))


def _ask_one(client: "LockdClient", endpoint: str) -> _Asked:
    from lockd_client import InvalidArgument, LockdError, PermissionDenied, Unauthenticated

    try:
        return _Asked(endpoint, client.status(endpoint))
    except InvalidArgument:
        raise
    except (PermissionDenied, Unauthenticated) as error:
        return _Asked(endpoint, None, error.last_error, error)
    except LockdError as error:
        return _Asked(endpoint, None, error.last_error)


def _peers(answers: tuple[_Asked, ...]) -> tuple[str, ...]:
    return tuple(peer.address for answer in answers if answer.status for peer in answer.status.peers)


def _row(answer: _Asked) -> tuple[str, ...]:
    status = answer.status
    if status is None:
        return ("?", answer.endpoint, "no answer", *["-"] * (len(_HEADINGS) - 3))
    down = ",".join(str(peer.node_id) for peer in status.peers if not peer.connected)
    link = "ok" if status.peers else "-"
    return (
        str(status.node_id),
        answer.endpoint,
        escaped(status.role),
        str(status.leader_id) if status.leader_id else "none",
        str(status.term),
        str(status.applied_index),
        duration(status.clock_ms / 1000),
        str(status.held_locks),
        str(status.waiters),
        str(status.sessions),
        f"down to {down}" if down else link,
    )


def _json(answer: _Asked) -> dict[str, object]:
    if answer.status is None:
        return {"endpoint": answer.endpoint, "error": answer.error}
    return {"endpoint": answer.endpoint, **asdict(answer.status)}
