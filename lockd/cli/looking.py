"""list, info and wait."""

import math
import queue
import threading
import time
from typing import TYPE_CHECKING

import click

from lockd.cli import exits
from lockd.cli.connect import TIMEOUT_S, Cluster, access_options, cluster_options, connected, output_option
from lockd.cli.describe import (
    all_json,
    as_json,
    holders_table,
    in_the_way,
    info_json,
    is_free,
    listed,
    state_line,
    waiters_table,
)
from lockd.cli.params import NAME, TEXT, WAIT
from lockd.escape import escaped

if TYPE_CHECKING:
    from lockd_client import LockdClient, LockdError, LockInfo

SHOWN_MAX = 1000  # of holders, and of waiters: the most that a node answers
NODE_TIMEOUT_MIN_S = 1.0  # a wait that is shorter still gives a node so long to answer

_FREE_NOTHING = ("GRANTED", "WAITING")  # kinds of events after which a lock is no freer than before


@click.command("list", short_help="List the locks that are held.")
@click.argument("prefix", default="", type=TEXT)
@click.option("--owner", type=TEXT, default="", help="Only those of this owner.")
@click.option("--mode", type=click.Choice(["exclusive", "shared"]), help="Only those held in this mode.")
@click.option("--waiters", is_flag=True, help="Also who waits, in the order of their turns.")
@output_option
@cluster_options
def list_command(
    prefix: str,
    owner: str,
    mode: str | None,
    waiters: bool,
    output: str,
    cluster: Cluster,
    timeout: float,
) -> None:
    """List the locks that are held and whose names begin with PREFIX; all of them without one.

    \b
    Examples:
      lockd list
      lockd list db/ --owner ann@web1:812 --waiters
    """
    with connected(cluster, timeout) as client:
        from lockd_client import Mode

        only = Mode(mode.upper()) if mode else None
        held = tuple(client.list(prefix, owner, mode=only))
        waiting = tuple(client.waiters(prefix, owner, mode=only)) if waiters else ()
    if output == "json":
        content = {"holders": all_json(held)}
        click.echo(as_json(content | {"waiters": all_json(waiting)} if waiters else content))
    elif held or waiting:
        for line in listed(held, waiting):
            click.echo(line)
    else:
        click.echo("no such locks are held" if prefix or owner or mode else "no locks are held", err=True)


@click.command("info", short_help="Show one lock: who holds it, who waits.")
@click.argument("name", type=NAME)
@output_option
@cluster_options
def info_command(name: str, output: str, cluster: Cluster, timeout: float) -> None:
    """Show who holds the lock NAME, who waits for it in the order of their turns, and its lock delay.

    AGE is since the grant, or how long somebody has waited.

    \b
    Example:
      lockd info db/main
    """
    with connected(cluster, timeout) as client:
        info = client.get(name, limit=SHOWN_MAX)
    if output == "json":
        click.echo(as_json(info_json(info)))
        return
    click.echo(state_line(info), err=is_free(info))
    if info.holders:
        click.echo("\nHeld by")
        for line in holders_table(info.holders):
            click.echo(f"  {line}")
    if info.waiters:
        click.echo("\nWaiting")
        for line in waiters_table(info.waiters, info.clock_ms):
            click.echo(f"  {line}")
    for count, shown in ((info.holders_count, len(info.holders)), (info.waiters_count, len(info.waiters))):
        if count > shown:
            click.echo(f"only {shown} of {count} are shown", err=True)


@click.command("wait", short_help="Wait until a lock is free, without taking it.")
@click.argument("name", type=NAME)
@click.option(
    "--timeout",
    type=WAIT,
    default=math.inf,
    metavar="SECONDS",
    help="How long to wait; 0: only look. Then exit code 1. Default: as long as it takes.",
)
@output_option
@access_options
def wait_command(name: str, timeout: float, output: str, cluster: Cluster) -> None:
    """Wait until nobody holds the lock NAME, nobody waits for it, and it has no lock delay.

    It takes nothing: who wants the lock for itself uses `lockd lock NAME --wait`.

    \b
    Example:
      lockd wait db/main --timeout 60 && echo free
    """
    began = time.monotonic()
    with connected(cluster, max(NODE_TIMEOUT_MIN_S, min(timeout, TIMEOUT_S))) as client:
        info = _wait_until_free(client, name, began + timeout)
    if output == "json":
        click.echo(as_json({**info_json(info), "waited": round(time.monotonic() - began, 3)}))
    if not is_free(info):
        exits.fail("\n".join([f"{escaped(name)} is not free", *in_the_way(info)]), exits.ANSWER_IS_NO)


def _wait_until_free(client: "LockdClient", name: str, end: float) -> "LockInfo":
    """What it last saw, at `end` or when the lock is free. Raises LockdError."""
    from lockd_client import Compacted

    while True:
        revision = client.status().revision
        info = client.get(name)
        if is_free(info) or time.monotonic() >= end:
            return info
        news = _News(client, name, revision + 1)  # what was so before get() was answered, or is told after it
        try:
            while news.wait(end):
                info = client.get(name)
                if is_free(info):
                    return info
        except Compacted:
            continue
        return info


class _News:
    """What may have made a lock free, from a revision on. A thread of its own reads it: a watch has no time-out."""

    def __init__(self, client: "LockdClient", name: str, revision: int) -> None:
        self._came: queue.SimpleQueue[LockdError | None] = queue.SimpleQueue()
        arguments = (client, name, revision)
        threading.Thread(target=self._read, args=arguments, name="lockd-wait", daemon=True).start()

    def _read(self, client: "LockdClient", name: str, revision: int) -> None:
        from lockd_client import LockdError

        try:
            for event in client.watch(name, revision):
                if event.kind not in _FREE_NOTHING and any(name == of for of, _ in event.wants):
                    self._came.put(None)
        except LockdError as error:  # the client was closed, too
            self._came.put(error)

    def wait(self, end: float) -> bool:
        """Whether there is any by `end`. Raises LockdError."""
        left = max(0.0, end - time.monotonic())
        try:
            error = self._came.get(timeout=None if math.isinf(left) else left)
        except queue.Empty:
            return False
        if error is not None:
            raise error
        return True
