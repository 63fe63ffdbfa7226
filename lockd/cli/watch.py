"""watch: what happens to locks, as it happens."""

import signal
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from lockd.cli import exits
from lockd.cli.connect import Cluster, cluster_options, connected, output_option
from lockd.cli.describe import as_json
from lockd.cli.params import TEXT
from lockd.escape import escaped

if TYPE_CHECKING:
    from lockd_client import Event

_SHARED = "SHARED"  # lockd_client.Mode: to import it would load gRPC
_KIND_WIDTH = len("delay ended")


@click.command("watch", short_help="Print what happens to locks, as it happens.")
@click.argument("prefix", default="", type=TEXT)
@click.option(
    "--from",
    "revision",
    type=click.IntRange(min=1),
    metavar="REVISION",
    help="Begin with this revision, in the past perhaps. Default: from now on.",
)
@output_option
@cluster_options
def watch_command(prefix: str, revision: int | None, output: str, cluster: Cluster, timeout: float) -> None:
    """Print what happens to locks whose names begin with PREFIX, one line each, until Ctrl-C ends it (exit code 130).

    A line: the revision, seconds on the cluster's clock, what happened, to which locks, and to whom. It goes on
    through other nodes where one fails, without a gap; to go on later, use --from with the last revision + 1. A node
    keeps the last events only: where those that were asked for are gone, exit code 65.

    With -o json each line is one object.

    \b
    Examples:
      lockd watch db/
      lockd watch --from 4711 -o json
    """
    show = _json if output == "json" else _line
    try:
        with connected(cluster, timeout) as client:
            for event in client.watch(prefix, revision or 0):
                click.echo(show(event))
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the end
        sys.exit(exits.INTERRUPTED)


def _json(event: "Event") -> str:
    content = asdict(event)
    content["wants"] = [{"name": name, "mode": mode} for name, mode in event.wants]
    return as_json(content)


def _line(event: "Event") -> str:
    kind = event.kind.lower().replace("_", " ")
    names = ", ".join(escaped(name) + (" (shared)" if mode == _SHARED else "") for name, mode in event.wants)
    who = [f"token {event.token}"] if event.token else []
    if event.owner:
        who.append(escaped(event.owner))
    if event.by or event.by_identity:
        who.append(_breaker(event))
    line = f"{event.revision}  {event.clock_ms / 1000:.3f}s  {kind:{_KIND_WIDTH}}  {names}  {', '.join(who)}"
    return (f"{line}: {escaped(event.reason)}" if event.reason else line).rstrip()


def _breaker(event: "Event") -> str:
    """Who broke a hold: by their own label, and as the cluster knows them."""
    known = ", ".join(escaped(each) for each in (event.by_identity, event.by_credential) if each)
    return f"by {escaped(event.by)} ({known})" if event.by and known else f"by {escaped(event.by) or known}"
