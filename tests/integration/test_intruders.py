"""Who has no place among the nodes or at their doors: without TLS, with strange certificates, without the secret.

Through all of it the others go on serving.
"""

import pickle
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from lockd.pki.making import make_client, make_node
from lockd.raft.errors import LinkError
from lockd.raft.transport.frames import HEADER_BYTES, framed
from lockd.raft.transport.handshake import RAFT, SNAPSHOT, Dialling
from lockd_client import LockdClient, Unauthenticated, Unavailable, methods
from lockd_client.proto import lockd_pb2 as pb
from tests.certificates import Authority, write
from tests.eventually import eventually
from tests.integration.cluster import Cluster, Node, running
from tests.integration.raw import CALL_S, OPTIONS, reason_of

CONFIG = 78
WITHIN_S = 20.0
SOCKET_S = 10.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    grants: dict[str, Any] = {
        "tokens": [{"name": "admin", "role": "admin"}],
        "certificates": [{"name": "backup", "role": "lock", "prefixes": ["db/"]}],
    }
    with running(tmp_path_factory.mktemp("intruders"), tls="required", auth=grants) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("foreign"), "somebody else's")


@pytest.fixture(autouse=True)
def goes_on(cluster: Cluster) -> Iterator[None]:
    """Every node serves before and after."""
    check_that_all_serve(cluster)
    processes = {id: node.pid for id, node in cluster.nodes.items()}
    yield
    check_that_all_serve(cluster)
    assert {id: node.pid for id, node in cluster.nodes.items() if id != 3} == {1: processes[1], 2: processes[2]}
    failed = [line for node in cluster.nodes.values() for line in node.log_lines() if line.get("level") == "error"]
    assert failed == []


def check_that_all_serve(cluster: Cluster) -> None:
    cluster.wait_until_whole()
    for id in cluster.nodes:
        with cluster.client(id) as client:
            answer = client.try_lock(f"through {id}", ttl=60)
            assert answer.acquired
            assert client.unlock(answer.token).released


# ---- nodes


@contextmanager
def configured(cluster: Cluster, **changes: Any) -> Iterator[None]:
    """What is started meanwhile reads another file. changes: fields of cluster.yml; None takes one away."""
    right, settings = cluster.file, cluster.settings
    cluster.file = cluster.folder / "intruder.yml"
    cluster.settings = {name: value for name, value in {**settings, **changes}.items() if value is not None}
    try:
        cluster.write_file(cluster.file)
        yield
    finally:
        cluster.file, cluster.settings = right, settings


@contextmanager
def intruder(cluster: Cluster, **changes: Any) -> Iterator[None]:
    """In the place of node 3, which comes back afterwards. changes: as in configured()."""
    cluster.stop(3)
    try:
        with configured(cluster, **changes):
            yield
    finally:
        if cluster.nodes[3].is_running:
            cluster.kill(3)
        cluster.start(3)


def check_that_it_is_kept_out(cluster: Cluster, why: str) -> None:
    """Node 3 is started, and the others say why they do not take it for a peer."""
    leader = cluster.wait_for_leader(1, 2)
    cluster.start(3)

    def said() -> bool:
        return any(why in reason for id in (1, 2) for reason in reasons(cluster.nodes[id]))

    eventually(said, WITHIN_S)
    with cluster.client(1, 2) as client:
        assert client.unlock(client.try_lock("without node 3", ttl=60).token).released
    assert cluster.leader((1, 2)) == leader
    status = cluster.status(leader)
    assert status is not None
    assert [peer.connected for peer in status.peers if peer.node_id == 3] == [False]
    assert cluster.nodes[3].is_running


def reasons(node: Node) -> list[str]:
    """Why it has no connection to others, whether it was dialled by them or dialled them."""
    return [str(line["reason"]) for line in node.log_lines() if line.get("reason")]


def tls(cert: Path, key: Path, ca: Path) -> dict[str, str]:
    return {"ca": str(ca), "cert": str(cert), "key": str(key), "client_certificates": "required"}


def test_a_node_without_tls(cluster: Cluster) -> None:
    with intruder(cluster, tls=None, auth=None):
        check_that_it_is_kept_out(cluster, "it does not speak TLS")

        def knows() -> bool:
            return any("it speaks TLS and this node does not" in reason for reason in reasons(cluster.nodes[3]))

        eventually(knows, WITHIN_S)


def test_a_node_with_a_certificate_of_another_authority(cluster: Cluster, foreign: Authority, tmp_path: Path) -> None:
    both = tmp_path / "both.crt"
    both.write_bytes(cluster.secured.authority.ca.read_bytes() + foreign.ca.read_bytes())
    with intruder(cluster, tls=tls(*foreign.node(3), both)):
        check_that_it_is_kept_out(cluster, "its authority is unknown here")


