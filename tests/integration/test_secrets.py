"""No secret is found anywhere but in its own file, and nothing that callers send moves the cursor of a log's reader."""

import base64
import hashlib
import signal
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import plyvel
import pytest

from lockd_client import LockdClient, LockdError, PermissionDenied, Unauthenticated
from lockd_client.proto import lockd_pb2 as pb
from lockd_client.proto import lockd_pb2_grpc
from tests.cli.command import run
from tests.eventually import eventually
from tests.integration.cluster import Cluster, Node, Secured, new_secret, running
from tests.integration.raw import CALL_S

WITHIN_S = 20.0
MANY = 150  # of locks taken and released: more than compact_entries, so that there are snapshots
LINE_CHARACTERS_MIN = 32

CONTROLS = "two\nlines \x1b[2J\x1b]0;title\x07"
TURNED = '\u202eto the left\u2028 \\n {"level": "error"}'


class Told:
    """All that was said to callers."""

    def __init__(self) -> None:
        self.text = ""

    def cli(self, cluster: Cluster, *arguments: str, token: str, code: int = 0) -> str:
        secured = cluster.secured
        env = {"LOCKD_CACERT": str(secured.authority.ca), "LOCKD_TOKEN": token}
        result = run(",".join(cluster.endpoints()), *arguments, env=env)
        self.text += result.output
        assert result.exit_code == code, result.output
        return result.stdout

    def error(self, error: LockdError | grpc.RpcError) -> None:
        self.text += f"{error!r} {error} {vars(error)}"


def parts_of(secret: str) -> set[str]:
    """It, or of a key each line that is long enough to be no coincidence; as they are, and encoded."""
    lines = [line for line in secret.splitlines() if len(line) >= LINE_CHARACTERS_MIN and "-----" not in line]
    return {form for line in lines or [secret.strip()] for form in (line, base64.b64encode(line.encode()).decode())}


def found(parts: set[str], content: bytes) -> set[str]:
    return {part for part in parts if part.encode() in content or part.encode("utf-16-le") in content}


