"""Machine values <-> the bytes of the log and of the stored state. Internal protobuf ends here."""

from collections.abc import Callable, Iterator
from typing import TypeVar, cast

from google.protobuf.message import DecodeError

from lockd.machine import commands as c
from lockd.machine.state import Change, Hold, Lease, Record, Scalars
from lockd.proto import log_pb2 as pb

from .errors import CodecError

T = TypeVar("T")


def _decoding(data: bytes, decode: Callable[[bytes], T]) -> T:
    try:
        return decode(data)
    except (DecodeError, ValueError, KeyError, UnicodeDecodeError) as error:
        raise CodecError(f"{len(data)} bytes do not decode: {error}") from error


# -- entries


def encode_begin(epoch: int, version: int) -> bytes:
    return pb.Entry(epoch=epoch, begin=True, machine_version=version).SerializeToString()


def encode_batch(epoch: int, stamp_ms: int, commands: list[bytes]) -> bytes:
    """commands: each as encode_command made it. They are not decoded on the way into the log."""
    return pb.Entry(epoch=epoch, stamp_ms=stamp_ms, commands=commands).SerializeToString()


def decode_entry(data: bytes) -> c.Entry:
    """Raises CodecError."""
    return _decoding(data, _entry)


def _entry(data: bytes) -> c.Entry:
    entry = pb.Entry.FromString(data)
    if entry.begin:
        return c.BeginEpoch(epoch=entry.epoch, version=entry.machine_version)
    commands = tuple(_command(command) for command in entry.commands)
    return c.Batch(epoch=entry.epoch, stamp_ms=entry.stamp_ms, commands=commands)


# -- commands


def encode_command(command: c.Command) -> bytes:
    return _ENCODERS[type(command)](command).SerializeToString()


def decode_command(data: bytes) -> c.Command:
    """Raises CodecError."""
    return _decoding(data, _command)


def _command(data: bytes) -> c.Command:
    message = pb.Command.FromString(data)
    what = message.WhichOneof("what")
    if what is None:
        raise ValueError("a command without content")
    call = c.Call(message.call.node, message.call.life, message.call.number)
    return _DECODERS[what](call, message)


def _base(command: c.Command) -> pb.Command:
    node, life, number = command.call
    return pb.Command(call=pb.Call(node=node, life=life, number=number))


def _with_request(command: c.Acquire | c.Release) -> pb.Command:
    message = _base(command)
    message.request.CopyFrom(_request(command.request))
    return message


def _request(request: c.Request) -> pb.Request:
    return pb.Request(caller=request.caller, id=request.id, asked=request.asked, not_after_ms=request.not_after_ms)


def _read_request(message: pb.Request) -> c.Request:
    return c.Request(message.caller, message.id, message.asked, message.not_after_ms)


def _labels(metadata: tuple[tuple[str, str], ...]) -> list[pb.Label]:
    return [pb.Label(key=key, value=value) for key, value in metadata]


def _put_acquire(a: c.Acquire) -> pb.Command:
    message = _with_request(a)
    message.acquire.CopyFrom(
        pb.Acquire(
            name=a.name,
            ttl_ms=a.ttl_ms,
            owner=a.owner,
            reason=a.reason,
            metadata=_labels(a.metadata),
            by_name=a.by_name,
        )
    )
    return message


def _get_acquire(call: c.Call, message: pb.Command) -> c.Command:
    a = message.acquire
    return c.Acquire(
        call=call,
        request=_read_request(message.request),
        name=a.name,
        ttl_ms=a.ttl_ms,
        owner=a.owner,
        reason=a.reason,
        metadata=tuple((label.key, label.value) for label in a.metadata),
        by_name=a.by_name,
    )


def _put_release(r: c.Release) -> pb.Command:
    message = _with_request(r)
    message.release.CopyFrom(pb.Release(token=r.token, name=r.name, by_name=r.by_name))
    return message


def _get_release(call: c.Call, message: pb.Command) -> c.Command:
    r = message.release
    request = _read_request(message.request)
    return c.Release(call=call, request=request, token=r.token, name=r.name, by_name=r.by_name)


def _put_renew(r: c.Renew) -> pb.Command:
    message = _base(r)
    message.renew.CopyFrom(pb.Renew(token=r.token, ttl_ms=r.ttl_ms))
    return message


def _put_is_locked(i: c.IsLocked) -> pb.Command:
    message = _base(i)
    message.is_locked.CopyFrom(pb.IsLocked(name=i.name))
    return message


def _put_list(ask: c.ListHolds) -> pb.Command:
    message = _base(ask)
    message.list_holds.CopyFrom(pb.ListHolds(prefix=ask.prefix, after=ask.after, limit=ask.limit, owner=ask.owner))
    return message


