"""lock, unlock and break."""

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from lockd.cli import exits
from lockd.cli.connect import Cluster, cluster_options, connected, output_option
from lockd.cli.describe import (
    all_json,
    as_json,
    break_line,
    held_line,
    in_the_way,
    info_json,
    is_free,
    unlock_line,
)
from lockd.cli.params import NAME, SECONDS, TEXT, TOKEN, WAIT
from lockd.escape import escaped

if TYPE_CHECKING:
    from lockd_client import Holder, Lock, LockdClient, LockInfo, UnlockAnswer

HOLDERS_LOOKED_AT = 1000  # the most that a node answers


@dataclass(slots=True)
class Attempt:
    """At taking locks. token: 0 until it has succeeded. ways: what is in its way; None where that is not known."""

    names: tuple[str, ...]
    mode: str
    ttl: float
    wait: float
    token: int = 0
    remaining: float = 0.0
    ways: "tuple[LockInfo, ...] | None" = None

    def make(self, client: "LockdClient", lock: "Lock") -> None:
        from lockd_client import LockdError

        bound = -1 if self.wait in (0, math.inf) else self.wait
        if lock.acquire(blocking=self.wait > 0, timeout=bound):
            self.token = lock.token
            self.remaining = lock.remaining() if self.ttl else 0.0
            return
        try:
            infos = [client.get(name) for name in self.names]
        except LockdError:
            return  # the answer is no, all the same
        self.ways = tuple(info for info in infos if not is_free(info))

    def show(self, output: str) -> None:
        if output == "json":
            click.echo(as_json(self._json()))
        elif self.token:
            click.echo(str(self.token))

    def refusal(self) -> str:
        what = escaped(", ".join(self.names))
        if self.ways == ():
            return f"{what}: somebody was in the way, and is not any more; try again"
        lines = [line for info in self.ways or () for line in in_the_way(info)]
        return "\n".join(lines) or f"{what} was not acquired"

    def how_to_undo(self) -> str:
        what = escaped(", ".join(self.names))
        return (
            f"lockd: {what} is held, and its token could not be printed. To release it:\n"
            f"{unlock_line(self.names, self.token)}"
        )

    def _json(self) -> dict[str, object]:
        return {
            "names": self.names,
            "mode": self.mode,
            "acquired": self.token > 0,
            "outcome": "GRANTED" if self.token else "TIMED_OUT" if self.wait else "HELD_BY_OTHER",
            "token": self.token,
            "ttl": self.ttl,
            "lease_remaining": self.remaining,
            "in_the_way": [info_json(info) for info in self.ways or ()],
        }


