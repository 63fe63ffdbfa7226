"""lock, unlock and list."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from lockd.cli import exits
from lockd.cli.connect import cluster_options, connected, output_option
from lockd.cli.text import aligned, duration, shell_word
from lockd.escape import escaped

if TYPE_CHECKING:
    from lockd_client import Holder, LockAnswer

_HEADINGS = ("NAME", "TOKEN", "OWNER", "AGE", "REMAINING", "REASON")


@click.command("lock", short_help="Take a lock and leave it held.")
@click.argument("name")
@click.option(
    "--ttl",
    type=float,
    default=0.0,
    metavar="SECONDS",
    help="How long the lock is held unless it is renewed. Default: until it is unlocked.",
)
@click.option("--owner", help="Who holds it, for people to read. Default: user@host:pid.")
@click.option("--reason", default="", help="Why it is held, for people to read.")
@output_option
@cluster_options
def lock_command(
    name: str, ttl: float, owner: str | None, reason: str, output: str, endpoints: tuple[str, ...], timeout: float
) -> None:
    """Take the lock NAME and leave it held; print the token that unlocks it.

    Answers at once: exit code 1, and the holder on stderr, if it is held.
    """
    with connected(endpoints, timeout) as client:
        answer = client.try_lock(name, ttl=ttl, owner=owner, reason=reason)
    try:
        if output == "json":
            click.echo(json.dumps(_lock_json(name, answer)))
        elif answer.acquired:
            click.echo(str(answer.token))
    except OSError as error:
        if answer.acquired:
            click.echo(
                f"lockd: {escaped(name)} is held, and its token could not be printed. To release it:\n"
                f"{unlock_line(name, answer.token)}",
                err=True,
            )
        raise error
    if not answer.acquired:
        lines = [held_line(holder) for holder in answer.holders] or [f"{escaped(name)} was not acquired"]
        exits.fail("\n".join(lines), exits.HELD)


@click.command("unlock", short_help="Release a lock.")
@click.argument("name")
@click.option("--token", type=click.IntRange(min=1, max=2**53 - 1), help="What `lockd lock` printed.")
@output_option
@cluster_options
def unlock_command(name: str, token: int | None, output: str, endpoints: tuple[str, ...], timeout: float) -> None:
    """Release the lock NAME.

    Exit code 1 if the token does not hold it. Without --token nothing is released: it says who holds the lock.
    """
    with connected(endpoints, timeout) as client:
        if token is None:
            exits.fail(_how_to_unlock(name, client.holders(name)), exits.USAGE)
        answer = client.unlock(token, name=name)
    if output == "json":
        content = {"released": answer.released, "outcome": answer.outcome, "holders": _holders_json(answer.holders)}
        click.echo(json.dumps(content))
    if not answer.released:
        lines = [f"token {token} does not hold {escaped(name)}", *map(held_line, answer.holders)]
        exits.fail("\n".join(lines), exits.HELD)


@click.command("list", short_help="List the locks that are held.")
@click.argument("prefix", default="")
@click.option("--owner", default="", help="Only those of this owner.")
@output_option
@cluster_options
def list_command(prefix: str, owner: str, output: str, endpoints: tuple[str, ...], timeout: float) -> None:
    """List the locks that are held and whose names begin with PREFIX."""
    with connected(endpoints, timeout) as client:
        holders = tuple(client.list(prefix, owner))
    if output == "json":
        click.echo(json.dumps(_holders_json(holders)))
    elif holders:
        for line in aligned(_HEADINGS, [_row(holder) for holder in holders]):
            click.echo(line)
    else:
        click.echo("no locks are held" if not (prefix or owner) else "no such locks are held", err=True)


def held_line(holder: "Holder") -> str:
    """Who holds a lock, since when, until when and why, in one line."""
    until = f"{duration(holder.lease_remaining)} remain" if holder.ttl else "until it is unlocked"
    line = f"{escaped(holder.name)} is held by {escaped(holder.owner)}: for {duration(holder.age)}, {until}"
    return f"{line}, reason: {escaped(holder.reason)}" if holder.reason else line


def unlock_line(name: str, token: int) -> str:
    """What to type."""
    if name.startswith("-"):
        return f"lockd unlock --token {token} -- {shell_word(name)}"
    return f"lockd unlock {shell_word(name)} --token {token}"


def _how_to_unlock(name: str, holders: "tuple[Holder, ...]") -> str:
    if not holders:
        return f"unlock takes a --token, and {escaped(name)} is not held"
    holds = [f"{held_line(holder)}\n{unlock_line(holder.name, holder.token)}" for holder in holders]
    return "\n".join(["unlock takes a --token. To take the lock away from its holder:", *holds])


def _row(holder: "Holder") -> tuple[str, ...]:
    remaining = duration(holder.lease_remaining) if holder.ttl else "no ttl"
    return (
        escaped(holder.name),
        str(holder.token),
        escaped(holder.owner),
        duration(holder.age),
        remaining,
        escaped(holder.reason),
    )


def _lock_json(name: str, answer: "LockAnswer") -> dict[str, object]:
    return {
        "name": name,
        "acquired": answer.acquired,
        "outcome": answer.outcome,
        "token": answer.token,
        "lease_remaining": answer.lease_remaining,
        "holders": _holders_json(answer.holders),
    }


def _holders_json(holders: "tuple[Holder, ...]") -> list[dict[str, object]]:
    return [asdict(holder) for holder in holders]