def test_a_node_that_does_not_know_the_secret(cluster: Cluster) -> None:
    other = cluster.secured.write("other.secret", "another secret than the others have")
    with intruder(cluster, peer_secret_file=str(other)):
        check_that_it_is_kept_out(cluster, "no proof of the secret")


def test_certificates_with_which_no_node_starts(cluster: Cluster, foreign: Authority, tmp_path: Path) -> None:
    """They are looked at before anything else: that the node runs already is not even noticed."""
    authority = cluster.secured.authority
    expired = write(tmp_path, "expired", make_node(authority.pair, 3, ["127.0.0.1"], days=-1))
    client = write(tmp_path, "client", make_client(authority.pair, "node3"))
    another = write(tmp_path, "another", make_node(authority.pair, 2, ["127.0.0.1"]))
    for pair, why in [
        (expired, "expired"),
        (client, "client"),
        (another, "node 3"),
        (foreign.node(3), "authority"),
    ]:
        with configured(cluster, tls=tls(*pair, authority.ca)):
            run = cluster.run_to_its_end(3)
            assert (run.returncode, run.stdout) == (CONFIG, "")
            assert why in run.stderr.splitlines()[-1], run.stderr
            assert "Traceback" not in run.stderr


# ---- the peers' port


class Peer:
    """A connection to a node's peer port, by hand."""

    def __init__(self, node: Node, context: ssl.SSLContext | None) -> None:
        plain = socket.create_connection(("127.0.0.1", node.peer_port), SOCKET_S)
        self._socket: socket.socket = context.wrap_socket(plain) if context else plain
        self._node = node

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def frame(self) -> bytes:
        return self._exactly(int.from_bytes(self._exactly(HEADER_BYTES), "big"))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise ConnectionError("the node closed the connection")
            data += part
        return data

    def shake_hands(self, secret: str, me: int = 3, purpose: str = RAFT) -> None:
        """Raises LinkError, OSError."""
        handshake = Dialling(me=me, peer=self._node.id, secret=secret.encode(), purpose=purpose)
        self.send(framed(handshake.hello(self.frame())))
        handshake.verify(self.frame())

    def ended(self) -> None:
        """Returns when the node has closed the connection."""
        try:
            while self._socket.recv(65_536):
                pass
        except ConnectionError:
            pass


def with_certificate(cluster: Cluster, pair: tuple[Path, Path] | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cluster.secured.authority.ca)
    if pair:
        context.load_cert_chain(*pair)
    return context


def knock(cluster: Cluster, context: ssl.SSLContext | None, *, secret: str | None = None, me: int = 3) -> str:
    """What became of a handshake with node 1; empty where it is a peer."""
    try:
        with closing(Peer(cluster.nodes[1], context)) as peer:
            peer.shake_hands(cluster.secured.peer_secret.read_text().strip() if secret is None else secret, me)
    except (LinkError, OSError) as error:
        return str(error) or type(error).__name__
    return ""


def test_strangers_at_the_peers_port(cluster: Cluster, foreign: Authority, tmp_path: Path) -> None:
    authority = cluster.secured.authority
    right = write(tmp_path, "node-3", make_node(authority.pair, 3, ["127.0.0.1"]))
    expired = write(tmp_path, "expired", make_node(authority.pair, 3, ["127.0.0.1"], days=-1))
    client = write(tmp_path, "client", make_client(authority.pair, "node3"))
    another = write(tmp_path, "node-2", make_node(authority.pair, 2, ["127.0.0.1"]))
    assert knock(cluster, with_certificate(cluster, right)) == "", "this is how a peer is let in"
    assert "no proof of the secret" in knock(cluster, with_certificate(cluster, right), secret="a guess of 16 bytes")
    assert "does not name node 3" in knock(cluster, with_certificate(cluster, another))
    assert "not a member" in knock(cluster, with_certificate(cluster, right), me=4)
    for pair in (expired, client, foreign.node(3), None):
        assert knock(cluster, with_certificate(cluster, pair)) != "", pair
    assert knock(cluster, None) != ""


# ---- the clients' port


