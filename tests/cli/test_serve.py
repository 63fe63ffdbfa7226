"""serve up to the point where the daemon takes over: what configuration errors look like."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lockd import logs
from lockd.cli import main
from lockd.cli.serve import FORMATS, LEVELS


def run(folder: Path, *arguments: str) -> Result:
    result = CliRunner(env={"HOME": str(folder), "LOCKD_ID": ""}).invoke(main, ["serve", *arguments])
    assert isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--cluster", "missing.yml"), "missing.yml: --cluster: cannot be read: No such file or directory"),
        (("--cluster", "."), "--cluster: cannot be read: Is a directory"),
        (("--id", "3"), "--id: chooses a node of --cluster"),
        (("--listen", "nowhere"), "--listen: 'nowhere' is not host:port"),
        (("--listen", "0.0.0.0:2080"), "insecure: 0.0.0.0:2080 is beyond loopback"),
        (("--cluster", "one\x1b.yml"), "one\\x1b.yml"),
    ],
)
def test_a_wrong_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(tmp_path, *arguments)
    assert (result.exit_code, result.stdout) == (78, "")
    assert text in result.stderr
    assert "Traceback" not in result.stderr


def test_the_choices_are_those_of_logs() -> None:
    assert (FORMATS, LEVELS) == (logs.FORMATS, logs.LEVELS)
