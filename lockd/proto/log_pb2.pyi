from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Entry(_message.Message):
    __slots__ = ("epoch", "stamp_ms", "commands", "begin", "machine_version")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STAMP_MS_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    MACHINE_VERSION_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    stamp_ms: int
    commands: _containers.RepeatedScalarFieldContainer[bytes]
    begin: bool
    machine_version: int
    def __init__(self, epoch: _Optional[int] = ..., stamp_ms: _Optional[int] = ..., commands: _Optional[_Iterable[bytes]] = ..., begin: bool = ..., machine_version: _Optional[int] = ...) -> None: ...

class Call(_message.Message):
    __slots__ = ("node", "life", "number")
    NODE_FIELD_NUMBER: _ClassVar[int]
    LIFE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    node: int
    life: int
    number: int
    def __init__(self, node: _Optional[int] = ..., life: _Optional[int] = ..., number: _Optional[int] = ...) -> None: ...

class Request(_message.Message):
    __slots__ = ("caller", "id", "asked", "not_after_ms")
    CALLER_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    caller: str
    id: bytes
    asked: bytes
    not_after_ms: int
    def __init__(self, caller: _Optional[str] = ..., id: _Optional[bytes] = ..., asked: _Optional[bytes] = ..., not_after_ms: _Optional[int] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("call", "request", "acquire", "release", "renew", "is_locked", "list_holds", "barrier")
    CALL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    ACQUIRE_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    RENEW_FIELD_NUMBER: _ClassVar[int]
    IS_LOCKED_FIELD_NUMBER: _ClassVar[int]
    LIST_HOLDS_FIELD_NUMBER: _ClassVar[int]
    BARRIER_FIELD_NUMBER: _ClassVar[int]
    call: Call
    request: Request
    acquire: Acquire
    release: Release
    renew: Renew
    is_locked: IsLocked
    list_holds: ListHolds
    barrier: Barrier
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., request: _Optional[_Union[Request, _Mapping]] = ..., acquire: _Optional[_Union[Acquire, _Mapping]] = ..., release: _Optional[_Union[Release, _Mapping]] = ..., renew: _Optional[_Union[Renew, _Mapping]] = ..., is_locked: _Optional[_Union[IsLocked, _Mapping]] = ..., list_holds: _Optional[_Union[ListHolds, _Mapping]] = ..., barrier: _Optional[_Union[Barrier, _Mapping]] = ...) -> None: ...

class Acquire(_message.Message):
    __slots__ = ("name", "ttl_ms", "owner", "reason", "metadata", "by_name")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    BY_NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    ttl_ms: int
    owner: str
    reason: str
    metadata: _containers.RepeatedCompositeFieldContainer[Label]
    by_name: bool
    def __init__(self, name: _Optional[str] = ..., ttl_ms: _Optional[int] = ..., owner: _Optional[str] = ..., reason: _Optional[str] = ..., metadata: _Optional[_Iterable[_Union[Label, _Mapping]]] = ..., by_name: bool = ...) -> None: ...

class Label(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Release(_message.Message):
    __slots__ = ("token", "name", "by_name")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BY_NAME_FIELD_NUMBER: _ClassVar[int]
    token: int
    name: str
    by_name: bool
    def __init__(self, token: _Optional[int] = ..., name: _Optional[str] = ..., by_name: bool = ...) -> None: ...

class Renew(_message.Message):
    __slots__ = ("token", "ttl_ms")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    token: int
    ttl_ms: int
    def __init__(self, token: _Optional[int] = ..., ttl_ms: _Optional[int] = ...) -> None: ...

class IsLocked(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListHolds(_message.Message):
    __slots__ = ("prefix", "after", "limit", "owner")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    after: str
    limit: int
    owner: str
    def __init__(self, prefix: _Optional[str] = ..., after: _Optional[str] = ..., limit: _Optional[int] = ..., owner: _Optional[str] = ...) -> None: ...

class Barrier(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Scalars(_message.Message):
    __slots__ = ("clock_ms", "epoch", "machine_version", "last_token", "last_lease")
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MACHINE_VERSION_FIELD_NUMBER: _ClassVar[int]
    LAST_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LAST_LEASE_FIELD_NUMBER: _ClassVar[int]
    clock_ms: int
    epoch: int
    machine_version: int
    last_token: int
    last_lease: int
    def __init__(self, clock_ms: _Optional[int] = ..., epoch: _Optional[int] = ..., machine_version: _Optional[int] = ..., last_token: _Optional[int] = ..., last_lease: _Optional[int] = ...) -> None: ...

class Hold(_message.Message):
    __slots__ = ("token", "name", "lease", "owner", "reason", "metadata", "acquired_ms", "by_name", "request")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    ACQUIRED_MS_FIELD_NUMBER: _ClassVar[int]
    BY_NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    token: int
    name: str
    lease: int
    owner: str
    reason: str
    metadata: _containers.RepeatedCompositeFieldContainer[Label]
    acquired_ms: int
    by_name: bool
    request: Request
    def __init__(self, token: _Optional[int] = ..., name: _Optional[str] = ..., lease: _Optional[int] = ..., owner: _Optional[str] = ..., reason: _Optional[str] = ..., metadata: _Optional[_Iterable[_Union[Label, _Mapping]]] = ..., acquired_ms: _Optional[int] = ..., by_name: bool = ..., request: _Optional[_Union[Request, _Mapping]] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("id", "deadline_ms", "ttl_ms", "hold")
    ID_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    id: int
    deadline_ms: int
    ttl_ms: int
    hold: int
    def __init__(self, id: _Optional[int] = ..., deadline_ms: _Optional[int] = ..., ttl_ms: _Optional[int] = ..., hold: _Optional[int] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("request", "outcome", "token", "until_ms", "name")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    request: Request
    outcome: int
    token: int
    until_ms: int
    name: str
    def __init__(self, request: _Optional[_Union[Request, _Mapping]] = ..., outcome: _Optional[int] = ..., token: _Optional[int] = ..., until_ms: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...
