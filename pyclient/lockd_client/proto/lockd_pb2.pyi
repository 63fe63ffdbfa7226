from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    GRANTED: _ClassVar[Outcome]
    HELD_BY_OTHER: _ClassVar[Outcome]
    LOST: _ClassVar[Outcome]
    RELEASED: _ClassVar[Outcome]
    NOT_HELD: _ClassVar[Outcome]
    RENEWED: _ClassVar[Outcome]
OUTCOME_UNSPECIFIED: Outcome
GRANTED: Outcome
HELD_BY_OTHER: Outcome
LOST: Outcome
RELEASED: Outcome
NOT_HELD: Outcome
RENEWED: Outcome

class RequestId(_message.Message):
    __slots__ = ("id", "not_after_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    not_after_ms: int
    def __init__(self, id: _Optional[bytes] = ..., not_after_ms: _Optional[int] = ...) -> None: ...

class Holder(_message.Message):
    __slots__ = ("name", "token", "owner", "acquired_ms", "ttl_ms", "lease_remaining_ms", "reason", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    ACQUIRED_MS_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    LEASE_REMAINING_MS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    name: str
    token: int
    owner: str
    acquired_ms: int
    ttl_ms: int
    lease_remaining_ms: int
    reason: str
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., token: _Optional[int] = ..., owner: _Optional[str] = ..., acquired_ms: _Optional[int] = ..., ttl_ms: _Optional[int] = ..., lease_remaining_ms: _Optional[int] = ..., reason: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class LockRequest(_message.Message):
    __slots__ = ("name", "ttl_ms", "owner", "reason", "metadata", "request")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    ttl_ms: int
    owner: str
    reason: str
    metadata: _containers.ScalarMap[str, str]
    request: RequestId
    def __init__(self, name: _Optional[str] = ..., ttl_ms: _Optional[int] = ..., owner: _Optional[str] = ..., reason: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., request: _Optional[_Union[RequestId, _Mapping]] = ...) -> None: ...

class LockResponse(_message.Message):
    __slots__ = ("outcome", "acquired", "token", "lease_remaining_ms", "holders", "clock_ms")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ACQUIRED_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    LEASE_REMAINING_MS_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    acquired: bool
    token: int
    lease_remaining_ms: int
    holders: _containers.RepeatedCompositeFieldContainer[Holder]
    clock_ms: int
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., acquired: bool = ..., token: _Optional[int] = ..., lease_remaining_ms: _Optional[int] = ..., holders: _Optional[_Iterable[_Union[Holder, _Mapping]]] = ..., clock_ms: _Optional[int] = ...) -> None: ...

class UnlockRequest(_message.Message):
    __slots__ = ("token", "name", "request")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    token: int
    name: str
    request: RequestId
    def __init__(self, token: _Optional[int] = ..., name: _Optional[str] = ..., request: _Optional[_Union[RequestId, _Mapping]] = ...) -> None: ...

class UnlockResponse(_message.Message):
    __slots__ = ("outcome", "released", "holders", "clock_ms")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    released: bool
    holders: _containers.RepeatedCompositeFieldContainer[Holder]
    clock_ms: int
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., released: bool = ..., holders: _Optional[_Iterable[_Union[Holder, _Mapping]]] = ..., clock_ms: _Optional[int] = ...) -> None: ...

class IsLockedRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class IsLockedResponse(_message.Message):
    __slots__ = ("is_locked", "holders", "clock_ms")
    IS_LOCKED_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    is_locked: bool
    holders: _containers.RepeatedCompositeFieldContainer[Holder]
    clock_ms: int
    def __init__(self, is_locked: bool = ..., holders: _Optional[_Iterable[_Union[Holder, _Mapping]]] = ..., clock_ms: _Optional[int] = ...) -> None: ...

class ListRequest(_message.Message):
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

class ListResponse(_message.Message):
    __slots__ = ("holders", "next", "clock_ms")
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    holders: _containers.RepeatedCompositeFieldContainer[Holder]
    next: str
    clock_ms: int
    def __init__(self, holders: _Optional[_Iterable[_Union[Holder, _Mapping]]] = ..., next: _Optional[str] = ..., clock_ms: _Optional[int] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("token", "ttl_ms")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    token: int
    ttl_ms: int
    def __init__(self, token: _Optional[int] = ..., ttl_ms: _Optional[int] = ...) -> None: ...

class RenewResponse(_message.Message):
    __slots__ = ("outcome", "lease_remaining_ms", "clock_ms")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    LEASE_REMAINING_MS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    lease_remaining_ms: int
    clock_ms: int
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., lease_remaining_ms: _Optional[int] = ..., clock_ms: _Optional[int] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("node_id", "version", "role", "leader_id", "leader_address", "term", "epoch", "clock_ms", "commit_index", "applied_index", "first_log_index", "last_log_index", "held_locks", "request_records", "machine_version", "peers")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    LEADER_ID_FIELD_NUMBER: _ClassVar[int]
    LEADER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    FIRST_LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    HELD_LOCKS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_RECORDS_FIELD_NUMBER: _ClassVar[int]
    MACHINE_VERSION_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    version: str
    role: str
    leader_id: int
    leader_address: str
    term: int
    epoch: int
    clock_ms: int
    commit_index: int
    applied_index: int
    first_log_index: int
    last_log_index: int
    held_locks: int
    request_records: int
    machine_version: int
    peers: _containers.RepeatedCompositeFieldContainer[Peer]
    def __init__(self, node_id: _Optional[int] = ..., version: _Optional[str] = ..., role: _Optional[str] = ..., leader_id: _Optional[int] = ..., leader_address: _Optional[str] = ..., term: _Optional[int] = ..., epoch: _Optional[int] = ..., clock_ms: _Optional[int] = ..., commit_index: _Optional[int] = ..., applied_index: _Optional[int] = ..., first_log_index: _Optional[int] = ..., last_log_index: _Optional[int] = ..., held_locks: _Optional[int] = ..., request_records: _Optional[int] = ..., machine_version: _Optional[int] = ..., peers: _Optional[_Iterable[_Union[Peer, _Mapping]]] = ...) -> None: ...

class Peer(_message.Message):
    __slots__ = ("node_id", "address", "connected", "match_index")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    MATCH_INDEX_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    address: str
    connected: bool
    match_index: int
    def __init__(self, node_id: _Optional[int] = ..., address: _Optional[str] = ..., connected: bool = ..., match_index: _Optional[int] = ...) -> None: ...
