"""An acknowledgement leaves a node after the entry is on its disk; with peers, after it is on a majority's disks."""

import re
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from lockd_client import LockAnswer, Outcome
from lockd_client.proto import lockd_pb2
from tests.eventually import eventually
from tests.integration.cluster import running
from tests.integration.syscalls import RECEIVES, SENDS, Logged, Missing, Syscall, crossing, logged, parse, strace

CALLS = 5
LEADER = 1
SYNC_TAKES_S = {LEADER: 0.02, 2: 0.04, 3: 0.06}
"""By node. Were the followers not waited for, the leader would answer before any of their syncs has ended."""

TRACE_ENDS_WITHIN_S = 20.0


def owner(number: int) -> str:
    """What to look for in the trace: in the request, and in the entry."""
    return f"owner-number-{number}-of-the-trace"


def traced_locks(folder: Path, size: int) -> tuple[list[LockAnswer], dict[int, list[Syscall]]]:
    """A few locks, one after the other, through the leader: the answers, and every node's calls."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    traces = {id: folder / f"strace{id}" for id in range(1, size + 1)}
    with running(folder, size, under=lambda id: strace(traces[id], sync_takes_s=SYNC_TAKES_S[id])) as cluster:
        cluster.let_lead(LEADER)
        with cluster.client(LEADER) as client:
            assert client.try_lock("warm", ttl=0).acquired
            answers = [client.try_lock(f"name-{number}", owner=owner(number), ttl=0) for number in range(CALLS)]
        pids = {id: node.pid for id, node in cluster.nodes.items()}
        assert set(cluster.stop(*cluster.nodes)) == {0}
        for id, pid in pids.items():  # strace ends after its program
            eventually(partial(ended, traces[id], pid), TRACE_ENDS_WITHIN_S)
        return answers, {id: list(parse(trace.read_text().splitlines())) for id, trace in traces.items()}


def ended(trace: Path, pid: int) -> bool:
    end = re.compile(rf"^{pid} .*\+\+\+ exited with 0 \+\+\+$", re.MULTILINE)
    return end.search(trace.read_text()) is not None


def as_sent(answer: LockAnswer) -> bytes:
    """The message that went to the client: whatever part of a frame it is, it stands there as it is."""
    message = lockd_pb2.LockResponse(
        outcome=lockd_pb2.GRANTED, acquired=True, token=answer.token, clock_ms=answer.clock_ms
    )
    return message.SerializeToString()


def synced_between(calls: list[Syscall], number: int, arrival: Syscall, response: Syscall) -> Logged | None:
    """How the call's entry came to this node's disk; None if that was not done when the response left."""
    try:
        entry = logged(calls, owner(number).encode())
    except Missing:
        return None
    in_order = arrival.began <= entry.write.began <= entry.write.ended <= entry.sync.began
    return entry if in_order and entry.sync.ended <= response.began else None


def check(answers: list[LockAnswer], traces: Mapping[int, list[Syscall]]) -> None:
    majority = len(traces) // 2 + 1
    for number, answer in enumerate(answers):
        arrival = crossing(traces[LEADER], RECEIVES, owner(number).encode())
        mine = [call for call in traces[LEADER] if call.target == arrival.target]
        response = crossing(mine, SENDS, as_sent(answer))
        durable = {id for id, calls in traces.items() if synced_between(calls, number, arrival, response)}
        assert LEADER in durable, f"call {number}: the answer left before the leader's sync had ended"
        assert len(durable) >= majority, f"call {number}: when the answer left, it was on the disks of {durable}"


@pytest.mark.parametrize("size", [1, 3])
def test_an_answer_leaves_after_the_sync(tmp_path, size):
    answers, traces = traced_locks(tmp_path, size)
    assert all(answer.acquired for answer in answers)
    check(answers, traces)


# ---- the reader of traces


CONNECTION = "25<TCPv6:[[::ffff:127.0.0.1]:2080->[::ffff:127.0.0.1]:36036]>"
LOG = r"16<\x2f\x64\x2f\x33\x2e\x6c\x6f\x67>"  # /d/3.log
ANSWER = LockAnswer(
    acquired=True, outcome=Outcome.GRANTED, token=7, lease_remaining=0.0, deadline=0.0, holders=(), clock_ms=300
)


def hexed(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


def trace(*, sync_at: float = 3.0, sync_took: float = 0.5, answer_at: float = 4.0) -> list[Syscall]:
    request, answer = hexed(owner(0).encode()), as_sent(ANSWER)
    halves = "}, {".join(f'iov_base="{hexed(half)}", iov_len=9' for half in (answer[:3], answer[3:]))
    lines = {
        1.0: f"11 1.0 recvmsg({CONNECTION},  <unfinished ...>",
        1.1: f'11 1.1 <... recvmsg resumed>{{msg_iov=[{{iov_base="{request}", iov_len=99}}]}}, 0) = 99 <0.1>',
        1.2: f"11 1.2 recvmsg({CONNECTION}, {{msg_namelen=0}}, 0) = -1 EAGAIN (Try again) <0.1>",
        2.0: f'12 2.0 write({LOG}, "{request}", 99) = 99 <0.1>',
        sync_at: f"12 {sync_at} fdatasync({LOG}) = 0 <{sync_took}>",
        answer_at: f"12 {answer_at} sendmsg({CONNECTION}, {{msg_iov=[{{{halves}}}]}}, 0) = {len(answer)} <0.1>",
    }
    return list(parse(line for _, line in sorted(lines.items())))


def test_the_reader_sees_an_answer_that_waited():
    calls = trace()
    assert [call.name for call in calls] == ["recvmsg", "write", "fdatasync", "sendmsg"]
    assert (calls[0].began, calls[0].ended) == (1.0, 1.1)
    assert (calls[1].target, calls[1].data) == ("/d/3.log", owner(0).encode())
    check([ANSWER], {1: calls})


@pytest.mark.parametrize("late", [{"sync_at": 5.0}, {"sync_took": 1.5}, {"sync_at": 1.5}])
def test_the_reader_sees_an_answer_that_did_not_wait(late):
    with pytest.raises(AssertionError, match="before the leader's sync had ended"):
        check([ANSWER], {1: trace(**late)})


def test_the_reader_counts_the_disks():
    with pytest.raises(AssertionError, match=r"on the disks of \{1\}"):
        check([ANSWER], {1: trace(), 2: trace(sync_at=5.0), 3: []})
    check([ANSWER], {1: trace(), 2: trace(sync_at=3.2), 3: []})


def test_a_message_may_cross_in_parts():
    parts = [f'1 {at}.0 sendmsg({CONNECTION}, "{hexed(part)}") = 2 <0.1>' for at, part in ((1, b"ab"), (2, b"cd"))]
    assert crossing(parse(parts), SENDS, b"bcd").began == 1.0
    with pytest.raises(Missing):
        crossing(parse(parts), SENDS, b"bd")
