"""What users of the Go lockd bring along: its sample session, its form of the cluster file."""

import os
import subprocess
import sys

import pytest

from tests.integration.cluster import GO_PEER_PORT_OFFSET, ROOT, running

SAMPLE = """\
>>> from lockd import LockdClient
>>> lockd_client = LockdClient()
>>> lockd_client.Lock("foo")
True
>>> lockd_client.IsLocked("foo")
True
>>> lockd_client.Unlock("foo")
True
"""


@pytest.mark.parametrize("size", [1, 3])
def test_the_sample_session_runs_as_it_stands(tmp_path, size):
    """Under its form of the cluster file too. The address comes from the environment: 2080 may be taken here."""
    session = tmp_path / "session.txt"
    session.write_text(SAMPLE)
    with running(tmp_path, size, form="go") as cluster:
        for id, node in cluster.nodes.items():
            for line in node.said("serving"):
                assert line["peers"] == (None if size == 1 else f"127.0.0.1:{node.port + GO_PEER_PORT_OFFSET}")
            run = subprocess.run(
                [sys.executable, "-m", "doctest", "-v", str(session)],
                env={**os.environ, "LOCKD_ENDPOINTS": cluster.nodes[id].endpoint},
                capture_output=True,
                text=True,
                cwd=ROOT,
            )
            assert run.returncode == 0, run.stdout + run.stderr
            assert run.stdout.count("Expecting:\n    True\nok") == 3


def test_the_readme_shows_it():
    assert SAMPLE in (ROOT / "README.md").read_text()