def _get_list(call: c.Call, message: pb.Command) -> c.Command:
    ask = message.list_holds
    return c.ListHolds(call=call, prefix=ask.prefix, after=ask.after, limit=ask.limit, owner=ask.owner)


def _put_barrier(b: c.Barrier) -> pb.Command:
    message = _base(b)
    message.barrier.SetInParent()
    return message


_ENCODERS = cast(
    dict[type, Callable[[c.Command], pb.Command]],
    {
        c.Acquire: _put_acquire,
        c.Release: _put_release,
        c.Renew: _put_renew,
        c.IsLocked: _put_is_locked,
        c.ListHolds: _put_list,
        c.Barrier: _put_barrier,
    },
)

_DECODERS: dict[str, Callable[[c.Call, pb.Command], c.Command]] = {
    "acquire": _get_acquire,
    "release": _get_release,
    "renew": lambda call, m: c.Renew(call=call, token=m.renew.token, ttl_ms=m.renew.ttl_ms),
    "is_locked": lambda call, m: c.IsLocked(call=call, name=m.is_locked.name),
    "list_holds": _get_list,
    "barrier": lambda call, _: c.Barrier(call=call),
}


# -- stored state: a key and a value a record

STATE = b"s/"
_PREFIX = {"scalars": STATE + b"s", "holds": STATE + b"h", "leases": STATE + b"l", "records": STATE + b"r"}
_TABLE = {prefix: table for table, prefix in _PREFIX.items()}
_RECORDED = ("Granted", "HeldByOther", "Released", "NotHeld")


def encode_change(change: Change) -> tuple[bytes, bytes | None]:
    """The key of a record of the state, and its value or None where it is gone."""
    key = _PREFIX[change.table] + _key(change.key)
    return key, None if change.value is None else _value(change.value).SerializeToString()


def decode_records(records: Iterator[tuple[bytes, bytes]]) -> Iterator[Change]:
    """The state's records as the store or a snapshot holds them. Raises CodecError naming the key."""
    for key, value in records:
        table = _TABLE.get(key[: len(STATE) + 1])
        if table is None:
            raise CodecError(f"state record {key!r} is of no known table")
        try:
            yield _decoding(value, _READERS[table])
        except CodecError as error:
            raise CodecError(f"state record {key!r}: {error}") from error


def _key(key: object) -> bytes:
    match key:
        case int():
            return key.to_bytes(8, "big")
        case (str() as caller, bytes() as id):
            return len(caller.encode()).to_bytes(2, "big") + caller.encode() + id
        case _:
            return b""


def _value(value: Scalars | Hold | Lease | Record) -> pb.Scalars | pb.Hold | pb.Lease | pb.Record:
    match value:
        case Scalars():
            return pb.Scalars(
                clock_ms=value.clock_ms,
                epoch=value.epoch,
                machine_version=value.version,
                last_token=value.last_token,
                last_lease=value.last_lease,
            )
        case Hold():
            return pb.Hold(
                token=value.token,
                name=value.name,
                lease=value.lease,
                owner=value.owner,
                reason=value.reason,
                metadata=_labels(value.metadata),
                acquired_ms=value.acquired_ms,
                by_name=value.by_name,
                request=_request(value.request),
            )
        case Lease():
            return pb.Lease(id=value.id, deadline_ms=value.deadline_ms, ttl_ms=value.ttl_ms, hold=value.hold)
        case Record():
            return pb.Record(
                request=_request(value.request),
                outcome=_RECORDED.index(value.outcome),
                token=value.token,
                name=value.name,
                until_ms=value.until_ms,
            )


def _read_scalars(data: bytes) -> Change:
    s = pb.Scalars.FromString(data)
    return Change("scalars", None, Scalars(s.clock_ms, s.epoch, s.machine_version, s.last_token, s.last_lease))


def _read_hold(data: bytes) -> Change:
    h = pb.Hold.FromString(data)
    metadata = tuple((label.key, label.value) for label in h.metadata)
    request = _read_request(h.request)
    hold = Hold(h.token, h.name, h.lease, h.owner, h.reason, metadata, h.acquired_ms, h.by_name, request)
    return Change("holds", hold.token, hold)


def _read_lease(data: bytes) -> Change:
    lease = pb.Lease.FromString(data)
    return Change("leases", lease.id, Lease(lease.id, lease.deadline_ms, lease.ttl_ms, lease.hold))


def _read_record(data: bytes) -> Change:
    r = pb.Record.FromString(data)
    if r.outcome >= len(_RECORDED):
        raise ValueError(f"a record of outcome {r.outcome}")
    record = Record(_read_request(r.request), _RECORDED[r.outcome], r.token, r.name, r.until_ms)
    return Change("records", (record.request.caller, record.request.id), record)


_READERS: dict[str, Callable[[bytes], Change]] = {
    "scalars": _read_scalars,
    "holds": _read_hold,
    "leases": _read_lease,
    "records": _read_record,
}