@click.command("lock", short_help="Take a lock, or several at once, and leave it held.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True, type=NAME)
@click.option("-s", "--shared", is_flag=True, help="Hold it beside others who hold it shared.")
@click.option(
    "-w",
    "--wait",
    type=WAIT,
    default=0.0,
    metavar="SECONDS",
    help="How long to wait in the queue; `forever` (or -1): as long as it takes. Default: not at all.",
)
@click.option("-n", "--no-wait", is_flag=True, help="Answer at once, as without --wait.")
@click.option(
    "--ttl",
    type=SECONDS,
    default=0.0,
    metavar="SECONDS",
    help="Let go of it after so long. Default: hold it until it is unlocked.",
)
@click.option(
    "--lock-delay",
    type=SECONDS,
    default=0.0,
    metavar="SECONDS",
    help="After its ttl, or a break, keep others out for so long, at most 60. Default: 0.",
)
@click.option("--reason", type=TEXT, default="", help="Why it is held, for people to read.")
@click.option("--owner", type=TEXT, help="Who holds it, for people to read. Default: user@host:pid.")
@output_option
@cluster_options
def lock_command(
    names: tuple[str, ...],
    shared: bool,
    wait: float,
    no_wait: bool,
    ttl: float,
    lock_delay: float,
    reason: str,
    owner: str | None,
    output: str,
    cluster: Cluster,
    timeout: float,
) -> None:
    """Take the lock NAME and leave it held; print the token that unlocks it.

    Several names are taken together or not at all, with one token. If it is held by another: exit code 1, and on
    stderr who holds it, since when and why. Nothing renews it: what has a --ttl ends with it.

    \b
    Examples:
      token=$(lockd lock nightly-report --ttl 300 --reason "night run")
      lockd lock db/main --wait 60 --reason "migration 17"
      lockd lock disk/1 disk/2 --shared --wait forever
    """
    if no_wait and wait:
        raise click.UsageError("--no-wait and --wait exclude each other.")
    attempt = Attempt(names, "SHARED" if shared else "EXCLUSIVE", ttl, wait)
    try:
        with connected(cluster, timeout) as client:
            wanted = [(name, shared) for name in names]
            lock = client.lock_all(wanted, ttl, auto_renew=False, owner=owner, reason=reason, lock_delay=lock_delay)
            attempt.make(client, lock)
        attempt.show(output)
    except (OSError, KeyboardInterrupt):
        if attempt.token:
            click.echo(attempt.how_to_undo(), err=True)
        raise
    if not attempt.token:
        exits.fail(attempt.refusal(), exits.ANSWER_IS_NO)


@click.command("unlock", short_help="Release what `lockd lock` took.")
@click.argument("name", type=NAME)
@click.option("--token", type=TOKEN, metavar="TOKEN", help="What `lockd lock` printed.")
@output_option
@cluster_options
def unlock_command(name: str, token: int | None, output: str, cluster: Cluster, timeout: float) -> None:
    """Release the lock NAME, and what was taken together with it.

    Exit code 1 if the token does not hold it; then nothing is changed. Without --token nothing is released: it says
    who holds the lock, and how to take it away from them.

    \b
    Example:
      lockd unlock nightly-report --token 17
    """
    with connected(cluster, timeout) as client:
        if token is None:
            exits.fail(_how_to_unlock(name, client.get(name)), exits.USAGE)
        answer = client.unlock(token, name=name)
    _show_freed(name, token, answer, output)


@click.command("break", short_help="Take a lock away from whoever holds it.")
@click.argument("name", type=NAME)
@click.option("--token", type=TOKEN, required=True, metavar="TOKEN", help="Of the hold, as `lockd info NAME` shows it.")
@click.option("--reason", type=TEXT, required=True, help="Why, for those who watch and for the audit.")
@click.option("--owner", type=TEXT, help="Who does it, for the same. Default: user@host:pid.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@output_option
@cluster_options
def break_command(
    name: str,
    token: int,
    reason: str,
    owner: str | None,
    yes: bool,
    output: str,
    cluster: Cluster,
    timeout: float,
) -> None:
    """Take the lock NAME away from its holder, who is not asked and may go on working as if it were held.

    It shows who holds the lock and asks first. Without a terminal it takes --yes. What was taken together with NAME is
    freed too. Exit code 1 if the token does not hold it, or if you say no; then nothing is changed.

    \b
    Example:
      lockd break db/main --token 17 --reason "host web3 is gone"
    """
    if not reason.strip():
        raise click.UsageError("--reason is empty: say why.")
    with connected(cluster, timeout) as client:
        info = client.get(name, limit=HOLDERS_LOOKED_AT)
        hold = next((holder for holder in info.holders if holder.token == token), None)
        if hold is None:
            exits.fail(_not_its_token(name, token, info.holders), exits.ANSWER_IS_NO)
        click.echo(held_line(hold), err=True)
        if not yes:
            _ask(hold)
        answer = client.break_hold(token, reason=reason, owner=owner)
    _show_freed(name, token, answer, output)


def _ask(hold: "Holder") -> None:
    if not sys.stdin.isatty():
        exits.fail("there is no terminal to ask on; with --yes it does not ask", exits.USAGE)
    what = f"its {hold.names} locks" if hold.names > 1 else "it"
    if not click.confirm(f"Take {what} away from {escaped(hold.owner)}?", err=True):
        exits.fail("nothing was changed", exits.ANSWER_IS_NO)


def _show_freed(name: str, token: int, answer: "UnlockAnswer", output: str) -> None:
    if output == "json":
        content = {
            "name": name,
            "token": token,
            "released": answer.released,
            "outcome": answer.outcome,
            "holders": all_json(answer.holders),
        }
        click.echo(as_json(content))
    if not answer.released:
        exits.fail(_not_its_token(name, token, answer.holders), exits.ANSWER_IS_NO)


def _not_its_token(name: str, token: int, holders: "tuple[Holder, ...]") -> str:
    return "\n".join([f"token {token} does not hold {escaped(name)}", *map(held_line, holders)])


def _how_to_unlock(name: str, info: "LockInfo") -> str:
    if not info.holders:
        return f"unlock takes a --token, and {escaped(name)} is not held"
    holds = [f"{held_line(holder)}\n{break_line(holder.name, holder.token)}" for holder in info.holders]
    return "\n".join(["unlock takes the --token that lock printed. To take the lock away from its holder:", *holds])
