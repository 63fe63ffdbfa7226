"""The peers' port: strangers, and a member that knows the secret and sends what no node of ours would.

Node 3 of three is stopped, and the fuzzer takes its place: it dials the others, and serves them snapshots when they ask
for one that it offered. What a member may break by well-formed lies is known (docs/fuzzing.md) and left out: it does
not act as a leader with entries of its own.
"""

import asyncio
import contextlib
import hashlib
import time
from base64 import b64decode, b64encode
from collections import Counter
from typing import Any

from hypothesis import strategies as st

from lockd.proto import log_pb2, peers_pb2
from lockd.raft.errors import LinkError
from lockd.raft.transport.frames import framed
from lockd.raft.transport.handshake import RAFT, SNAPSHOT, Accepting, Dialling
from tests.fuzz.driving import drive, weighted
from tests.fuzz.messages import fields, raw, valid
from tests.fuzz.watching import Findings
from tests.integration.cluster import Cluster

SECRET = "a secret between fuzzed nodes"
LIAR = 3
TERMS = [0, 1, 2, 2**31, 2**40, 2**53, 2**62, 2**63, 2**64 - 1]
"""All of them leap, but for the first ones, which have passed."""

WITHIN_S = 5.0

NOT_A_SNAPSHOT = b"lockd snapshot 1\n" + b"\xff" * 300
NOT_A_SNAPSHOT_SHA256 = hashlib.sha256(NOT_A_SNAPSHOT).digest()


def _written(messages: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return messages.map(lambda message: message if isinstance(message, bytes) else message.SerializeToString())


_commands = _written(
    weighted((6, valid(log_pb2.Command.DESCRIPTOR)), (1, raw(log_pb2.Command.DESCRIPTOR)), (1, st.binary(max_size=20)))
)


def _of_node(command: bytes) -> bytes:
    """As a proposal of the liar's, so that it is not dropped for that alone."""
    with contextlib.suppress(Exception):
        message = log_pb2.Command.FromString(command)
        if what := message.WhichOneof("what"):
            getattr(message, what).call.node = LIAR
            return message.SerializeToString()
    return command


_open_node = log_pb2.Command(open_node=log_pb2.OpenNode(call=log_pb2.Call(node=LIAR, life=1))).SerializeToString()
_contents: st.SearchStrategy[dict[str, Any]] = weighted(
    (
        6,
        st.lists(_commands.map(_of_node), max_size=8).map(
            lambda commands: {"propose": {"proposals": [{"command": each} for each in (_open_node, *commands)]}}
        ),
    ),
    (1, st.builds(lambda: {"propose": {"proposals": [{"command": b"\x0a" + bytes(3) + b"x" * 2_100_000}]}})),
    (2, fields(peers_pb2.NextNodeIdx.DESCRIPTOR).map(lambda content: {"next_node_idx": content})),
    (1, fields(peers_pb2.RequestVote.DESCRIPTOR).map(lambda content: {"request_vote": content})),
    (1, st.just({"response_vote": {}})),
    (2, fields(peers_pb2.Report.DESCRIPTOR).map(lambda content: {"report": content})),
    (1, st.just({"ask": {}})),
    (2, fields(peers_pb2.Manifest.DESCRIPTOR).map(lambda content: {"manifest": content})),
    (
        2,
        st.sampled_from([1, 10**6, 2**40, 2**62]).map(
            lambda index: {"manifest": {"index": index, "size": len(NOT_A_SNAPSHOT), "sha256": NOT_A_SNAPSHOT_SHA256}}
        ),
    ),
    (1, fields(peers_pb2.AppendEntries.DESCRIPTOR).map(lambda content: {"append_entries": content})),
)


def _envelope(content: dict[str, Any], term: int, sequence: int) -> bytes:
    return peers_pb2.Envelope(term=term, sequence=sequence, **content).SerializeToString()


_current = 2**64
"""In the place of a term: the one that the nodes are in."""

_steps_of_members: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "as": st.just("member"),
        "to": st.sampled_from([1, 2]),
        "contents": st.lists(st.tuples(_contents, st.sampled_from([*TERMS, _current, _current, _current])), max_size=8),
        "raw": st.lists(raw(peers_pb2.Envelope.DESCRIPTOR).filter(lambda data: not _leads(data)), max_size=3),
        "sequences": st.sampled_from(["rise", "rise", "rise", "stand", "fall", "leap"]),
    }
)
_steps_of_fetchers: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "as": st.just("fetcher"),
        "to": st.sampled_from([1, 2]),
        "frames": st.lists(
            _written(st.one_of(valid(peers_pb2.FetchSnapshot.DESCRIPTOR), raw(peers_pb2.FetchSnapshot.DESCRIPTOR))),
            max_size=3,
        ),
    }
)
_hello = _written(st.one_of(valid(peers_pb2.Hello.DESCRIPTOR), raw(peers_pb2.Hello.DESCRIPTOR)))
_garbage = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=200).map(framed),
    _hello.map(framed),
    _hello.map(framed),
    st.sampled_from(
        [
            b"\xff\xff\xff\xff" + bytes(5_000),
            bytes(4) * 5_000,
            b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",  # a pickle
            framed(b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300),
        ]
    ),
)
_steps_of_strangers: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"as": st.just("stranger"), "to": st.sampled_from([1, 2]), "chunks": st.lists(_garbage, min_size=1, max_size=4)}
)
_examples = weighted((4, _steps_of_members), (1, _steps_of_fetchers), (2, _steps_of_strangers))


