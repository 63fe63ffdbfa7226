"""The plugin, as pytest finds it where lockd is installed: each run in its own process, with warnings as errors."""

from collections.abc import Callable

import pytest

pytest_plugins = ["pytester"]

SETTINGS = """
[pytest]
addopts = -p no:cacheprovider
filterwarnings = error
"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> Callable[..., pytest.RunResult]:
    pytester.makeini(SETTINGS)

    def run(test: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(test)
        return pytester.runpytest_subprocess("-q", *arguments)

    return run


def test_its_fixtures_are_there_without_a_conftest(run):
    result = run(
        """
        def test_that_forgets_to_look(lockd_server, lockd_client):
            with lockd_client.lock("a", ttl=30):
                lockd_server.expire("a")
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*LockLost: The lock was lost: its lease ended*"])


def test_each_test_has_a_cluster_and_clients_of_its_own(run):
    result = run(
        """
        import asyncio

        def test_one(lockd_server, lockd_client):
            lockd_client.lock("a").acquire()
            lockd_server.advance(100)

        def test_other(lockd_server, lockd_client, lockd_async_client):
            assert lockd_client.lock("a").acquire(blocking=False)
            assert asyncio.run(lockd_async_client.is_locked("a"))
            assert lockd_server.elapsed == 0
        """
    )
    result.assert_outcomes(passed=2)


def test_who_does_not_use_it_does_not_load_it(run):
    result = run(
        """
        import sys

        def test_what_is_loaded(pytestconfig):
            assert pytestconfig.pluginmanager.has_plugin("lockd")
            strangers = {"grpc", "plyvel", "structlog", "lockd.server", "lockd.testing.in_process", "lockd_client"}
            assert not strangers & set(sys.modules)
        """
    )
    result.assert_outcomes(passed=1)


def test_its_fixtures_say_what_they_are(run):
    result = run("def test(): pass", "--fixtures")
    result.stdout.fnmatch_lines(
        [
            "lockd_server -- *plugin.py*",
            "    A lockd of this test's own, whose time stands still until advance() moves it.",
            "lockd_client -- *plugin.py*",
            "lockd_async_client -- *plugin.py*",
        ]
    )
