"""Certificates for tests, in files."""

from pathlib import Path

from lockd.pki.making import Pair, make_ca, make_client, make_node


def write(folder: Path, name: str, pair: Pair) -> tuple[Path, Path]:
    """Where its certificate and its key are."""
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    cert.write_bytes(pair.cert)
    key.write_bytes(pair.key)
    key.chmod(0o600)
    return cert, key


class Authority:
    """A certificate authority whose files are in a folder: ca.crt, node-N.crt, client-NAME.crt, and keys."""

    def __init__(self, folder: Path, name: str = "tests") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.pair = folder, make_ca(name)
        self.ca, _ = write(folder, "ca", self.pair)

    def node(self, id: int, *hosts: str, days: float = 30) -> tuple[Path, Path]:
        return write(
            self.folder, f"node-{id}", make_node(self.pair, id, hosts or ("127.0.0.1", "localhost"), days=days)
        )

    def client(self, name: str, *, days: float = 30) -> tuple[Path, Path]:
        return write(self.folder, f"client-{name}", make_client(self.pair, name, days=days))
