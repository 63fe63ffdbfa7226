"""scripts/run_cluster with a stand-in for the daemon, which listens or fails as the test wants."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]

STAND_IN = """\
#!{python}
import os, signal, socket, sys
verb, options = sys.argv[3], dict(zip(sys.argv[4::2], sys.argv[5::2]))
if verb == "status":
    host, _, port = options["--endpoint"].rpartition(":")
    socket.create_connection((host, int(port))).close()
    sys.exit(0)
print("node", options["--id"], "says hello", flush=True)
if os.path.exists(options["--data-dir"] + ".fails"):
    sys.exit("no disk")
if os.path.exists(options["--data-dir"] + ".stays"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
server = socket.create_server(("127.0.0.1", {ports}[int(options["--id"]) - 1]))
while True:
    server.accept()[0].close()
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Script:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = free_ports(6)
        self.state = folder / "state"
        self.state.mkdir()
        self.cluster = folder / "cluster.yml"
        self.process: subprocess.Popen[str] | None = None
        nodes = [
            f"  - {{id: {number + 1}, host: 127.0.0.1, port: {port}, peer_port: {self.ports[number + 3]}}}\n"
            for number, port in enumerate(self.ports[:3])
        ]
        self.cluster.write_text("nodes:\n" + "".join(nodes))
        self.python = folder / "python"
        self.python.write_text(STAND_IN.format(python=sys.executable, ports=self.ports[:3]))
        self.python.chmod(0o755)

    def start(self, *options: str, under_a_shell: bool = False) -> None:
        script = [sys.executable, str(ROOT / "scripts" / "run_cluster"), "--python", str(self.python)]
        script += ["--cluster", str(self.cluster), "--state", str(self.state), *options]
        if under_a_shell:
            script = ["/bin/sh", "-c", '"$@"; exit $?', "sh", *script]
        with (self.folder / "out").open("w") as out:
            self.process = subprocess.Popen(script, stdout=out, stderr=subprocess.STDOUT, text=True, cwd=self.folder)

    def output(self) -> str:
        return (self.folder / "out").read_text()

    def wait_until_ready(self) -> None:
        eventually(lambda: "Ctrl-C stops them." in self.output(), 20)

    def children(self) -> list[psutil.Process]:
        assert self.process is not None
        return psutil.Process(self.process.pid).children()

    def code(self) -> int:
        assert self.process is not None
        return self.process.wait(20)


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    script = Script(tmp_path)
    yield script
    if script.process is not None and script.process.poll() is None:
        for child in script.children():
            child.kill()
        script.process.kill()
        script.process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_nodes(script, number):
    script.start()
    script.wait_until_ready()
    nodes = script.children()
    assert len(nodes) == 3
    os.kill(script.process.pid, number)
    assert script.code() == 0
    assert not any(node.is_running() for node in nodes)
    assert "All nodes have stopped." in script.output()


def test_the_end_of_its_parent_stops_all_nodes(script):
    """make passes SIGTERM on and SIGKILL not."""
    script.start(under_a_shell=True)
    script.wait_until_ready()
    nodes = psutil.Process(script.process.pid).children(recursive=True)
    assert len(nodes) == 4
    script.process.kill()
    eventually(lambda: not any(node.is_running() for node in nodes), 20)


def test_it_prints_lines_that_can_be_pasted(script):
    script.start()
    script.wait_until_ready()
    assert f"    ./lockd list --endpoint 127.0.0.1:{script.ports[0]}\n" in script.output()


def test_a_node_that_ends_by_itself_ends_the_others_and_is_quoted(script):
    (script.state / "node2.fails").touch()
    script.start()
    assert script.code() == 1
    assert "node 2 ended by itself with exit code 1" in script.output()
    assert "    no disk" in script.output()


def test_a_node_that_does_not_stop_is_killed(script):
    (script.state / "node3.stays").touch()
    script.start("--stop-within-s", "1")
    script.wait_until_ready()
    nodes = script.children()
    script.process.terminate()
    assert script.code() == 0
    assert "node 3 did not stop within" in script.output()
    assert not any(node.is_running() for node in nodes)


def test_a_taken_port_is_named_with_its_process(script):
    with socket.create_server(("127.0.0.1", script.ports[4])):
        script.start()
        assert script.code() == 1
    assert f"port {script.ports[4]} of node 2 is taken by process {os.getpid()} (" in script.output()
    assert list(script.state.iterdir()) == []


def test_the_log_of_the_run_before_is_kept(script):
    for _ in range(2):
        script.start()
        script.wait_until_ready()
        script.process.terminate()
        assert script.code() == 0
    assert "node 1 says hello" in (script.state / "node1.log.1").read_text()


def test_a_file_that_is_no_cluster_is_refused(script):
    script.cluster.write_text("nodes: 3\n")
    script.start()
    assert script.code() == 1
    assert "does not list nodes" in script.output()
