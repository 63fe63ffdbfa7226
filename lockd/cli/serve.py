"""serve: flags -> Config -> the daemon."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockd.cli import exits
from lockd.escape import escaped

if TYPE_CHECKING:
    from lockd.config import Persistence
    from lockd.logs import Format, Level

FORMATS = ("auto", "json", "text")  # logs.FORMATS: importing it would load structlog for the client verbs too
LEVELS = ("debug", "info", "warning", "error")


@click.command("serve")
@click.option("--cluster", type=click.Path(path_type=Path), metavar="FILE", help="cluster.yml. Default: one node.")
@click.option("--id", type=int, metavar="N", help="Which of its nodes this is. Default: LOCKD_ID, else by address.")
@click.option("--listen", metavar="HOST:PORT", help="Where to serve clients. Default: what the file says.")
@click.option("--data-dir", type=click.Path(path_type=Path), metavar="DIR", help="Where to keep log and locks.")
@click.option("--persistence", type=click.Choice(["leveldb", "memory"]), default="leveldb", show_default=True)
@click.option("--insecure", is_flag=True, help="Listen beyond loopback without TLS, or with it for everybody.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@click.option(
    "--log-format",
    type=click.Choice(FORMATS),
    default="auto",
    show_default=True,
    help="auto: text on a terminal, JSON lines elsewhere.",
)
def serve_command(
    cluster: Path | None,
    id: int | None,
    listen: str | None,
    data_dir: Path | None,
    persistence: "Persistence",
    insecure: bool,
    log_level: "Level",
    log_format: "Format",
) -> None:
    """Run a node.

    Without arguments: one durable node on 127.0.0.1:2080 that keeps its data in a directory of this user.

    SIGTERM and Ctrl-C stop it: it hands over the lead and answers what is under way first. SIGHUP has it read the
    tokens and certificates of cluster.yml again.
    """
    import structlog

    from lockd import logs
    from lockd.config import ConfigError, Flags, load

    logs.configure(log_level, log_format)
    flags = Flags(cluster=cluster, id=id, listen=listen, data_dir=data_dir, persistence=persistence, insecure=insecure)
    try:
        config = load(flags)
    except ConfigError as error:
        exits.fail(escaped(str(error)), exits.CONFIG)
    for warning in config.warnings:
        structlog.get_logger("lockd").warning(warning)
    # gRPC's C core has a line for each odd header that a stranger sends, and reads this when it is loaded.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from lockd.daemon import serve

    sys.exit(serve(config, lambda: load(flags)))
