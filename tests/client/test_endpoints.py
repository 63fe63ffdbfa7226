"""Which endpoints a client takes, from its arguments and the environment."""

from collections.abc import Mapping, Sequence

import pytest

from lockd_client import InvalidArgument, LockdClient
from lockd_client.endpoints import choose_endpoints, parse_endpoint


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("db1", "db1:2080"),
        ("db1:", "db1:2080"),
        (" db1:90 ", "db1:90"),
        ("127.0.0.1:2090", "127.0.0.1:2090"),
        ("[::1]", "[::1]:2080"),
        ("[::1]:7", "[::1]:7"),
        ("fe80::1%eth0", "[fe80::1%eth0]:2080"),
    ],
)
def test_an_endpoint(text: str, endpoint: str) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    "text", ["", ":2080", "db1:0", "db1:65536", "db1:http", "db1:-1", "[::1]2080", "dns:///db1", "a b", "db1:²"]
)
def test_not_an_endpoint(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_endpoint(text)


@pytest.mark.parametrize(
    ("host", "port", "endpoints", "environment", "chosen"),
    [
        (None, None, None, {}, ("127.0.0.1:2080",)),
        (None, 9, None, {"LOCKD_ENDPOINTS": "x"}, ("127.0.0.1:9",)),
        ("h", None, None, {"LOCKD_ENDPOINTS": "x"}, ("h:2080",)),
        ("::1", 9, None, {}, ("[::1]:9",)),
        (None, None, ["a", "b:1", "a:2080"], {"LOCKD_ENDPOINTS": "x"}, ("a:2080", "b:1")),
        (None, None, None, {"LOCKD_ENDPOINTS": "a:1, b ,"}, ("a:1", "b:2080")),
        (None, None, None, {"LOCKD_ENDPOINTS": " , "}, ("127.0.0.1:2080",)),
    ],
)
def test_arguments_over_environment_over_default(
    host: str | None,
    port: int | None,
    endpoints: Sequence[str] | None,
    environment: Mapping[str, str],
    chosen: tuple[str, ...],
) -> None:
    assert choose_endpoints(host, port, endpoints, environment) == chosen


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"host": "a", "endpoints": ["b"]}, "either host and port, or endpoints"),
        ({"endpoints": []}, "endpoints is empty"),
        ({"endpoints": "a:1"}, "endpoints is a list"),
        ({"port": 0}, "port 0"),
        ({"timeout": 0}, "timeout is 0"),
        ({"timeout": float("nan")}, "timeout is nan"),
    ],
)
def test_arguments_that_contradict_or_are_out_of_range(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        LockdClient(**arguments)  # type: ignore[arg-type]  # wrong on purpose


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKD_ENDPOINTS", "a,b:9")
    assert LockdClient().endpoints == ("a:2080", "b:9")
