"""Databases to be guarded: real servers of PostgreSQL and MariaDB, each in a folder of its own. It listens on a socket
there and nowhere else.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tests.servers import serving

POSTGRESQL = sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # Debian's place, not in PATH


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """The URL of an empty database."""
    initdb = shutil.which("initdb", path=os.pathsep.join([os.environ["PATH"], *map(str, POSTGRESQL)]))
    assert initdb, "PostgreSQL is not installed (apt-get install postgresql)"
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        data, as_user = f"{folder}/data", _not_root(folder)
        create = [initdb, "-D", data, "-U", "lockd", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"]
        _run(create, folder, **as_user)
        server = [str(Path(initdb).with_name("postgres")), "-D", data, "-k", folder]
        server += ["-c", "listen_addresses=", "-c", "fsync=off"]
        url = f"postgresql+psycopg://lockd@/postgres?host={folder}"
        with _serving(server, folder, f"{folder}/.s.PGSQL.5432", url, **as_user):
            yield url


@contextlib.contextmanager
def mariadb() -> Iterator[str]:
    """The URL of an empty database."""
    install, server = shutil.which("mariadb-install-db"), shutil.which("mariadbd", path="/usr/sbin:/usr/bin")
    assert install, "MariaDB is not installed (apt-get install mariadb-server)"
    assert server, "MariaDB is not installed (apt-get install mariadb-server)"
    with tempfile.TemporaryDirectory(prefix="mariadb-") as folder:
        common = ["--no-defaults", f"--datadir={folder}/data", f"--user={pwd.getpwuid(os.getuid()).pw_name}"]
        _run([install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"], folder)
        command = [server, *common, f"--socket={folder}/s", f"--pid-file={folder}/pid", "--skip-networking"]
        url = f"mysql+pymysql://root@/?unix_socket={folder}/s"
        with _serving([*command, "--innodb-flush-log-at-trx-commit=0"], folder, f"{folder}/s", url):
            _execute(url, "CREATE DATABASE guarded")  # in the character set that comes with it
            yield str(make_url(url).set(database="guarded"))


def _not_root(folder: str) -> dict[str, Any]:
    """PostgreSQL does not run as root: whose folder it is, as arguments of Popen."""
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _run(command: Sequence[str], folder: str, **options: Any) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def _serving(command: Sequence[str], folder: str, address: str, url: str, **options: Any) -> Iterator[None]:
    def answers() -> bool:
        with contextlib.suppress(OSError, OperationalError):
            _connect(address)  # first, since a driver that cannot leaves its socket to the garbage collector
            _execute(url, "SELECT 1")
            return True
        return False

    with serving(command, Path(folder), answers, ended_by=signal.SIGQUIT, **options):
        yield


def _connect(address: str) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(address)


def _execute(url: str, statement: str) -> None:
    with create_engine(url, poolclass=NullPool).connect() as connection:
        connection.execute(text(statement))
