"""The guard in tests/conftest.py, run on a folder of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.sources import ROOT

SKIPPED = """\
import pytest

@pytest.mark.parametrize("disk", ["slow", "full"])
def test_that_needs_a_disk(disk):
    pytest.skip("no such disk")

def test_that_runs():
    pass
"""


def run(folder: Path, ci: str, allowed: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    (folder / "allowed_skips.txt").write_text(allowed)
    (folder / "test_disk.py").write_text(SKIPPED)
    environment = {**os.environ, "CI": ci}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


@pytest.mark.parametrize(
    ("ci", "allowed", "code"),
    [
        ("true", "", 1),
        ("true", "test_disk.py::test_that_needs_a_disk[slow] | no such disk here | make disk\n", 1),
        ("true", "# all of them\ntest_disk.py::test_that_needs_a_disk | no such disk here | make disk\n", 0),
        ("", "", 0),
    ],
)
def test_a_skipped_test_fails_ci_unless_it_is_allowed(tmp_path, ci, allowed, code):
    done = run(tmp_path, ci, allowed)
    assert done.returncode == code, done.stdout
    refused = "skipped, and not in allowed_skips.txt: test_disk.py::test_that_needs_a_disk[full]"
    assert (refused in done.stdout) == (code == 1)


def test_the_list_names_tests_that_exist():
    lines = (ROOT / "tests" / "allowed_skips.txt").read_text().splitlines()
    rows = [line.split("|") for line in lines if line.strip() and not line.startswith("#")]
    assert all(len(row) == 3 and (ROOT / row[0].split("::")[0].strip()).exists() for row in rows)
