"""A little of `make fuzz`, from a fixed seed."""

from pathlib import Path

import pytest

from tests.fuzz.run import run

SEED = 1


@pytest.mark.parametrize(
    ("surface", "seconds", "options"),
    [
        ("rpc", 4.0, {}),
        ("peers", 4.0, {}),
        ("disk", 4.0, {}),
        ("connections", 2.0, {"phases": ["few descriptors"], "scale": 0.5}),
        ("connections", 4.0, {"phases": ["idle", "channels", "unread health", "unread streams"], "scale": 0.05}),
    ],
    ids=["rpc", "peers", "disk", "few descriptors", "connections"],
)
def test_nothing_is_found(tmp_path: Path, surface: str, seconds: float, options: dict[str, object]):
    assert run(surface, seconds, SEED, tmp_path, **options).found == []
