"""token: who may call the cluster, and by which secret."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockd.cli import exits
from lockd.cli.connect import Cluster, cluster_options, connected, output_option
from lockd.cli.describe import as_json
from lockd.cli.groups import InOrder
from lockd.cli.params import TEXT
from lockd.cli.text import aligned, shell_word
from lockd.escape import escaped

if TYPE_CHECKING:
    from lockd_client import AccessToken, LockdClient, NewToken

_HEADINGS = ("ID", "NAME", "ROLE", "PREFIXES", "CREATED BY")
_ALL_NAMES = "(all names)"
_ID_MAX = 2**63 - 1


class _Id(click.IntRange):
    """The id of a token. Its name is easily given instead, and may belong to several."""

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            self.fail(f"'{escaped(str(value))}' is not a number; `lockd token list` shows the ids", param, ctx)
        return super().convert(number, param, ctx)


_ID = _Id(min=1, max=_ID_MAX)


@click.group("token", cls=InOrder, short_help="Make, list and revoke tokens of callers.")
def token_command() -> None:
    """Make, list and revoke the tokens by which callers are known. It takes the token of an admin for all names.

    \b
    lockd token create ci --role lock --prefix ci/ --out ci.token
    lockd token list
    lockd token revoke 3
    """


@token_command.command("create", short_help="Let a caller in.")
@click.argument("name", type=TEXT)
@click.option(
    "--role",
    type=click.Choice(["read", "lock", "admin"]),
    required=True,
    help="What it may do: look; also take locks; also break those of others.",
)
@click.option(
    "--prefix",
    "prefixes",
    multiple=True,
    type=TEXT,
    metavar="P",
    help="Only the locks whose names begin so; may be repeated. Default: all names.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the secret there, for its owner alone (mode 0600), instead of printing it. FILE must not exist.",
)
@cluster_options
def create_command(
    name: str, role: str, prefixes: tuple[str, ...], out: Path | None, cluster: Cluster, timeout: float
) -> None:
    """Make a token for the caller NAME, and print its secret: this once, the cluster keeps its hash only.

    Tokens of one NAME are one caller: a second one can take the place of the first without a pause. The secret is all
    that is on stdout; its id is on stderr.

    \b
    Examples:
      lockd token create ci --role lock --prefix ci/ --out ci.token
      LOCKD_TOKEN=$(lockd token create ann --role read) lockd list
    """
    from lockd_client import OutcomeUnknown

    with _destination(out) as write, connected(cluster, timeout) as client:
        try:
            made = client.create_token(name, role, prefixes)
        except OutcomeUnknown as error:
            exits.fail(
                "a token may have been made whose secret nobody has; see `lockd token list`, and revoke it: "
                f"{escaped(error.last_error)}",
                exits.TEMPFAIL,
            )
        try:
            write(made.secret)
        except (OSError, KeyboardInterrupt):
            click.echo(
                f"lockd: token {made.id} was made, and its secret could not be written. To revoke it:\n"
                f"lockd token revoke {made.id}",
                err=True,
            )
            raise
    click.echo(_how_to_use(made, out), err=True)


@token_command.command("list", short_help="List the tokens that were made.")
@output_option
@cluster_options
def list_command(output: str, cluster: Cluster, timeout: float) -> None:
    """List the tokens that `lockd token create` made, in the order of their ids, without their secrets. Those that
    cluster.yml declares are not among them.
    """
    with connected(cluster, timeout) as client:
        tokens = client.list_tokens()
    if output == "json":
        click.echo(as_json({"tokens": [asdict(token) for token in tokens]}))
    elif tokens:
        for line in aligned(_HEADINGS, [_row(token) for token in tokens]):
            click.echo(line)
    else:
        click.echo("no tokens were made", err=True)


@token_command.command("revoke", short_help="Let a caller in no more.")
@click.argument("id", type=_ID)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@cluster_options
def revoke_command(id: int, yes: bool, cluster: Cluster, timeout: float) -> None:
    """Revoke the token with this ID, as `lockd token list` shows it. From then on nothing is done with it.

    It shows whose token that is and asks first. Without a terminal it takes --yes. What its owner holds is held until
    its lease ends; `lockd break` frees it at once. Exit code 1 if there is no such token, or if you say no; then
    nothing is changed.

    \b
    Example:
      lockd token revoke 3
    """
    with connected(cluster, timeout) as client:
        if not yes:
            _ask(client, id)
        if not client.revoke_token(id):
            exits.fail(_no_such(id), exits.ANSWER_IS_NO)


# ---- where a secret goes


class _Secret:
    """To stdout, or to a file."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self.is_written = False

    def __call__(self, secret: str) -> None:
        """Raises OSError."""
        if self._descriptor is None:
            click.echo(secret)
        else:
            with os.fdopen(os.dup(self._descriptor), "w") as file:
                file.write(f"{secret}\n")
                file.flush()
                os.fsync(file.fileno())
        self.is_written = True


@contextmanager
def _destination(out: Path | None) -> Iterator[_Secret]:
    """The file is there before the token is, so that no token is made whose secret has no place. It goes again where
    there is none.
    """
    if out is None:
        yield _Secret(None)
        return
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        exits.fail(f"--out: {escaped(str(out))}: {error.strerror}; nothing was changed", exits.IO)
    secret = _Secret(descriptor)
    try:
        yield secret
    finally:
        os.close(descriptor)
        if not secret.is_written:
            out.unlink(missing_ok=True)


# ---- words


def _how_to_use(made: "NewToken", out: Path | None) -> str:
    names = ", ".join(map(escaped, made.prefixes)) or "all names"
    is_made = f"token {made.id} lets {escaped(made.name)} in (role {made.role}, {names})"
    if out is None:
        return f"{is_made}. Whoever has it sets LOCKD_TOKEN to it. It is not shown again."
    return f"{is_made}. To use it:\nexport LOCKD_TOKEN_FILE={shell_word(str(out.absolute()))}"


def _row(token: "AccessToken") -> tuple[str, ...]:
    return (
        str(token.id),
        escaped(token.name),
        token.role or "?",
        ", ".join(map(escaped, token.prefixes)) or _ALL_NAMES,
        escaped(token.created_by),
    )


def _no_such(id: int) -> str:
    return f"there is no token {id}; see `lockd token list`"


def _ask(client: "LockdClient", id: int) -> None:
    token = next((token for token in client.list_tokens() if token.id == id), None)
    if token is None:
        exits.fail(_no_such(id), exits.ANSWER_IS_NO)
    for line in aligned(_HEADINGS, [_row(token)]):
        click.echo(line, err=True)
    if not sys.stdin.isatty():
        exits.fail("there is no terminal to ask on; with --yes it does not ask", exits.USAGE)
    if not click.confirm(f"Revoke the token of {escaped(token.name)}?", err=True):
        exits.fail("nothing was changed", exits.ANSWER_IS_NO)