def _leads(data: bytes) -> bool:
    """Whether it decodes as what a leader sends."""
    with contextlib.suppress(Exception):
        return peers_pb2.Envelope.FromString(data).WhichOneof("what") in ("append_entries", "manifest")
    return False


class Liar:
    def __init__(self, cluster: Cluster, findings: Findings) -> None:
        self._cluster, self._findings = cluster, findings
        self._accepted: list[asyncio.StreamWriter] = []
        self._sequence = 0
        self._term = 1
        self.done: Counter[str] = Counter()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._cluster.nodes[LIAR].peer_port)

    async def close(self) -> None:
        self._server.close()
        for writer in self._accepted:
            writer.transport.abort()
        await asyncio.sleep(0)  # what ends by it has a turn

    async def run(self, step: dict[str, Any]) -> None:
        frames, purpose = self._frames(step)
        written = {"as": step["as"], "to": step["to"], "frames": [b64encode(frame).decode() for frame in frames]}
        self._findings.note(written)
        await self._send(step["as"], step["to"], frames, purpose)

    async def again(self, step: dict[str, Any]) -> None:
        frames = [b64decode(frame) for frame in step["frames"]]
        await self._send(step["as"], step["to"], frames, SNAPSHOT if step["as"] == "fetcher" else RAFT)

    def _frames(self, step: dict[str, Any]) -> tuple[list[bytes], str]:
        match step["as"]:
            case "stranger":
                return step["chunks"], RAFT
            case "fetcher":
                return step["frames"], SNAPSHOT
        frames = []
        for content, term in step["contents"]:
            self._sequence += {"rise": 1, "stand": 0, "fall": -1, "leap": 2**20}[step["sequences"]]
            is_entries = "append_entries" in content
            now = 0 if is_entries and term == _current else self._term if term == _current else term
            if "manifest" in content:
                content = {"manifest": {**content["manifest"], "term": min(now, 1)}}
            frames.append(_envelope(content, now, max(self._sequence, 0)))
        return frames + step["raw"], RAFT

    async def _send(self, who: str, to: int, frames: list[bytes], purpose: str) -> None:
        self.done[who] += 1
        port = self._cluster.nodes[to].peer_port
        try:
            async with asyncio.timeout(WITHIN_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except (OSError, TimeoutError) as error:
            self._findings.add(f"node {to} takes no connection from peers: {error!r}")
            return
        try:
            async with asyncio.timeout(WITHIN_S):
                if who != "stranger":
                    handshake = Dialling(me=LIAR, peer=to, secret=SECRET.encode(), purpose=purpose)
                    writer.write(framed(handshake.hello(await _frame(reader))))
                    handshake.verify(await _frame(reader))
                for frame in frames:
                    writer.write(frame if who == "stranger" else framed(frame))
                    await writer.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        while await reader.read(65536):
                            pass
        except (ConnectionError, asyncio.IncompleteReadError):
            self.done["closed by the node"] += 1
        except LinkError as error:
            self.done[str(error)] += 1
        except TimeoutError:
            self._findings.add(f"node {to} did not shake hands in {WITHIN_S} s")
        finally:
            writer.transport.abort()

    def learn(self) -> None:
        """The term that the nodes are in."""
        self._term = max((status.term for status in self._cluster.statuses((1, 2)).values()), default=self._term)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A node dials: for its frames, or for a snapshot, which it gets whole, in part, too large, or wrong."""
        self._accepted.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, LinkError):
            handshake = Accepting(me=LIAR, members=frozenset({1, 2, 3}), secret=SECRET.encode())
            writer.write(framed(handshake.challenge()))
            claim = handshake.judge(await _frame(reader))
            writer.write(framed(handshake.welcome(claim)))
            if claim.purpose == RAFT:
                while await reader.read(65536):
                    pass
            asked = peers_pb2.FetchSnapshot.FromString(await _frame(reader))
            self.done["snapshots served"] += 1
            rest = NOT_A_SNAPSHOT[asked.offset :]
            body = [rest, rest[:50], rest * 3, b"x" * len(rest), b""][self.done["snapshots served"] % 5]
            chunks = (peers_pb2.SnapshotChunk(data=body), peers_pb2.SnapshotChunk())
            for chunk in [*chunks, peers_pb2.SnapshotChunk(refused="no")]:
                writer.write(framed(chunk.SerializeToString()))
            await writer.drain()
        writer.close()
        self._accepted.remove(writer)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))


def fuzz(cluster: Cluster, findings: Findings, seconds: float, steps: list[dict[str, Any]] | None = None) -> str:
    """Against nodes 1 and 2 of a cluster whose node 3 is stopped. Returns what was done, in words."""
    with asyncio.Runner() as runner:
        liar = Liar(cluster, findings)
        runner.run(liar.open())
        if steps:
            for step in steps:
                runner.run(liar.again(step))
        else:
            _drive(runner, liar, cluster, findings, seconds)
        runner.run(liar.close())
    return f"{dict(liar.done)}"


def _drive(runner: asyncio.Runner, liar: Liar, cluster: Cluster, findings: Findings, seconds: float) -> None:
    count = 0

    def one(step: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        if count % 20 == 1:
            liar.learn()
        ended = [id for id in (1, 2) if not cluster.nodes[id].is_running]
        if not ended:
            runner.run(liar.run(step))
        elif count:
            findings.add(f"nodes {ended} ended: {cluster.logs()[-3000:]}") if not findings.found else None

    drive(_examples, one, seed=findings.seed, until=time.monotonic() + seconds)
