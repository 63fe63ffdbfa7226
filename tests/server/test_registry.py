"""Clients and resources by name over gRPC, and a hold by its token alone."""

import asyncio
from typing import Any

import grpc
import pytest

from lockd.config import Auth
from lockd_client.proto import lockd_pb2 as pb
from lockd_client.proto import lockd_pb2_grpc
from tests.server.node import Node, Refusal, running
from tests.server.test_access import ADMIN, AUTH, CI, READER, bearer


def on_a_node(scenario: Any, *, auth: Auth | None = None, **limits: Any) -> None:
    async def run() -> None:
        async with running(auth=auth, **limits) as node:
            await scenario(node)

    asyncio.run(run())


async def ask(node: Node, method: str, secret: str = "", **fields: Any) -> Any:
    """Raises Refusal."""
    registry = lockd_pb2_grpc.RegistryServiceStub(node.channel)
    stub = node.locks if hasattr(node.locks, method) else registry
    request = getattr(pb, f"{method}Request")(**fields)
    try:
        return await getattr(stub, method)(request, metadata=bearer(secret) if secret else ())
    except grpc.aio.AioRpcError as error:
        raise Refusal(error) from error


async def register(node: Node, kind: Any, name: str, secret: str = "") -> int:
    id: int = (await ask(node, "Register", secret, kind=kind, name=name)).id
    return id


async def listed(node: Node, kind: Any, secret: str = "", **fields: Any) -> list[tuple[int, str]]:
    answer = await ask(node, "ListRegistered", secret, kind=kind, **fields)
    return [(entry.id, entry.name) for entry in answer.entries]


def test_a_name_gets_an_id_and_keeps_it_until_it_is_taken_out():
    async def scenario(node: Node) -> None:
        id = await register(node, pb.CLIENT, "ann")
        assert await register(node, pb.RESOURCE, "ann") != id
        assert await register(node, pb.CLIENT, "ann") == id
        assert await listed(node, pb.CLIENT, name="ann") == await listed(node, pb.CLIENT, id=id) == [(id, "ann")]
        removal = await ask(node, "Unregister", kind=pb.CLIENT, id=id)
        assert (removal.removed, removal.in_use) == (True, False)
        removal = await ask(node, "Unregister", kind=pb.CLIENT, id=id)
        assert (removal.removed, removal.in_use) == (False, False)
        assert await listed(node, pb.CLIENT) == []
        assert await register(node, pb.CLIENT, "ann") > id

    on_a_node(scenario)


def test_what_holds_refer_to_stays():
    async def scenario(node: Node) -> None:
        client, resource = await register(node, pb.CLIENT, "ann"), await register(node, pb.RESOURCE, "jobs")
        token = (await node.lock("jobs", owner="ann")).token
        for kind, id in ((pb.CLIENT, client), (pb.RESOURCE, resource)):
            removal = await ask(node, "Unregister", kind=kind, id=id)
            assert (removal.removed, removal.in_use) == (False, True)
        await node.unlock(token=token)
        for kind, id in ((pb.CLIENT, client), (pb.RESOURCE, resource)):
            assert (await ask(node, "Unregister", kind=kind, id=id)).removed

    on_a_node(scenario)


def test_entries_are_listed_in_pages():
    async def scenario(node: Node) -> None:
        ids = [await register(node, pb.RESOURCE, name) for name in "cab"]
        first = await ask(node, "ListRegistered", kind=pb.RESOURCE, limit=2)
        assert ([entry.name for entry in first.entries], first.next) == (["c", "a"], ids[1])
        last = await ask(node, "ListRegistered", kind=pb.RESOURCE, limit=2, after=first.next)
        assert ([entry.name for entry in last.entries], last.next) == (["b"], 0)

    on_a_node(scenario)


