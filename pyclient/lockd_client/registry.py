"""The registry's calls, as values: clients and resources that have ids. And a hold by its token alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from lockd_client import methods, translate
from lockd_client.attempts import Repeat
from lockd_client.calls import PAGE, Call, arguments
from lockd_client.errors import InvalidArgument
from lockd_client.proto import lockd_pb2
from lockd_client.values import Holder

if TYPE_CHECKING:
    from lockd_client.client import LockdClient


class Kind(StrEnum):
    CLIENT = "CLIENT"  # what holds name as their owner
    RESOURCE = "RESOURCE"  # the name of a lock


class Removal(StrEnum):
    REMOVED = "REMOVED"
    IN_USE = "IN_USE"  # a hold or a wait refers to it, or a lock delay; it stays
    MISSING = "MISSING"  # there is none (any more)


@dataclass(frozen=True, slots=True)
class Entry:
    id: int
    name: str


_KINDS = {Kind.CLIENT: lockd_pb2.CLIENT, Kind.RESOURCE: lockd_pb2.RESOURCE}


def register(kind: Kind, name: str) -> Call[int]:
    """The id that the name has, or gets. Raises InvalidArgument."""
    with arguments():
        message = lockd_pb2.RegisterRequest(kind=_KINDS[kind], name=name)
    return Call(method=methods.REGISTER, message=message, decode=lambda answer, _: int(answer.id), repeat=Repeat.SAFE)


def unregister(kind: Kind, id: int) -> Call[Removal]:
    """One that is repeated, since its answer was lost, may find that the entry is gone. Raises InvalidArgument."""
    with arguments():
        message = lockd_pb2.UnregisterRequest(kind=_KINDS[kind], id=id)
    return Call(
        method=methods.UNREGISTER, message=message, decode=lambda answer, _: _removal(answer), repeat=Repeat.SAFE
    )


def _removal(answer: lockd_pb2.UnregisterResponse) -> Removal:
    if answer.removed:
        return Removal.REMOVED
    return Removal.IN_USE if answer.in_use else Removal.MISSING


def find(kind: Kind, *, name: str = "", id: int = 0) -> Call[Entry | None]:
    """By one of the two. Raises InvalidArgument."""
    if not name and not id:
        raise InvalidArgument("an entry is found by its name or by its id, and both are empty")
    with arguments():
        message = lockd_pb2.ListRegisteredRequest(kind=_KINDS[kind], limit=1, name=name, id=id)
    return Call(
        method=methods.LIST_REGISTERED,
        message=message,
        decode=lambda answer, _: next(iter(_entries(answer)), None),
        repeat=Repeat.READ,
    )


def page(kind: Kind, after: int) -> Call[tuple[list[Entry], int]]:
    """Entries, and what the next page is after; 0: these were the last."""
    return Call(
        method=methods.LIST_REGISTERED,
        message=lockd_pb2.ListRegisteredRequest(kind=_KINDS[kind], after=after, limit=PAGE),
        decode=lambda answer, _: (_entries(answer), int(answer.next)),
        repeat=Repeat.READ,
    )


def _entries(answer: lockd_pb2.ListRegisteredResponse) -> list[Entry]:
    return [Entry(entry.id, entry.name) for entry in answer.entries]


def entries(client: "LockdClient", kind: Kind) -> Iterator[Entry]:
    """All of them in the order of their ids, read in pages while iterating."""
    after = 0
    while True:
        found, after = client._transport.ask(page(kind, after))
        yield from found
        if not after:
            return


def hold(token: int) -> Call[tuple[Holder, ...]]:
    """The hold with this token, once for each of its names; empty where there is none. token: more than 0.

    Raises InvalidArgument.
    """
    if token <= 0:
        raise InvalidArgument(f"token is {token}; it is more than 0")
    with arguments():
        message = lockd_pb2.ListRequest(token=token)
    return Call(
        method=methods.LIST,
        message=message,
        decode=lambda answer, _: translate.page_of(answer).holders,
        repeat=Repeat.READ,
    )
