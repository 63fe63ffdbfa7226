"""list, info, wait and status against a small node."""

import json

import grpc
import pytest

import lockd_client
from lockd_client.proto import lockapi_pb2, lockd_pb2
from tests.cli.command import NOWHERE, WITHIN_S, Process, run
from tests.client.fake_node import Fail, FakeNode
from tests.eventually import eventually


def waiter(name: str, place: int, owner: str, **more: object) -> lockd_pb2.Waiter:
    return lockd_pb2.Waiter(name=name, position=place, owner=owner, since_ms=992_000, **more)  # type: ignore[arg-type]


# ---- list


def test_an_empty_list_says_so_beside_the_output(node: FakeNode) -> None:
    assert (run(node, "list").stdout, run(node, "list").stderr) == ("", "no locks are held\n")
    assert run(node, "list", "jobs/").stderr == "no such locks are held\n"
    assert run(node, "list", "-o", "json").stdout == '{"holders": []}\n'


def test_list_by_prefix_and_owner(node: FakeNode) -> None:
    for name, owner in (("a/1", "ann"), ("a/2", "bob"), ("b/1", "ann")):
        run(node, "lock", name, "--owner", owner)
    assert [line.split()[0] for line in run(node, "list", "a/", "--owner", "ann").stdout.splitlines()] == [
        "NAME",
        "a/1",
    ]
    run(node, "list", "--mode", "shared")
    assert node.calls(lockd_pb2.ListRequest)[-1].mode == lockd_pb2.ONLY_SHARED


def test_columns_are_shown_where_there_is_something_in_them(node: FakeNode) -> None:
    run(node, "lock", "a", "--owner", "ann")
    assert run(node, "list").stdout.splitlines()[0].split() == ["NAME", "TOKEN", "OWNER", "AGE", "REMAINING"]
    run(node, "lock", "東京", "--shared", "--owner", "bob", "--reason", "x")
    assert run(node, "list").stdout.splitlines() == [
        "NAME  MODE       TOKEN  OWNER  AGE  REMAINING  REASON",
        "a     exclusive  1      ann    0s   no ttl",
        "東京  shared     2      bob    0s   no ttl     x",
    ]


def test_list_with_those_who_wait(node: FakeNode) -> None:
    run(node, "lock", "a", "--owner", "ann")
    with Process(node, "lock", "a", "--wait", "60", "--owner", "bob"):
        eventually(lambda: node.state.waiters, WITHIN_S)
        listed = run(node, "list", "--waiters").stdout.splitlines()
        content = json.loads(run(node, "list", "--waiters", "-o", "json").stdout)
    assert [line.split() for line in listed] == [
        ["NAME", "TURN", "TOKEN", "OWNER", "AGE", "REMAINING"],
        ["a", "holds", "1", "ann", "0s", "no", "ttl"],
        ["a", "1", "bob", "0s"],
    ]
    assert [each["owner"] for each in content["holders"] + content["waiters"]] == ["ann", "bob"]


def test_lockapi_holds_are_listed_like_others(node: FakeNode) -> None:
    with lockd_client.LockdClient(port=node.port) as client:
        assert client.Lock("by-name")
    assert "by-name" in run(node, "list").stdout
    assert node.calls(lockapi_pb2.LockName)


def test_what_callers_sent_cannot_move_the_terminals_cursor(node: FakeNode) -> None:
    node.holds["x\u202ey"] = lockd_pb2.Holder(name="x\u202ey", token=5, owner="\x1b[2Jann\n", reason="\\")
    outputs = [
        run(node, *arguments).output
        for arguments in (
            ("list",),
            ("info", "x\u202ey"),
            ("lock", "x\u202ey"),
            ("unlock", "x\u202ey"),
            ("wait", "x\u202ey", "--timeout", "0"),
            ("list", "-o", "json"),
            ("info", "x\u202ey", "-o", "json"),
        )
    ]
    for output in outputs:
        assert "[2Jann\\n" in output
        assert "x\\u202ey" in output
        assert "\x1b" not in output
        assert "\u202e" not in output
    assert "lockd break $'x\\u202ey' --token 5" in run(node, "unlock", "x\u202ey").stderr


# ---- info