def content_of(folders: Iterable[Path]) -> Iterator[tuple[Path, bytes]]:
    """Of every file, and of what LevelDB has compressed in its own."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                yield path, path.read_bytes()
        with plyvel.DB(str(folder / "store")) as store:
            yield folder / "store", b"\n".join(key + b"=" + value for key, value in store)


def test_no_secret_is_found_anywhere(tmp_path: Path) -> None:
    told = Told()
    options = ("--log-level", "debug")
    with running(tmp_path, tls="required", settings={"compact_entries": 100}, options=options) as cluster:
        secured = cluster.secured
        admin_secret = secured.secret("admin")
        late = cluster.others(cluster.wait_until_whole())[-1]
        cluster.stop(late)  # it is going to need a snapshot
        env_cert = secured.credentials()
        tokens = {name: secured.secret(name) for name in ("admin", "ci", "dashboard")}
        for name in ("cert", "key"):
            told.text += f"{name} {env_cert[name].name}"
        with cluster.client() as admin:
            used, unused = admin.create_token("robot", "lock"), admin.create_token("spare", "read", ["ci/"])
            tokens |= {"used": used.secret, "unused": unused.secret, "guess": new_secret()}
            told.text += f"{admin!r} {admin.list_tokens()!r} {admin.status()!r}"
            credentials = {**env_cert, "endpoints": cluster.endpoints()}
            del credentials["token_file"]
            with LockdClient(token=used.secret, **credentials) as robot:
                eventually(lambda: known(robot), WITHIN_S)
                for number in range(MANY):
                    assert robot.unlock(robot.try_lock(f"ci/{number % 7}", ttl=60).token).released
                held = robot.try_lock("ci/held", ttl=600)
                told.text += repr(held)
                with pytest.raises(PermissionDenied) as denied:
                    robot.break_hold(held.token, reason="mine")
                told.error(denied.value)
                assert admin.break_hold(held.token, reason="for the test").released
                assert admin.revoke_token(used.id)
                with pytest.raises(Unauthenticated) as refused:
                    robot.is_locked("ci/held")
                told.error(refused.value)
            with (
                pytest.raises(Unauthenticated) as refused,
                LockdClient(token=tokens["guess"], **credentials) as stranger,
            ):
                stranger.is_locked("ci/held")
            told.error(refused.value)
            for headers in ([f"Basic {admin_secret}"], [admin_secret], [f"Bearer {admin_secret}"] * 2):
                told.error(misused(cluster.secured, cluster.nodes[cluster.wait_for_leader()], headers))
            told.text += repr(list(islice(admin.watch(from_revision=1), 5)))
        cluster.start(late)
        cluster.wait_until_whole()
        for event in ("token created", "token revoked", "lock broken"):
            assert any(node.said(event) for node in cluster.nodes.values()), event
        cluster.stop(*cluster.nodes)

        secrets = {**tokens, "peers": secured.peer_secret.read_text()}
        secrets |= {path.name: path.read_text() for path in secured.folder.glob("*.key")}
        assert len(secrets) == 6 + 1 + 5
        hashes = {hashlib.sha256(secret.encode()).hexdigest() for secret in tokens.values()}
        parts = set().union(*map(parts_of, secrets.values()))
        kept = list(content_of(node.data for node in cluster.nodes.values()))
        assert any(path.parent.name == "snapshots" for path, _ in kept), "there are snapshots among them"
        unused_hash = hashlib.sha256(unused.secret.encode()).digest()
        assert any(unused_hash in content for _, content in kept), "what is kept of a token would be seen"
        for path, content in kept:
            assert found(parts, content) == set(), path
        for log in (node.log for node in cluster.nodes.values()):
            assert found(parts | hashes, log.read_bytes()) == set(), log
        assert found(parts | hashes, told.text.encode()) == set()
        elsewhere = [
            path
            for path in tmp_path.rglob("*")
            if path.is_file() and path.parent != secured.folder and found(parts, path.read_bytes())
        ]
        assert elsewhere == []


def known(client: LockdClient) -> bool:
    try:
        client.is_locked("ci/held")
    except Unauthenticated:
        return False
    return True


def misused(secured: Secured, node: Node, headers: list[str]) -> grpc.RpcError:
    credentials = secured.credentials()
    ca, cert, key = (Path(credentials[name]).read_bytes() for name in ("cacert", "cert", "key"))
    with grpc.secure_channel(node.endpoint, grpc.ssl_channel_credentials(ca, key, cert)) as channel:
        stub = lockd_pb2_grpc.LockServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            metadata = tuple(("authorization", header) for header in headers)
            stub.IsLocked(pb.IsLockedRequest(name="ci/held"), timeout=CALL_S, metadata=metadata)
    return caught.value


def test_the_command_line_prints_a_secret_when_it_is_made_and_never_again(tmp_path: Path) -> None:
    told = Told()
    with running(tmp_path, 1, tls="none", options=("--log-level", "debug")) as cluster:
        admin = cluster.secured.secret("admin")
        printed = told.cli(cluster, "token", "create", "robot", "--role", "lock", token=admin).strip()
        assert len(printed) >= LINE_CHARACTERS_MIN
        told.text = ""
        out = tmp_path / "spare.token"
        told.cli(cluster, "token", "create", "spare", "--role", "read", "--out", str(out), token=admin)
        told.cli(cluster, "token", "list", "-o", "json", token=admin)
        told.cli(cluster, "status", "-o", "json", token=admin)
        token = told.cli(cluster, "lock", "a", "--ttl", "60", token=printed).strip()
        told.cli(cluster, "break", "--token", token, "--reason", "mine", "--yes", "a", token=printed, code=77)
        told.cli(cluster, "token", "revoke", "1", "--yes", token=admin)
        told.cli(cluster, "unlock", "a", "--token", token, token=printed, code=77)
        told.cli(cluster, "list", token=f"{admin} with a blank", code=65)
        for secret in (admin, printed, out.read_text()):
            assert found(parts_of(secret), told.text.encode() + cluster.nodes[1].log.read_bytes()) == set()


def test_a_secret_in_the_place_of_its_hash_is_not_said(tmp_path: Path) -> None:
    secret = new_secret()
    grants = {"tokens": [{"name": "admin", "role": "admin"}, {"name": "ci", "role": "lock", "sha256": secret}]}
    with Cluster(tmp_path, 1, tls="none", auth=grants) as cluster:
        ended = cluster.run_to_its_end(1, "--log-level", "debug")
        assert (ended.returncode, ended.stdout) == (78, "")
        assert "auth.tokens[1].sha256" in ended.stderr
        assert secret not in ended.stderr


@pytest.mark.parametrize("form", ["json", "text"])
def test_what_callers_send_cannot_write_lines_of_a_log(tmp_path: Path, form: str) -> None:
    options = ("--log-level", "debug", "--log-format", form)
    with running(tmp_path, 1, tls="none", options=options) as cluster, cluster.client() as admin:
        token = admin.try_lock(f"a{TURNED}", ttl=600, owner=TURNED, reason=TURNED).token
        assert admin.break_hold(token, reason=TURNED, owner=TURNED).released
        narrow = admin.create_token("narrow", "lock", [f"ci/{TURNED}"])
        credentials: Any = {"cacert": cluster.secured.authority.ca, "endpoints": cluster.endpoints()}
        with LockdClient(token=narrow.secret, **credentials) as client:
            refused = [
                refusal(lambda: client.is_locked(f"db{TURNED}")),
                refusal(lambda: admin.try_lock("a", ttl=600, owner=CONTROLS)),
                refusal(lambda: admin.try_lock("a", ttl=600, reason=CONTROLS)),
                refusal(lambda: admin.try_lock(CONTROLS, ttl=600)),
                refusal(lambda: admin.break_hold(token, reason=CONTROLS)),
                refusal(lambda: admin.create_token(CONTROLS, "lock")),
                refusal(lambda: admin.create_token("robot", "lock", [CONTROLS])),
            ]
        assert [text for text in refused if not text.isprintable()] == []
        cluster.kill(1, with_signal=signal.SIGTERM)
        text = cluster.nodes[1].log.read_bytes().decode()
    (broken,) = (line for line in text.split("\n") if "lock broken" in line)
    assert "\\u202e" in broken
    assert [line for line in text.split("\n") if not line.isprintable()] == []


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(LockdError) as caught:
        call()
    return str(caught.value)