@pytest.mark.parametrize(
    ("method", "fields", "said"),
    [
        ("Register", {"name": "a"}, r"kind is 0; it takes 1 \(CLIENT\) or 2 \(RESOURCE\)"),
        ("Register", {"kind": 3, "name": "a"}, "kind is 3"),
        ("Register", {"kind": pb.CLIENT}, "name is empty"),
        ("Unregister", {"id": 1}, "kind is 0"),
        ("Unregister", {"kind": pb.CLIENT}, "id is missing"),
        ("ListRegistered", {}, "kind is 0"),
        ("ListRegistered", {"kind": pb.CLIENT, "limit": 1001}, "limit is 1001"),
        ("List", {"token": 2**53}, "token is 9007199254740992"),
    ],
)
def test_what_is_out_of_its_bounds_is_named(method, fields, said):
    async def scenario(node: Node) -> None:
        with pytest.raises(Refusal, match=f"INVALID_ARGUMENT: {said}"):
            await ask(node, method, **fields)

    on_a_node(scenario)


def test_entries_have_a_limit_and_those_that_are_there_go_on():
    async def scenario(node: Node) -> None:
        id = await register(node, pb.CLIENT, "ann")
        with pytest.raises(Refusal, match="LIMIT_REACHED: registered_max: 1 of 1"):
            await register(node, pb.RESOURCE, "jobs")
        assert await register(node, pb.CLIENT, "ann") == id
        assert (await ask(node, "Unregister", kind=pb.CLIENT, id=id)).removed
        assert await register(node, pb.RESOURCE, "jobs") > id

    on_a_node(scenario, registered_max=1)


def test_roles_and_prefixes():
    async def denied(node: Node, method: str, secret: str, **fields: Any) -> bool:
        with pytest.raises(Refusal) as refusal:
            await ask(node, method, secret, **fields)
        return refusal.value.reason == "PERMISSION_DENIED"

    async def scenario(node: Node) -> None:
        inside, outside = await register(node, pb.RESOURCE, "ci/a", CI), await register(node, pb.RESOURCE, "b", ADMIN)
        client = await register(node, pb.CLIENT, "ann", CI)
        assert await denied(node, "Register", CI, kind=pb.RESOURCE, name="db/a")
        assert await denied(node, "Unregister", CI, kind=pb.RESOURCE, id=outside)
        for kind, id in ((pb.CLIENT, client), (pb.RESOURCE, inside)):
            assert await denied(node, "Unregister", READER, kind=kind, id=id)
        assert await denied(node, "Register", READER, kind=pb.CLIENT, name="ann")
        assert await listed(node, pb.CLIENT, READER) == [(client, "ann")]
        assert await listed(node, pb.RESOURCE, READER) == [(inside, "ci/a"), (outside, "b")]
        assert await listed(node, pb.RESOURCE, CI) == [(inside, "ci/a")]
        assert (await ask(node, "Unregister", CI, kind=pb.RESOURCE, id=inside)).removed

    on_a_node(scenario, auth=AUTH)


@pytest.mark.parametrize("consistency", [pb.LINEARIZABLE, pb.STALE])
def test_a_hold_is_found_by_its_token_within_the_callers_prefixes(consistency):
    async def scenario(node: Node) -> None:
        async def names(secret: str, token: int, **fields: Any) -> list[str]:
            answer = await ask(node, "List", secret, token=token, limit=1, consistency=consistency, **fields)
            assert answer.next == ""
            return [holder.name for holder in answer.holders]

        await ask(node, "Lock", ADMIN, name="ci/c")
        token = (await ask(node, "Lock", ADMIN, wants=[pb.Want(name="db/b"), pb.Want(name="ci/a")])).token
        assert await names(READER, token) == ["ci/a", "db/b"]
        assert await names(CI, token) == await names(CI, token, prefix="ci/") == ["ci/a"]
        assert await names(READER, token + 1) == []
        with pytest.raises(Refusal, match="PERMISSION_DENIED: 'db/' is outside"):
            await names(CI, token, prefix="db/")

    on_a_node(scenario, auth=AUTH)