def test_info(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = lockd_pb2.Holder(name="a", token=5, owner="ann", acquired_ms=808_000, ttl_ms=60_000, session_id=9)
    holder.lease_remaining_ms, holder.count, holder.names, holder.metadata["job"] = 12_000, 2, 3, "17"
    answer = lockd_pb2.GetResponse(
        holders=[holder],
        waiters=[waiter("a", 0, "bob", until_ms=1_030_000), waiter("a", 1, "eve", mode=lockd_pb2.SHARED, reason="me")],
        holders_count=1,
        waiters_count=7,
        delayed_until_ms=1_001_500,
        clock_ms=1_000_000,
    )
    monkeypatch.setattr(node, "_get", lambda _: answer)
    shown = run(node, "info", "a")
    assert (shown.exit_code, shown.stderr) == (0, "only 2 of 7 are shown\n")
    assert shown.stdout.splitlines() == [
        "a: held, 7 wait, lock delay for another 1.5s",
        "",
        "Held by",
        "  TOKEN  OWNER  AGE    REMAINING  SESSION  COUNT  LOCKS  METADATA",
        "  5      ann    3m12s  12s        9        2      3      job=17",
        "",
        "Waiting",
        "  TURN  MODE       OWNER  AGE   GIVES UP IN  REASON",
        "  1     exclusive  bob    8.0s  30s",
        "  2     shared     eve    8.0s               me",
    ]
    content = json.loads(run(node, "info", "a", "-o", "json").stdout)
    assert (content["is_free"], content["delay_remaining"], content["holders"][0]["metadata"]) == (
        False,
        1.5,
        {"job": "17"},
    )
    refused = run(node, "wait", "a", "--timeout", "0").stderr.splitlines()
    assert refused[1:] == [
        "a is held by ann: for 3m12s, token 5, 12s remain unless its session is kept alive, one of 3 locks",
        "a has a lock delay: nobody gets it for another 1.5s",
        "a: 7 wait",
    ]


def test_info_of_a_lock_that_many_hold(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    holders = [lockd_pb2.Holder(name="a", token=n, owner=f"r{n}", mode=lockd_pb2.SHARED) for n in range(1, 9)]
    answer = lockd_pb2.GetResponse(holders=holders, holders_count=8)
    monkeypatch.setattr(node, "_get", lambda _: answer)
    assert run(node, "info", "a").stdout.startswith("a: held shared by 8, nobody waits\n")
    said = run(node, "wait", "a", "--timeout", "0").stderr.splitlines()
    assert said[1].startswith("a is held shared by r1: ")
    assert said[-1] == "a is held by 3 more: lockd info a"


def test_info_of_a_free_lock(node: FakeNode) -> None:
    free = run(node, "info", "a")
    assert (free.exit_code, free.stdout, free.stderr) == (0, "", "a: not held, nobody waits\n")


# ---- wait


def test_a_lock_that_is_free_is_not_waited_for(node: FakeNode) -> None:
    assert run(node, "wait", "a").exit_code == 0
    assert json.loads(run(node, "wait", "a", "-o", "json").stdout)["is_free"] is True
    assert not node.calls(lockd_pb2.WatchRequest)


def test_wait_ends_when_the_lock_is_free(node: FakeNode) -> None:
    run(node, "lock", "a")
    with Process(node, "wait", "a") as process:
        eventually(lambda: node.calls(lockd_pb2.WatchRequest), WITHIN_S)
        node.lose(1)
        released = lockd_pb2.Event(revision=1, kind=lockd_pb2.EVENT_RELEASED, wants=[lockd_pb2.Want(name="a")])
        node.state.events.append(released)
        assert process.end() == (0, "", "")


def test_other_names_and_other_news_free_nothing(node: FakeNode) -> None:
    run(node, "lock", "a")
    with Process(node, "wait", "a") as process:
        eventually(lambda: node.calls(lockd_pb2.WatchRequest), WITHIN_S)
        asked = len(node.calls(lockd_pb2.GetRequest))
        for revision, (name, kind) in enumerate(
            [("a/b", lockd_pb2.EVENT_RELEASED), ("a", lockd_pb2.EVENT_WAITING), ("a", lockd_pb2.EVENT_LEFT)], 1
        ):
            node.state.events.append(lockd_pb2.Event(revision=revision, kind=kind, wants=[lockd_pb2.Want(name=name)]))
        eventually(lambda: len(node.calls(lockd_pb2.GetRequest)) == asked + 1, WITHIN_S)
        process.interrupt()
        assert process.end()[0] == 130
    assert len(node.calls(lockd_pb2.GetRequest)) == asked + 1


def test_wait_begins_again_where_events_are_gone(node: FakeNode) -> None:
    run(node, "lock", "a")
    with Process(node, "wait", "a") as process:
        eventually(lambda: node.calls(lockd_pb2.WatchRequest), WITHIN_S)
        node.lose(1)
        node.after.append(Fail(grpc.StatusCode.OUT_OF_RANGE, "COMPACTED"))
        assert process.end() == (0, "", "")


def test_wait_has_an_end(node: FakeNode) -> None:
    run(node, "lock", "a", "--owner", "ann")
    late = run(node, "wait", "a", "--timeout", "0.2", "-o", "json")
    assert (late.exit_code, json.loads(late.stdout)["is_free"]) == (1, False)
    assert late.stderr.splitlines()[0] == "lockd: a is not free"
    assert "a is held by ann" in late.stderr


# ---- status


def test_status_of_a_cluster(node: FakeNode) -> None:
    with FakeNode(2) as second:
        node.peers = [
            lockd_pb2.Peer(node_id=2, address=second.endpoint, connected=True),
            lockd_pb2.Peer(node_id=3, address=NOWHERE, connected=False),
        ]
        options = [part for each in (node.endpoint, second.endpoint, NOWHERE) for part in ("--endpoint", each)]
        result = run(None, "status", *options)
    rows = [line.split() for line in result.stdout.splitlines()]
    assert " ".join(rows[0]) == "NODE ADDRESS ROLE LEADER TERM APPLIED CLOCK LOCKS WAITS SESSIONS LINK"
    assert rows[1] == ["1", node.endpoint, "leader", "1", "3", "17", "16m40s", "0", "0", "0", "down", "to", "3"]
    assert rows[2] == ["2", second.endpoint, "follower", "1", "3", "17", "16m40s", "0", "0", "0", "-"]
    assert rows[3][:4] == ["?", NOWHERE, "no", "answer"]
    assert NOWHERE in result.stderr
    assert result.exit_code == 0


def test_status_as_json(node: FakeNode) -> None:
    (status,) = json.loads(run(node, "status", "-o", "json").stdout)
    assert (status["endpoint"], status["role"], status["peers"]) == (node.endpoint, "leader", [])
    (silent,) = json.loads(run(None, "status", "-o", "json").stdout)
    assert (silent["endpoint"], set(silent)) == (NOWHERE, {"endpoint", "error"})


def test_status_without_a_leader(node: FakeNode) -> None:
    node.leader_id = 0
    result = run(node, "status")
    assert result.exit_code == 69
    assert "none" in result.stdout
    assert result.stderr.startswith("lockd: no node knows a leader")
    assert run(None, "status").exit_code == 69
