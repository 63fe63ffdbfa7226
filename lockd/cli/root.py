"""The group that all verbs belong to, and how the command ends."""

import errno
import os
import sys
from contextlib import suppress
from typing import Any

import click

import lockd
from lockd.cli import exits
from lockd.cli.locks import list_command, lock_command, unlock_command
from lockd.cli.serve import serve_command
from lockd.cli.status import status_command
from lockd.escape import escaped


class Root(click.Group):
    """Ends with a message and one of our exit codes, never with a traceback for what a user can cause."""

    def main(self, *args: Any, **extra: Any) -> Any:
        extra |= {"standalone_mode": False, "prog_name": extra.get("prog_name") or "lockd"}
        try:
            result = super().main(*args, **extra)
        except click.UsageError as error:
            error.show()
            sys.exit(exits.USAGE)
        except exits.Failure as error:
            click.echo(f"lockd: {error.message}", err=True)
            sys.exit(error.code)
        except click.ClickException as error:  # a file that click opens
            error.show()
            sys.exit(exits.IO)
        except click.Abort:
            click.echo("lockd: interrupted", err=True)
            sys.exit(exits.INTERRUPTED)
        sys.exit(result if isinstance(result, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OSError as error:  # before click sees it, which would end a broken pipe with 1
            sys.exit(_end_of_io(error))


def _end_of_io(error: OSError) -> int:
    if error.errno != errno.EPIPE:  # whoever reads a pipe may have enough of it
        click.echo(f"lockd: {escaped(str(error))}", err=True)
    with suppress(OSError):  # what is left in the buffer cannot be written either: the interpreter must not try
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return exits.IO


@click.group(cls=Root, epilog=exits.table(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(lockd.__version__, prog_name="lockd", message="%(prog)s %(version)s")
def main() -> None:
    """A distributed lock service: its daemon (serve) and its client."""


for command in (serve_command, lock_command, unlock_command, list_command, status_command):
    main.add_command(command)
