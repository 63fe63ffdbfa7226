from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever runs the tests may have a client.toml, or a cluster of their own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    for name in ("ENDPOINTS", "TOKEN", "TOKEN_FILE", "CACERT", "CERT", "KEY", "INSECURE", "CONFIG"):
        monkeypatch.delenv(f"LOCKD_{name}", raising=False)
