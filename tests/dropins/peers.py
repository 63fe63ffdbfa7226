"""Other lock services, real ones: each on a free port of loopback, in a folder of its own."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.integration.cluster import free_port
from tests.servers import EXIT_WITHIN_S, serving

HOST = "127.0.0.1"
ANSWER_WITHIN_S = 2.0
ZOOKEEPER_JAR = Path("/usr/share/java/zookeeper.jar")
ZOOKEEPER_TICK_MS = 200  # sessions live 2 to 20 ticks


@dataclass(frozen=True)
class Peer:
    host: str
    port: int
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """At once, as a crash."""
        self.process.kill()
        self.process.wait(EXIT_WITHIN_S)


@contextlib.contextmanager
def redis_server(port: int = 0) -> Iterator[Peer]:
    """An empty Redis that keeps nothing. port: 0 for one that is free."""
    program = shutil.which("redis-server")
    assert program, "redis-server is not installed (apt-get install redis-server)"
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        options = ["--bind", HOST, "--port", str(port), "--dir", folder, "--save", "", "--appendonly", "no"]
        with _running([program, *options], Path(folder), port, b"PING\r\n", b"+PONG") as peer:
            yield peer


@contextlib.contextmanager
def zookeeper_server() -> Iterator[Peer]:
    """An empty ZooKeeper of one node."""
    java = shutil.which("java")
    assert java, "java is not installed (apt-get install zookeeper)"
    assert ZOOKEEPER_JAR.exists(), f"{ZOOKEEPER_JAR} is not there (apt-get install zookeeper)"
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="zookeeper-") as name:
        folder = Path(name)
        (folder / "zoo.cfg").write_text(
            f"tickTime={ZOOKEEPER_TICK_MS}\ndataDir={folder}/data\nclientPort={port}\nclientPortAddress={HOST}\n"
            "admin.enableServer=false\nmaxClientCnxns=0\nforceSync=no\n"
        )
        machine = [java, "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", str(ZOOKEEPER_JAR)]
        program = ["org.apache.zookeeper.server.quorum.QuorumPeerMain", str(folder / "zoo.cfg")]
        with _running([*machine, *program], folder, port, b"srvr", b"Mode: standalone") as peer:
            yield peer


@contextlib.contextmanager
def _running(command: Sequence[str], folder: Path, port: int, question: bytes, answer: bytes) -> Iterator[Peer]:
    with serving(command, folder, lambda: answer in _ask(port, question)) as process:
        yield Peer(HOST, port, process)


def _ask(port: int, question: bytes) -> bytes:
    """What it answers first; nothing where it does not answer yet."""
    try:
        with socket.create_connection((HOST, port), timeout=ANSWER_WITHIN_S) as connection:
            connection.sendall(question)
            return connection.recv(4096)
    except OSError:
        return b""
