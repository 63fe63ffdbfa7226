"""From flags, environment and file to a Config. resolve() is pure; load() adds what touches this machine."""

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from lockd.config.cluster_file import DEFAULT_PORT, PORT_MAX, ClusterFile, parse, split_address
from lockd.config.secret import checked_secret, read_secret, users_secret
from lockd.config.security import read_tokens
from lockd.config.validate import exposed, validate
from lockd.config.values import Auth, Config, ConfigError, Flags, NodeAddress, RoleName, Tls
from lockd.pki import files as certificates
from lockd.pki.checks import CertificateError

DEFAULT_HOST = "127.0.0.1"


def load(flags: Flags, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration of this node; may make the per-user secret's file. Raises ConfigError."""
    environ = os.environ if environ is None else environ
    cluster = _alone(flags) if flags.cluster is None else parse(read_cluster(flags.cluster), str(flags.cluster))
    config = resolve(cluster, flags, environ, is_of_this_machine)
    secret, warnings = _peer_secret(cluster, config, environ)
    warnings += check_certificates(config, cluster.source)
    auth = config.auth
    if auth is not None:
        auth, said = read_tokens(auth, cluster.source)
        warnings += said
    return replace(config, auth=auth, peer_secret=secret, warnings=config.warnings + warnings)


def resolve(cluster: ClusterFile, flags: Flags, environ: Mapping[str, str], is_local: Callable[[str], bool]) -> Config:
    """Everything but what is in files: the peers' secret, the tokens' secrets, certificates. Raises ConfigError.

    is_local: whether a host is an address of this machine.
    """
    me = _choose_me(cluster, flags, environ, is_local)
    listen_host, listen_port = split_address(flags.listen, "--listen") if flags.listen else (me.host, me.port)
    config = Config(
        me=me,
        nodes=cluster.nodes,
        listen_host=listen_host,
        listen_port=listen_port,
        data_dir=_data_dir(cluster, flags, environ, me),
        persistence=flags.persistence,
        insecure=cluster.insecure or flags.insecure,
        timing=cluster.timing,
        compaction=cluster.compaction,
        limits=cluster.limits,
        tls=_tls(cluster, me),
        auth=_auth(cluster),
    )
    if cluster.peer_secret is not None and cluster.peer_secret_file is not None:
        raise ConfigError("peer_secret", "stands beside peer_secret_file; keep one of them", cluster.source)
    has_secret = cluster.peer_secret is not None or cluster.peer_secret_file is not None
    validate(config, cluster.source, has_secret=has_secret)
    return replace(config, warnings=_warnings(cluster, flags, config))


def is_of_this_machine(host: str) -> bool:
    """Whether a socket can be bound to it."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return False
    return any(_can_bind(family, place) for family, _, _, _, place in found)


def _can_bind(family: int, place: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(place)
    except OSError:
        return False
    return True


def read_cluster(path: Path) -> str:
    """Its text. Raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError("--cluster", f"cannot be read: {error.strerror}", str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError("--cluster", f"is not UTF-8 at byte {error.start}", str(path)) from error


def _alone(flags: Flags) -> ClusterFile:
    """One node, without a file."""
    if flags.id is not None:
        raise ConfigError("--id", "chooses a node of --cluster, which is not given")
    host, port = split_address(flags.listen, "--listen") if flags.listen else (DEFAULT_HOST, DEFAULT_PORT)
    step = 1 if port + 2 <= PORT_MAX else -1
    node = NodeAddress(id=1, host=host, port=port, http_port=port + step, peer_port=port + 2 * step)
    return ClusterFile(source="", nodes=(node,))


def _choose_me(
    cluster: ClusterFile, flags: Flags, environ: Mapping[str, str], is_local: Callable[[str], bool]
) -> NodeAddress:
    if not cluster.source:
        return cluster.nodes[0]
    listed = ", ".join(f"{node.id} ({node.host})" for node in cluster.nodes)
    if flags.id is not None:
        return _by_id(cluster, flags.id, "--id", listed)
    if text := environ.get("LOCKD_ID", "").strip():
        if not (text.isascii() and text.isdecimal()):
            raise ConfigError("LOCKD_ID", f"{text!r} is not a number; the nodes are {listed}")
        return _by_id(cluster, int(text), "LOCKD_ID", listed)
    here = [node for node in cluster.nodes if is_local(node.host)]
    if not here:
        raise ConfigError(
            "nodes", f"none has an address of this machine: {listed}; say which one this is with --id", cluster.source
        )
    if len(here) > 1:
        several = ", ".join(f"{node.id} ({node.host})" for node in here)
        raise ConfigError(
            "nodes",
            f"several have an address of this machine: {several}; say which one this is with --id",
            cluster.source,
        )
    return here[0]


def _by_id(cluster: ClusterFile, id: int, name: str, listed: str) -> NodeAddress:
    found = next((node for node in cluster.nodes if node.id == id), None)
    if found is None:
        raise ConfigError(name, f"{id} is not among the nodes, which are {listed}", cluster.source)
    return found


def _data_dir(cluster: ClusterFile, flags: Flags, environ: Mapping[str, str], me: NodeAddress) -> Path | None:
    if flags.persistence == "memory":
        return None
    if flags.data_dir is not None:
        return flags.data_dir
    if cluster.data_dir is not None:
        return beside(cluster, cluster.data_dir, "data_dir") / str(me.id)
    base = _user_dir(environ, "XDG_DATA_HOME", ".local/share", "--data-dir")
    return base / Path(cluster.source).stem / str(me.id) if cluster.source else base / "single"


def beside(cluster: ClusterFile, path: str, field: str) -> Path:
    """A path from the file is relative to the file's folder."""
    try:
        return Path(cluster.source).parent / Path(path).expanduser()
    except RuntimeError as error:  # a home that is not known
        raise ConfigError(field, f"{path!r}: {error}", cluster.source) from error


def _tls(cluster: ClusterFile, me: NodeAddress) -> Tls | None:
    """With the files of this node."""
    if cluster.tls is None:
        return None

    def place(path: Path, field: str) -> Path:
        return beside(cluster, str(path).replace("{id}", str(me.id)), f"tls.{field}")

    tls = cluster.tls
    return replace(tls, ca=place(tls.ca, "ca"), cert=place(tls.cert, "cert"), key=place(tls.key, "key"))


def _auth(cluster: ClusterFile) -> Auth | None:
    """With the places of its files."""
    if cluster.auth is None:
        return None
    tokens = [
        token if token.file is None else replace(token, file=beside(cluster, str(token.file), f"auth.tokens[{place}]"))
        for place, token in enumerate(cluster.auth.tokens)
    ]
    return replace(cluster.auth, tokens=tuple(tokens))


def _user_dir(environ: Mapping[str, str], variable: str, below_home: str, instead: str) -> Path:
    given = environ.get(variable, "")
    if given and Path(given).is_absolute():
        return Path(given) / "lockd"
    home = environ.get("HOME", "")
    if not home:
        raise ConfigError(instead, f"is not given, and neither {variable} nor HOME is set")
    return Path(home) / below_home / "lockd"


def _warnings(cluster: ClusterFile, flags: Flags, config: Config) -> tuple[str, ...]:
    found = []
    if beyond := exposed(config):
        found.append(_insecure(config, ", ".join(beyond)))
    if config.auth is not None and "admin" not in _roles(config.auth):
        found.append("auth: nothing there has the role admin: only a token that the cluster keeps can make more")
    if len(config.nodes) % 2 == 0:
        count = len(config.nodes)
        found.append(f"nodes: {count} survive the loss of no more nodes than {count - 1} would; use an odd number")
    if cluster.peer_secret is not None:
        found.append(f"peer_secret: whoever reads {cluster.source} has it; peer_secret_file keeps it apart")
    if config.persistence == "memory":
        found.append("--persistence memory: every lock is forgotten when this node stops")
        if flags.data_dir is not None:
            found.append("--data-dir: is not used with --persistence memory")
    return tuple(found)


def _roles(auth: Auth) -> set[RoleName]:
    return {token.role for token in auth.tokens} | {grant.role for grant in auth.certificates}


def _insecure(config: Config, beyond: str) -> str:
    if config.tls is not None:
        return f"insecure: no tokens and no certificates on {beyond}: anybody who reaches it can take and release locks"
    if config.auth is not None:
        return f"insecure: no TLS on {beyond}: tokens travel in the clear, and whoever sees one can use it"
    return f"insecure: no TLS on {beyond}: anybody who reaches it can take and release locks"


def check_certificates(config: Config, source: str) -> tuple[str, ...]:
    """Warnings. Raises ConfigError where the files are not what this node needs."""
    tls, me = config.tls, config.me
    if tls is None:
        return ()
    try:
        return certificates.read(tls.ca, tls.cert, tls.key, me.id, me.host).warnings
    except CertificateError as error:
        raise ConfigError(error.field, error.what, source) from error


def _peer_secret(cluster: ClusterFile, config: Config, environ: Mapping[str, str]) -> tuple[bytes, tuple[str, ...]]:
    if len(config.nodes) == 1:
        return b"", ()
    if cluster.peer_secret is not None:
        return checked_secret(cluster.peer_secret.encode(), "peer_secret", cluster.source), ()
    if cluster.peer_secret_file is not None:
        return read_secret(beside(cluster, cluster.peer_secret_file, "peer_secret_file"), cluster.source)
    return users_secret(_user_dir(environ, "XDG_STATE_HOME", ".local/state", "peer_secret_file")), ()
