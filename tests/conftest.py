"""Tests do not see the settings of whoever runs them, nor that signals are ignored there, as by nohup.

In CI (CI=true) a test may be skipped only if allowed_skips.txt names it: a skipped test is one that was not run."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long hypothesis takes says something about the computer, and about what else runs on it.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD):
    signal.signal(number, signal.SIG_DFL)

ALLOWED = Path(__file__).with_name("allowed_skips.txt")


def allowed_skips() -> set[str]:
    """Test ids, with their parameters or without."""
    lines = (line.strip() for line in ALLOWED.read_text().splitlines())
    return {line.split("|")[0].strip() for line in lines if line and not line.startswith("#")}


class SkipGuard:
    def __init__(self) -> None:
        self.allowed = allowed_skips()
        self.refused: list[str] = []

    def look_at(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        skipped = report.skipped and not hasattr(report, "wasxfail")
        if skipped and not {report.nodeid, report.nodeid.split("[")[0]} & self.allowed:
            self.refused.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.look_at(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.look_at(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.refused and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for nodeid in self.refused:
            terminalreporter.write_line(f"skipped, and not in {ALLOWED.name}: {nodeid}", red=True)


def forget_the_users_settings() -> None:
    """Whoever runs the tests may have a client.toml, and a cluster of their own."""
    for name in ("ENDPOINTS", "TOKEN", "TOKEN_FILE", "CACERT", "CERT", "KEY", "INSECURE"):
        os.environ.pop(f"LOCKD_{name}", None)
    os.environ["LOCKD_CONFIG"] = os.devnull


def pytest_configure(config: pytest.Config) -> None:
    forget_the_users_settings()
    if os.environ.get("CI") == "true":
        config.pluginmanager.register(SkipGuard(), "skip-guard")
