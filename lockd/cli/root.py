"""The group that all verbs belong to, and how the command ends."""

import errno
import io
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

import lockd
from lockd.cli import exits
from lockd.cli.certs import certs_command
from lockd.cli.explain import explain_command
from lockd.cli.groups import InOrder
from lockd.cli.locks import break_command, lock_command, unlock_command
from lockd.cli.looking import info_command, list_command, wait_command
from lockd.cli.run import run_command
from lockd.cli.serve import serve_command
from lockd.cli.status import status_command
from lockd.cli.telling import give_up, say, tell
from lockd.cli.token import token_command
from lockd.cli.watch import watch_command
from lockd.escape import escaped


class Root(InOrder):
    """Ends with a message and one of our exit codes, never with a traceback for what a user can cause."""

    def main(self, *args: Any, **extra: Any) -> Any:
        extra |= {"standalone_mode": False, "prog_name": extra.get("prog_name") or "lockd"}
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # names that the terminal's encoding does not have
        try:
            result = super().main(*args, **extra)
        except click.UsageError as error:
            tell(error.show)
            sys.exit(exits.USAGE)
        except exits.Failure as error:
            say(f"lockd: {error.message}")
            sys.exit(error.code)
        except click.ClickException as error:  # a file that click opens
            tell(error.show)
            sys.exit(exits.IO)
        except click.Abort:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the end
            say("lockd: interrupted")
            sys.exit(exits.INTERRUPTED)
        sys.exit(result if isinstance(result, int) else 0)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _ending_well():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _ending_well():
            return super().invoke(ctx)


@contextmanager
def _ending_well() -> Iterator[None]:
    """Before click sees it: it would end a broken pipe with 1, and a line on stderr whether that can be written to or
    not.
    """
    try:
        yield
    except OSError as error:
        sys.exit(_end_of_io(error))
    except KeyboardInterrupt:
        say("")
        raise click.Abort from None


def _end_of_io(error: OSError) -> int:
    if error.errno != errno.EPIPE:  # whoever reads a pipe may have enough of it
        say(f"lockd: {escaped(str(error))}")
    give_up(sys.stdout)
    return exits.IO


@click.group(cls=Root, epilog=exits.table(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(lockd.__version__, prog_name="lockd", message="%(prog)s %(version)s")
def main() -> None:
    """A distributed lock service: its daemon (serve) and its client.

    \b
    lockd run nightly-report -- make all    run a command while a lock is held
    lockd lock nightly-report --ttl 300     take a lock; prints a token
    lockd explain nightly-report            who has it, and what would free it
    lockd unlock nightly-report --token 17  give it back
    lockd COMMAND --help                    more, with examples
    """


for command in (
    run_command,
    lock_command,
    unlock_command,
    wait_command,
    list_command,
    info_command,
    explain_command,
    watch_command,
    break_command,
    status_command,
    serve_command,
    certs_command,
    token_command,
):
    main.add_command(command)
