"""explain."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from lockd.cli.connect import Cluster, cluster_options, connected, output_option
from lockd.cli.describe import (
    HOLDERS_SAID,
    as_json,
    break_line,
    held_line,
    in_the_way,
    info_json,
    is_free,
    renewals,
    unlock_line,
)
from lockd.cli.params import NAME
from lockd.cli.text import duration
from lockd.escape import escaped

if TYPE_CHECKING:
    from lockd_client import Explanation, Holder, LockInfo, WaitingHolder

WAITERS_SAID = 5


@click.command("explain", short_help="Say why a lock is not free, and what would free it.")
@click.argument("name", type=NAME)
@output_option
@cluster_options
def explain_command(name: str, output: str, cluster: Cluster, timeout: float) -> None:
    """Say who holds the lock NAME, why, since when and until when; who waits for it; what its holders wait for
    themselves, across other locks; and what would free it.

    \b
    Example:
      lockd explain db/main
    """
    with connected(cluster, timeout) as client:
        found = client.explain(name)
    if output == "json":
        chain = [
            {"holder": asdict(each.holder), "waits": asdict(each.waits), "lock": info_json(each.lock)}
            for each in found.chain
        ]
        click.echo(as_json({"lock": info_json(found.lock), "chain": chain, "is_whole": found.is_whole}))
    elif is_free(found.lock):
        click.echo(f"{escaped(name)} is free: nobody holds it, and nobody waits for it", err=True)
    else:
        for line in _lines(found):
            click.echo(line)


def _lines(found: "Explanation") -> list[str]:
    lines = _of_lock(found.lock)
    for each in found.chain:
        lines += ["", _chained(each), *_of_lock(each.lock)]
    if not found.is_whole:
        lines += ["", "Not all waits could be looked at: there may be more behind these."]
    return [*lines, "", "What would free it:", *(f"  {line}" for line in _remedies(found))]


def _of_lock(lock: "LockInfo") -> list[str]:
    lines = []
    for holder in lock.holders[:HOLDERS_SAID]:
        lines += [held_line(holder), *(f"  {line}" for line in renewals(holder))]
    lines += in_the_way(lock)[min(len(lock.holders), HOLDERS_SAID) :]
    for waiter in lock.waiters[:WAITERS_SAID]:
        why = f", reason: {escaped(waiter.reason)}" if waiter.reason else ""
        turn = f"  turn {waiter.position + 1}: {escaped(waiter.owner)}, {waiter.mode.lower()}"
        lines.append(f"{turn}, for {duration(waiter.waited)}{why}")
    return lines


def _chained(each: "WaitingHolder") -> str:
    waits = each.waits
    who, what = escaped(each.holder.owner), escaped(waits.name)
    return f"{who}, who holds {escaped(each.holder.name)}, waits for {what} itself, for {duration(waits.waited)}:"


def _remedies(found: "Explanation") -> list[str]:
    lines: list[str] = []
    for lock in (found.lock, *(each.lock for each in found.chain)):
        for holder in lock.holders[:HOLDERS_SAID]:
            behind = [each for each in found.chain if _is_same(each.holder, holder)]
            for line in _remedy(holder, behind):
                if line not in lines:
                    lines.append(line)
    if not lines:
        delayed = found.lock.delayed_until_ms > 0
        lines.append("the end of its lock delay" if delayed else "nothing is in the way: the first in line is next")
    return lines


def _is_same(one: "Holder", other: "Holder") -> bool:
    return (one.session_id, one.agent) == (other.session_id, other.agent)


def _remedy(holder: "Holder", behind: "list[WaitingHolder]") -> list[str]:
    name, who = escaped(holder.name), escaped(holder.owner)
    if behind:
        what = ", ".join(escaped(each.waits.name) for each in behind)
        return [f"{name}: {who} goes on once it has {what}"]
    lines = [f"{name}: {who} releases it"]
    if not holder.session_id:
        lines[0] += f": {unlock_line([holder.name], holder.token)}"
    if holder.ttl:
        lines.append(f"{name}: its lease ends in {duration(holder.lease_remaining)} if {who} does not renew it")
    lines.append(f"{name}: an admin takes it away: {break_line(holder.name, holder.token)}")
    return lines
