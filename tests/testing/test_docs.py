"""docs/testing.md: each of its examples runs as it stands."""

import subprocess
import sys

import pytest

from tests.examples import examples
from tests.testing.test_plugin import SETTINGS

pytest_plugins = ["pytester"]

TESTS = [example for example in examples("testing.md") if "def test_" in example]
PROGRAMS = [example for example in examples("testing.md") if "def test_" not in example]


def test_its_tests_pass(pytester):
    assert len(TESTS) > 4
    pytester.makeini(SETTINGS)
    for number, example in enumerate(TESTS):
        pytester.makepyfile(**{f"test_example_{number}": example})
    result = pytester.runpytest_subprocess("-q")
    result.assert_outcomes(passed="\n".join(TESTS).count("def test_"))


@pytest.mark.parametrize("program", PROGRAMS)
def test_its_programs_run(program):
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
