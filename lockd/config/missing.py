"""Making what a cluster file names and what does not exist: certificates, the peers' secret, secrets of tokens."""

import os
import secrets
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from lockd.config.cluster_file import parse
from lockd.config.load import beside, check_certificates, read_cluster, resolve
from lockd.config.secret import new_secret, read_secret
from lockd.config.security import read_tokens
from lockd.config.validate import HOST, is_loopback
from lockd.config.values import ConfigError, Flags, NodeAddress
from lockd.pki.issuing import Place, Written, issue_node, left_alone, make_authority
from lockd.pki.making import NODE_DAYS
from lockd.private_files import NewFile, write_new

TOKEN_PREFIX = "lockd_"  # noqa: S105  # it marks a secret as one of ours, for people and for scanners
_TOKEN_BYTES = 32


class ClusterCertificates:
    """Of a cluster file, of which any file that it names may be missing. Raises ConfigError."""

    def __init__(self, path: Path) -> None:
        self._cluster = parse(read_cluster(path), str(path))
        self._source = self._cluster.source
        self._configs = {
            # where it listens is for `serve` to judge, and where it keeps its data
            node.id: resolve(
                self._cluster,
                Flags(cluster=path, id=node.id, data_dir=Path(), insecure=True),
                os.environ,
                lambda _: False,
            )
            for node in self._cluster.nodes
        }

    def authority(self) -> Place:
        """Raises ConfigError, CannotIssue."""
        found = {config.tls.ca for config in self._configs.values() if config.tls is not None}
        if not found:
            raise ConfigError("tls", "is missing: it names the files of certificates", self._source)
        if len(found) > 1:
            raise ConfigError("tls.ca", "is another file for every node; they have one authority", self._source)
        return Place.of_authority(found.pop())

    def node(self, id: int) -> tuple[Place, tuple[str, ...]]:
        """Where its certificate is, and the names under which it is reached. Raises ConfigError."""
        config = self._configs.get(id)
        if config is None:
            known = ", ".join(map(str, self._configs))
            raise ConfigError("--id", f"{id} is not among the nodes, which are {known}", self._source)
        if config.tls is None:
            raise ConfigError("tls", "is missing: it names the files of certificates", self._source)
        return Place(config.tls.cert, config.tls.key), _hosts(config.me)

    def make_missing(self) -> Iterator[Written]:
        """Each file when it has been made or looked at. Nothing is made where something is amiss beforehand.

        Raises ConfigError, CannotIssue, OSError.
        """
        first = next(iter(self._configs.values()))
        peer_secret = self._peer_secret_file()
        tokens = [token.file for token in first.auth.tokens if token.file is not None] if first.auth else []
        if first.tls is None and peer_secret is None and not tokens:
            raise ConfigError(
                "tls", "is missing, and so are peer_secret_file and auth: there is nothing to make", self._source
            )
        self._refuse_twins(peer_secret)
        if first.tls is not None:
            yield from self._certificates()
        if peer_secret is not None:
            yield _secret(peer_secret, new_secret)
        for path in tokens:
            yield _secret(path, new_token)

    def wrong(self) -> list[str]:
        """What `serve` would refuse in the files, in which old ones may stand beside those just made."""
        found: list[str] = []
        checks: list[Callable[[], object]] = [
            partial(check_certificates, config, self._source) for config in self._configs.values()
        ]
        peer_secret = self._peer_secret_file()
        if peer_secret is not None:
            checks.append(partial(read_secret, peer_secret, self._source))
        auth = next(iter(self._configs.values())).auth
        if auth is not None:
            checks.append(partial(read_tokens, auth, self._source))
        for check in checks:
            try:
                check()
            except ConfigError as error:
                found.append(str(error))
        return found

    def _certificates(self) -> Iterator[Written]:
        authority = self.authority()
        nodes = {id: self.node(id) for id in self._configs}
        missing = [id for id, (place, _) in nodes.items() if not place.exists()]
        if authority.cert.exists() and not authority.key.exists() and not missing:
            yield Written(authority.cert, "left alone")  # its key is kept elsewhere, and not needed
        elif authority.cert.exists() and not authority.key.exists():
            ids = ", ".join(map(str, missing))
            raise ConfigError(
                "tls.ca",
                f"{authority.cert} is there and {authority.key} is not: certificates of the nodes {ids} are issued "
                "where that key is. To begin anew, move the certificate away",
                self._source,
            )
        else:
            yield from make_authority(authority)
        for id, (place, hosts) in nodes.items():
            if id in missing:
                yield from issue_node(authority, place, id, hosts, days=NODE_DAYS)
            else:
                yield from left_alone(place)

    def _peer_secret_file(self) -> Path | None:
        named = self._cluster.peer_secret_file
        return None if named is None else beside(self._cluster, named, "peer_secret_file")

    def _refuse_twins(self, peer_secret: Path | None) -> None:
        """Each file has one purpose."""
        uses: list[tuple[str, Path]] = []
        first = next(iter(self._configs.values()))
        if first.tls is not None:
            authority = self.authority()
            uses += [("tls.ca", authority.cert), ("the key of tls.ca", authority.key)]
        for id, config in self._configs.items():
            if config.tls is not None:
                uses += [(f"tls.cert of node {id}", config.tls.cert), (f"tls.key of node {id}", config.tls.key)]
        if peer_secret is not None:
            uses.append(("peer_secret_file", peer_secret))
        for place, token in enumerate(first.auth.tokens if first.auth else ()):
            if token.file is not None:
                uses.append((f"auth.tokens[{place}].file", token.file))
        seen: dict[Path, str] = {}
        for use, path in uses:
            other = seen.setdefault(Path(os.path.abspath(path)), use)
            if other != use:
                raise ConfigError(
                    use,
                    f"{path} is {other}, too; in tls, {{id}} stands for the node's id, or make the files of one "
                    "node at a time: lockd certs node",
                    self._source,
                )


def new_token() -> bytes:
    """The content of a file for the secret of one."""
    return f"{TOKEN_PREFIX}{secrets.token_urlsafe(_TOKEN_BYTES)}\n".encode()


def _secret(path: Path, make: Callable[[], bytes]) -> Written:
    if path.exists():
        return Written(path, "left alone")
    write_new(NewFile(path, make()))
    return Written(path, "made")


def _hosts(node: NodeAddress) -> tuple[str, ...]:
    """On loopback also its other usual names, and for one that listens everywhere those of this machine."""
    if node.host in ("0.0.0.0", "::"):  # noqa: S104  # compared, not bound
        here = socket.gethostname()
        return (*((here,) if HOST.fullmatch(here) else ()), "localhost", "127.0.0.1")
    if is_loopback(node.host):
        return tuple(dict.fromkeys((node.host, "localhost", "127.0.0.1")))
    return (node.host,)