def test_strangers_at_the_clients_port(cluster: Cluster, foreign: Authority, tmp_path: Path) -> None:
    authority = cluster.secured.authority
    good = cluster.secured.credentials()
    expired = write(tmp_path, "expired", make_client(authority.pair, "backup", days=-1))
    node = authority.folder / "node-3.crt", authority.folder / "node-3.key"
    token = {"token": cluster.secured.secret("admin")}
    for kept_out in (
        {"cacert": authority.ca, **token},
        {"cacert": authority.ca, **token, **pair(expired)},
        {"cacert": authority.ca, **token, **pair(foreign.client("backup"))},
        {"insecure": True, **token},
        {**good, "cacert": foreign.ca},
    ):
        with pytest.raises(Unavailable):
            asked(cluster, kept_out)
    for unknown in (
        {"cacert": authority.ca, **pair(node)},
        {"cacert": authority.ca, **pair(node), **token},
        {"cacert": authority.ca, **pair(authority.client("nobody"))},
        {"cacert": authority.ca, **pair(authority.client("admin"))},
    ):
        with pytest.raises(Unauthenticated):
            asked(cluster, unknown)
    assert asked(cluster, {"cacert": authority.ca, **pair(authority.client("backup"))}) is False


def pair(files: tuple[Path, Path]) -> dict[str, Path]:
    return {"cert": files[0], "key": files[1]}


def asked(cluster: Cluster, credentials: dict[str, Any]) -> bool:
    """Raises what the client does. Short, since what is closed at once is asked again for a while."""
    with LockdClient(endpoints=cluster.endpoints(1), timeout=4.0, **credentials) as client:
        return client.is_locked("db/a")


# ---- pickles


class Opened:
    """Whoever unpickles it opens a file."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (self._path, "w")


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[list[bytes]]:
    """Pickles of every protocol, also as PySyncObj sends them. None of them is ever loaded."""
    path = tmp_path / "unpickled"
    messages: list[Any] = [Opened(path), {"type": "append_entries", "term": 1 << 40, "entries": [Opened(path)]}]
    yield [pickle.dumps(each, protocol) for each in messages for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    assert not path.exists()


def test_the_pickle_would_open_a_file(tmp_path: Path) -> None:
    with pickle.loads(pickle.dumps(Opened(tmp_path / "unpickled"))):
        assert (tmp_path / "unpickled").exists()


def test_pickles_at_the_clients_port(cluster: Cluster, loaded: list[bytes]) -> None:
    certificate = cluster.secured.credentials()["cert"], cluster.secured.credentials()["key"]
    context = with_certificate(cluster, certificate)
    context.set_alpn_protocols(["h2"])
    port = cluster.nodes[1].port
    for data in loaded:
        for tls in (None, context):
            for message in (data, framed(data), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + data):
                plain = socket.create_connection(("127.0.0.1", port), SOCKET_S)
                with closing(tls.wrap_socket(plain) if tls else plain) as connection:
                    connection.sendall(message)


def test_pickles_at_the_peers_port(cluster: Cluster, loaded: list[bytes], tmp_path: Path) -> None:
    """Also from one who has the certificate and the secret of a node."""
    authority, node = cluster.secured.authority, cluster.nodes[1]
    secret = cluster.secured.peer_secret.read_text().strip()
    right = with_certificate(cluster, write(tmp_path, "node-3", make_node(authority.pair, 3, ["127.0.0.1"])))
    for data in loaded:
        for context in (None, right):
            for message in (data, framed(data)):
                with closing(Peer(node, context)) as peer:
                    peer.send(message)
                    peer.ended()
        for purpose in (RAFT, SNAPSHOT):
            with closing(Peer(node, right)) as peer:
                peer.shake_hands(secret, purpose=purpose)
                peer.send(framed(data))
                peer.ended()


def test_pickles_in_calls(cluster: Cluster, loaded: list[bytes]) -> None:
    credentials = cluster.secured.credentials()
    ca, cert, key = (Path(credentials[name]).read_bytes() for name in ("cacert", "cert", "key"))
    metadata = (("authorization", f"Bearer {cluster.secured.secret('admin')}"),)
    every = [each for each in vars(methods).values() if isinstance(each, methods.Method)]
    assert len(every) > 15
    channel: Any = grpc.secure_channel(
        cluster.nodes[1].endpoint, grpc.ssl_channel_credentials(ca, key, cert), options=OPTIONS
    )
    with channel:
        for data in loaded:
            for method in every:
                with pytest.raises(grpc.RpcError) as caught:
                    if method in (methods.STREAM, methods.WATCH):
                        list(channel.stream_stream(method.path)(iter([data]), timeout=CALL_S, metadata=metadata))
                    else:
                        channel.unary_unary(method.path)(data, timeout=CALL_S, metadata=metadata)
                assert reason_of(caught.value) == "INVALID_ARGUMENT"
            name = pb.LockRequest(
                name="ci/x", owner=data.decode("latin-1")[:100], metadata={"a": data.decode("latin-1")}
            )
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(methods.LOCK.path)(name.SerializeToString(), timeout=CALL_S, metadata=metadata)
