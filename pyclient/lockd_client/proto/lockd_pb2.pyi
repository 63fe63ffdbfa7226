from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXCLUSIVE: _ClassVar[Mode]
    SHARED: _ClassVar[Mode]

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    GRANTED: _ClassVar[Outcome]
    HELD_BY_OTHER: _ClassVar[Outcome]
    LOST: _ClassVar[Outcome]
    RELEASED: _ClassVar[Outcome]
    NOT_HELD: _ClassVar[Outcome]
    RENEWED: _ClassVar[Outcome]
    QUEUED: _ClassVar[Outcome]
    TIMED_OUT: _ClassVar[Outcome]
    DEADLOCK: _ClassVar[Outcome]
    UPGRADE_REFUSED: _ClassVar[Outcome]
    CANCELLED: _ClassVar[Outcome]

class Consistency(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LINEARIZABLE: _ClassVar[Consistency]
    STALE: _ClassVar[Consistency]

class ModeFilter(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ANY_MODE: _ClassVar[ModeFilter]
    ONLY_EXCLUSIVE: _ClassVar[ModeFilter]
    ONLY_SHARED: _ClassVar[ModeFilter]

class EventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_UNSPECIFIED: _ClassVar[EventKind]
    EVENT_GRANTED: _ClassVar[EventKind]
    EVENT_RELEASED: _ClassVar[EventKind]
    EVENT_EXPIRED: _ClassVar[EventKind]
    EVENT_BROKEN: _ClassVar[EventKind]
    EVENT_WAITING: _ClassVar[EventKind]
    EVENT_LEFT: _ClassVar[EventKind]
    EVENT_DELAY_ENDED: _ClassVar[EventKind]

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    READ: _ClassVar[Role]
    LOCK: _ClassVar[Role]
    ADMIN: _ClassVar[Role]

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KIND_UNSPECIFIED: _ClassVar[Kind]
    CLIENT: _ClassVar[Kind]
    RESOURCE: _ClassVar[Kind]
EXCLUSIVE: Mode
SHARED: Mode
OUTCOME_UNSPECIFIED: Outcome
GRANTED: Outcome
HELD_BY_OTHER: Outcome
LOST: Outcome
RELEASED: Outcome
NOT_HELD: Outcome
RENEWED: Outcome
QUEUED: Outcome
TIMED_OUT: Outcome
DEADLOCK: Outcome
UPGRADE_REFUSED: Outcome
CANCELLED: Outcome
LINEARIZABLE: Consistency
STALE: Consistency
ANY_MODE: ModeFilter
ONLY_EXCLUSIVE: ModeFilter
ONLY_SHARED: ModeFilter
EVENT_UNSPECIFIED: EventKind
EVENT_GRANTED: EventKind
EVENT_RELEASED: EventKind
EVENT_EXPIRED: EventKind
EVENT_BROKEN: EventKind
EVENT_WAITING: EventKind
EVENT_LEFT: EventKind
EVENT_DELAY_ENDED: EventKind
ROLE_UNSPECIFIED: Role
READ: Role
LOCK: Role
ADMIN: Role
KIND_UNSPECIFIED: Kind
CLIENT: Kind
RESOURCE: Kind

class RequestId(_message.Message):
    __slots__ = ("id", "not_after_ms", "client", "sequence", "answered_below", "answered")
    ID_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_BELOW_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    not_after_ms: int
    client: bytes
    sequence: int
    answered_below: int
    answered: _containers.RepeatedCompositeFieldContainer[Range]
    def __init__(self, id: _Optional[bytes] = ..., not_after_ms: _Optional[int] = ..., client: _Optional[bytes] = ..., sequence: _Optional[int] = ..., answered_below: _Optional[int] = ..., answered: _Optional[_Iterable[_Union[Range, _Mapping]]] = ...) -> None: ...

class Range(_message.Message):
    __slots__ = ("first", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class Want(_message.Message):
    __slots__ = ("name", "mode")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    name: str
    mode: Mode
    def __init__(self, name: _Optional[str] = ..., mode: _Optional[_Union[Mode, str]] = ...) -> None: ...

class Holder(_message.Message):
    __slots__ = ("name", "token", "owner", "acquired_ms", "ttl_ms", "lease_remaining_ms", "reason", "metadata", "mode", "session_id", "agent", "count", "names", "identity")
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
    MODE_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    name: str
    token: int
    owner: str
    acquired_ms: int
    ttl_ms: int
    lease_remaining_ms: int
    reason: str
    metadata: _containers.ScalarMap[str, str]
    mode: Mode
    session_id: int
    agent: str
    count: int
    names: int
    identity: str
    def __init__(self, name: _Optional[str] = ..., token: _Optional[int] = ..., owner: _Optional[str] = ..., acquired_ms: _Optional[int] = ..., ttl_ms: _Optional[int] = ..., lease_remaining_ms: _Optional[int] = ..., reason: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., mode: _Optional[_Union[Mode, str]] = ..., session_id: _Optional[int] = ..., agent: _Optional[str] = ..., count: _Optional[int] = ..., names: _Optional[int] = ..., identity: _Optional[str] = ...) -> None: ...

class Waiter(_message.Message):
    __slots__ = ("name", "mode", "position", "owner", "session_id", "agent", "since_ms", "until_ms", "reason", "metadata", "identity")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    name: str
    mode: Mode
    position: int
    owner: str
    session_id: int
    agent: str
    since_ms: int
    until_ms: int
    reason: str
    metadata: _containers.ScalarMap[str, str]
    identity: str
    def __init__(self, name: _Optional[str] = ..., mode: _Optional[_Union[Mode, str]] = ..., position: _Optional[int] = ..., owner: _Optional[str] = ..., session_id: _Optional[int] = ..., agent: _Optional[str] = ..., since_ms: _Optional[int] = ..., until_ms: _Optional[int] = ..., reason: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., identity: _Optional[str] = ...) -> None: ...

class CycleLink(_message.Message):
    __slots__ = ("owner", "session_id", "agent", "name")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    owner: str
    session_id: int
    agent: str
    name: str
    def __init__(self, owner: _Optional[str] = ..., session_id: _Optional[int] = ..., agent: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class LockRequest(_message.Message):
    __slots__ = ("name", "ttl_ms", "owner", "reason", "metadata", "request", "mode", "wants", "session_id", "agent", "wait_ms", "reentrant", "lock_delay_ms", "attempt")
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
    MODE_FIELD_NUMBER: _ClassVar[int]
    WANTS_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    REENTRANT_FIELD_NUMBER: _ClassVar[int]
    LOCK_DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    name: str
    ttl_ms: int
    owner: str
    reason: str
    metadata: _containers.ScalarMap[str, str]
    request: RequestId
    mode: Mode
    wants: _containers.RepeatedCompositeFieldContainer[Want]
    session_id: int
    agent: str
    wait_ms: int
    reentrant: bool
    lock_delay_ms: int
    attempt: int
    def __init__(self, name: _Optional[str] = ..., ttl_ms: _Optional[int] = ..., owner: _Optional[str] = ..., reason: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., request: _Optional[_Union[RequestId, _Mapping]] = ..., mode: _Optional[_Union[Mode, str]] = ..., wants: _Optional[_Iterable[_Union[Want, _Mapping]]] = ..., session_id: _Optional[int] = ..., agent: _Optional[str] = ..., wait_ms: _Optional[int] = ..., reentrant: bool = ..., lock_delay_ms: _Optional[int] = ..., attempt: _Optional[int] = ...) -> None: ...

class LockResponse(_message.Message):
    __slots__ = ("outcome", "acquired", "token", "lease_remaining_ms", "holders", "clock_ms", "waited_ms", "queue_position", "cycle", "delayed_until_ms", "waiters", "count")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ACQUIRED_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    LEASE_REMAINING_MS_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    WAITED_MS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_POSITION_FIELD_NUMBER: _ClassVar[int]
    CYCLE_FIELD_NUMBER: _ClassVar[int]
    DELAYED_UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    WAITERS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    acquired: bool
    token: int
    lease_remaining_ms: int
    holders: _containers.RepeatedCompositeFieldContainer[Holder]
    clock_ms: int
    waited_ms: int
    queue_position: int
    cycle: _containers.RepeatedCompositeFieldContainer[CycleLink]
    delayed_until_ms: int
    waiters: int
    count: int
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., acquired: bool = ..., token: _Optional[int] = ..., lease_remaining_ms: _Optional[int] = ..., holders: _Optional[_Iterable[_Union[Holder, _Mapping]]] = ..., clock_ms: _Optional[int] = ..., waited_ms: _Optional[int] = ..., queue_position: _Optional[int] = ..., cycle: _Optional[_Iterable[_Union[CycleLink, _Mapping]]] = ..., delayed_until_ms: _Optional[int] = ..., waiters: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class UnlockRequest(_message.Message):
    __slots__ = ("token", "name", "request", "session_id", "agent", "force", "reason", "owner")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    token: int
    name: str
    request: RequestId
    session_id: int
    agent: str
    force: bool
    reason: str
    owner: str
    def __init__(self, token: _Optional[int] = ..., name: _Optional[str] = ..., request: _Optional[_Union[RequestId, _Mapping]] = ..., session_id: _Optional[int] = ..., agent: _Optional[str] = ..., force: bool = ..., reason: _Optional[str] = ..., owner: _Optional[str] = ...) -> None: ...

class UnlockResponse(_message.Message):
    __slots__ = ("outcome", "released", "holders", "clock_ms", "count")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    released: bool
    holders: _containers.RepeatedCompositeFieldContainer[Holder]
    clock_ms: int
    count: int
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., released: bool = ..., holders: _Optional[_Iterable[_Union[Holder, _Mapping]]] = ..., clock_ms: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: RequestId
    def __init__(self, request: _Optional[_Union[RequestId, _Mapping]] = ...) -> None: ...

class CancelResponse(_message.Message):
    __slots__ = ("outcome", "clock_ms")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    clock_ms: int
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., clock_ms: _Optional[int] = ...) -> None: ...

class IsLockedRequest(_message.Message):
    __slots__ = ("name", "consistency")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    name: str
    consistency: Consistency
    def __init__(self, name: _Optional[str] = ..., consistency: _Optional[_Union[Consistency, str]] = ...) -> None: ...

class Staleness(_message.Message):
    __slots__ = ("applied_index", "news_age_ms")
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    NEWS_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    applied_index: int
    news_age_ms: int
    def __init__(self, applied_index: _Optional[int] = ..., news_age_ms: _Optional[int] = ...) -> None: ...

class IsLockedResponse(_message.Message):
    __slots__ = ("is_locked", "holders", "clock_ms", "delayed_until_ms", "staleness")
    IS_LOCKED_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    DELAYED_UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    STALENESS_FIELD_NUMBER: _ClassVar[int]
    is_locked: bool
    holders: _containers.RepeatedCompositeFieldContainer[Holder]
    clock_ms: int
    delayed_until_ms: int
    staleness: Staleness
    def __init__(self, is_locked: bool = ..., holders: _Optional[_Iterable[_Union[Holder, _Mapping]]] = ..., clock_ms: _Optional[int] = ..., delayed_until_ms: _Optional[int] = ..., staleness: _Optional[_Union[Staleness, _Mapping]] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("name", "limit", "consistency")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    name: str
    limit: int
    consistency: Consistency
    def __init__(self, name: _Optional[str] = ..., limit: _Optional[int] = ..., consistency: _Optional[_Union[Consistency, str]] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("holders", "waiters", "holders_count", "waiters_count", "delayed_until_ms", "clock_ms", "staleness")
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    WAITERS_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_COUNT_FIELD_NUMBER: _ClassVar[int]
    WAITERS_COUNT_FIELD_NUMBER: _ClassVar[int]
    DELAYED_UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    STALENESS_FIELD_NUMBER: _ClassVar[int]
    holders: _containers.RepeatedCompositeFieldContainer[Holder]
    waiters: _containers.RepeatedCompositeFieldContainer[Waiter]
    holders_count: int
    waiters_count: int
    delayed_until_ms: int
    clock_ms: int
    staleness: Staleness
    def __init__(self, holders: _Optional[_Iterable[_Union[Holder, _Mapping]]] = ..., waiters: _Optional[_Iterable[_Union[Waiter, _Mapping]]] = ..., holders_count: _Optional[int] = ..., waiters_count: _Optional[int] = ..., delayed_until_ms: _Optional[int] = ..., clock_ms: _Optional[int] = ..., staleness: _Optional[_Union[Staleness, _Mapping]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("prefix", "after", "limit", "owner", "mode", "with_waiters", "consistency", "token")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    WITH_WAITERS_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    after: str
    limit: int
    owner: str
    mode: ModeFilter
    with_waiters: bool
    consistency: Consistency
    token: int
    def __init__(self, prefix: _Optional[str] = ..., after: _Optional[str] = ..., limit: _Optional[int] = ..., owner: _Optional[str] = ..., mode: _Optional[_Union[ModeFilter, str]] = ..., with_waiters: bool = ..., consistency: _Optional[_Union[Consistency, str]] = ..., token: _Optional[int] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("holders", "next", "clock_ms", "waiters", "staleness")
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    WAITERS_FIELD_NUMBER: _ClassVar[int]
    STALENESS_FIELD_NUMBER: _ClassVar[int]
    holders: _containers.RepeatedCompositeFieldContainer[Holder]
    next: str
    clock_ms: int
    waiters: _containers.RepeatedCompositeFieldContainer[Waiter]
    staleness: Staleness
    def __init__(self, holders: _Optional[_Iterable[_Union[Holder, _Mapping]]] = ..., next: _Optional[str] = ..., clock_ms: _Optional[int] = ..., waiters: _Optional[_Iterable[_Union[Waiter, _Mapping]]] = ..., staleness: _Optional[_Union[Staleness, _Mapping]] = ...) -> None: ...

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

class CheckTokenRequest(_message.Message):
    __slots__ = ("name", "token")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    name: str
    token: int
    def __init__(self, name: _Optional[str] = ..., token: _Optional[int] = ...) -> None: ...

class CheckTokenResponse(_message.Message):
    __slots__ = ("is_current", "holders", "clock_ms")
    IS_CURRENT_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    is_current: bool
    holders: _containers.RepeatedCompositeFieldContainer[Holder]
    clock_ms: int
    def __init__(self, is_current: bool = ..., holders: _Optional[_Iterable[_Union[Holder, _Mapping]]] = ..., clock_ms: _Optional[int] = ...) -> None: ...

class OpenSessionRequest(_message.Message):
    __slots__ = ("ttl_ms", "owner", "request")
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    ttl_ms: int
    owner: str
    request: RequestId
    def __init__(self, ttl_ms: _Optional[int] = ..., owner: _Optional[str] = ..., request: _Optional[_Union[RequestId, _Mapping]] = ...) -> None: ...

class OpenSessionResponse(_message.Message):
    __slots__ = ("session_id", "lease_remaining_ms", "ttl_ms", "clock_ms")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_REMAINING_MS_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    session_id: int
    lease_remaining_ms: int
    ttl_ms: int
    clock_ms: int
    def __init__(self, session_id: _Optional[int] = ..., lease_remaining_ms: _Optional[int] = ..., ttl_ms: _Optional[int] = ..., clock_ms: _Optional[int] = ...) -> None: ...

class KeepAliveRequest(_message.Message):
    __slots__ = ("session_id",)
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: int
    def __init__(self, session_id: _Optional[int] = ...) -> None: ...

class KeepAliveResponse(_message.Message):
    __slots__ = ("lease_remaining_ms", "clock_ms")
    LEASE_REMAINING_MS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    lease_remaining_ms: int
    clock_ms: int
    def __init__(self, lease_remaining_ms: _Optional[int] = ..., clock_ms: _Optional[int] = ...) -> None: ...

class CloseSessionRequest(_message.Message):
    __slots__ = ("session_id",)
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: int
    def __init__(self, session_id: _Optional[int] = ...) -> None: ...

class CloseSessionResponse(_message.Message):
    __slots__ = ("clock_ms",)
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    clock_ms: int
    def __init__(self, clock_ms: _Optional[int] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("prefix", "from_revision")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    FROM_REVISION_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    from_revision: int
    def __init__(self, prefix: _Optional[str] = ..., from_revision: _Optional[int] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("events", "revision", "clock_ms")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    revision: int
    clock_ms: int
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., revision: _Optional[int] = ..., clock_ms: _Optional[int] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("revision", "kind", "wants", "clock_ms", "token", "owner", "session_id", "reason", "by", "by_identity", "by_credential")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    WANTS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    BY_IDENTITY_FIELD_NUMBER: _ClassVar[int]
    BY_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    revision: int
    kind: EventKind
    wants: _containers.RepeatedCompositeFieldContainer[Want]
    clock_ms: int
    token: int
    owner: str
    session_id: int
    reason: str
    by: str
    by_identity: str
    by_credential: str
    def __init__(self, revision: _Optional[int] = ..., kind: _Optional[_Union[EventKind, str]] = ..., wants: _Optional[_Iterable[_Union[Want, _Mapping]]] = ..., clock_ms: _Optional[int] = ..., token: _Optional[int] = ..., owner: _Optional[str] = ..., session_id: _Optional[int] = ..., reason: _Optional[str] = ..., by: _Optional[str] = ..., by_identity: _Optional[str] = ..., by_credential: _Optional[str] = ...) -> None: ...

class StreamRequest(_message.Message):
    __slots__ = ("operations",)
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[Operation]
    def __init__(self, operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("id", "timeout_ms", "lock", "unlock", "cancel", "is_locked", "get", "list", "renew", "check_token", "open_session", "keep_alive", "close_session", "status")
    ID_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    LOCK_FIELD_NUMBER: _ClassVar[int]
    UNLOCK_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    IS_LOCKED_FIELD_NUMBER: _ClassVar[int]
    GET_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    RENEW_FIELD_NUMBER: _ClassVar[int]
    CHECK_TOKEN_FIELD_NUMBER: _ClassVar[int]
    OPEN_SESSION_FIELD_NUMBER: _ClassVar[int]
    KEEP_ALIVE_FIELD_NUMBER: _ClassVar[int]
    CLOSE_SESSION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    id: int
    timeout_ms: int
    lock: LockRequest
    unlock: UnlockRequest
    cancel: CancelRequest
    is_locked: IsLockedRequest
    get: GetRequest
    list: ListRequest
    renew: RenewRequest
    check_token: CheckTokenRequest
    open_session: OpenSessionRequest
    keep_alive: KeepAliveRequest
    close_session: CloseSessionRequest
    status: StatusRequest
    def __init__(self, id: _Optional[int] = ..., timeout_ms: _Optional[int] = ..., lock: _Optional[_Union[LockRequest, _Mapping]] = ..., unlock: _Optional[_Union[UnlockRequest, _Mapping]] = ..., cancel: _Optional[_Union[CancelRequest, _Mapping]] = ..., is_locked: _Optional[_Union[IsLockedRequest, _Mapping]] = ..., get: _Optional[_Union[GetRequest, _Mapping]] = ..., list: _Optional[_Union[ListRequest, _Mapping]] = ..., renew: _Optional[_Union[RenewRequest, _Mapping]] = ..., check_token: _Optional[_Union[CheckTokenRequest, _Mapping]] = ..., open_session: _Optional[_Union[OpenSessionRequest, _Mapping]] = ..., keep_alive: _Optional[_Union[KeepAliveRequest, _Mapping]] = ..., close_session: _Optional[_Union[CloseSessionRequest, _Mapping]] = ..., status: _Optional[_Union[StatusRequest, _Mapping]] = ...) -> None: ...

class StreamResponse(_message.Message):
    __slots__ = ("results", "leader_address")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    LEADER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[Result]
    leader_address: str
    def __init__(self, results: _Optional[_Iterable[_Union[Result, _Mapping]]] = ..., leader_address: _Optional[str] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("id", "lock", "unlock", "cancel", "is_locked", "get", "list", "renew", "check_token", "open_session", "keep_alive", "close_session", "status", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    LOCK_FIELD_NUMBER: _ClassVar[int]
    UNLOCK_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    IS_LOCKED_FIELD_NUMBER: _ClassVar[int]
    GET_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    RENEW_FIELD_NUMBER: _ClassVar[int]
    CHECK_TOKEN_FIELD_NUMBER: _ClassVar[int]
    OPEN_SESSION_FIELD_NUMBER: _ClassVar[int]
    KEEP_ALIVE_FIELD_NUMBER: _ClassVar[int]
    CLOSE_SESSION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: int
    lock: LockResponse
    unlock: UnlockResponse
    cancel: CancelResponse
    is_locked: IsLockedResponse
    get: GetResponse
    list: ListResponse
    renew: RenewResponse
    check_token: CheckTokenResponse
    open_session: OpenSessionResponse
    keep_alive: KeepAliveResponse
    close_session: CloseSessionResponse
    status: StatusResponse
    error: Error
    def __init__(self, id: _Optional[int] = ..., lock: _Optional[_Union[LockResponse, _Mapping]] = ..., unlock: _Optional[_Union[UnlockResponse, _Mapping]] = ..., cancel: _Optional[_Union[CancelResponse, _Mapping]] = ..., is_locked: _Optional[_Union[IsLockedResponse, _Mapping]] = ..., get: _Optional[_Union[GetResponse, _Mapping]] = ..., list: _Optional[_Union[ListResponse, _Mapping]] = ..., renew: _Optional[_Union[RenewResponse, _Mapping]] = ..., check_token: _Optional[_Union[CheckTokenResponse, _Mapping]] = ..., open_session: _Optional[_Union[OpenSessionResponse, _Mapping]] = ..., keep_alive: _Optional[_Union[KeepAliveResponse, _Mapping]] = ..., close_session: _Optional[_Union[CloseSessionResponse, _Mapping]] = ..., status: _Optional[_Union[StatusResponse, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "reason", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: int
    reason: str
    message: str
    def __init__(self, code: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("node_id", "version", "role", "leader_id", "leader_address", "term", "epoch", "clock_ms", "commit_index", "applied_index", "first_log_index", "last_log_index", "held_locks", "request_records", "machine_version", "peers", "waiters", "sessions", "revision", "refused")
    class RefusedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
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
    WAITERS_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
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
    waiters: int
    sessions: int
    revision: int
    refused: _containers.ScalarMap[str, int]
    def __init__(self, node_id: _Optional[int] = ..., version: _Optional[str] = ..., role: _Optional[str] = ..., leader_id: _Optional[int] = ..., leader_address: _Optional[str] = ..., term: _Optional[int] = ..., epoch: _Optional[int] = ..., clock_ms: _Optional[int] = ..., commit_index: _Optional[int] = ..., applied_index: _Optional[int] = ..., first_log_index: _Optional[int] = ..., last_log_index: _Optional[int] = ..., held_locks: _Optional[int] = ..., request_records: _Optional[int] = ..., machine_version: _Optional[int] = ..., peers: _Optional[_Iterable[_Union[Peer, _Mapping]]] = ..., waiters: _Optional[int] = ..., sessions: _Optional[int] = ..., revision: _Optional[int] = ..., refused: _Optional[_Mapping[str, int]] = ...) -> None: ...

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

class CreateTokenRequest(_message.Message):
    __slots__ = ("name", "role", "prefixes", "secret_sha256", "request")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PREFIXES_FIELD_NUMBER: _ClassVar[int]
    SECRET_SHA256_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    role: Role
    prefixes: _containers.RepeatedScalarFieldContainer[str]
    secret_sha256: bytes
    request: RequestId
    def __init__(self, name: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ..., prefixes: _Optional[_Iterable[str]] = ..., secret_sha256: _Optional[bytes] = ..., request: _Optional[_Union[RequestId, _Mapping]] = ...) -> None: ...

class CreateTokenResponse(_message.Message):
    __slots__ = ("token_id", "clock_ms")
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    token_id: int
    clock_ms: int
    def __init__(self, token_id: _Optional[int] = ..., clock_ms: _Optional[int] = ...) -> None: ...

class ListTokensRequest(_message.Message):
    __slots__ = ("after", "limit")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    after: int
    limit: int
    def __init__(self, after: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class ListTokensResponse(_message.Message):
    __slots__ = ("tokens", "next", "clock_ms")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedCompositeFieldContainer[AccessToken]
    next: int
    clock_ms: int
    def __init__(self, tokens: _Optional[_Iterable[_Union[AccessToken, _Mapping]]] = ..., next: _Optional[int] = ..., clock_ms: _Optional[int] = ...) -> None: ...

class AccessToken(_message.Message):
    __slots__ = ("token_id", "name", "role", "prefixes", "created_ms", "created_by")
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PREFIXES_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    token_id: int
    name: str
    role: Role
    prefixes: _containers.RepeatedScalarFieldContainer[str]
    created_ms: int
    created_by: str
    def __init__(self, token_id: _Optional[int] = ..., name: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ..., prefixes: _Optional[_Iterable[str]] = ..., created_ms: _Optional[int] = ..., created_by: _Optional[str] = ...) -> None: ...

class RevokeTokenRequest(_message.Message):
    __slots__ = ("token_id",)
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    token_id: int
    def __init__(self, token_id: _Optional[int] = ...) -> None: ...

class RevokeTokenResponse(_message.Message):
    __slots__ = ("revoked", "clock_ms")
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    revoked: bool
    clock_ms: int
    def __init__(self, revoked: bool = ..., clock_ms: _Optional[int] = ...) -> None: ...

class RegisterRequest(_message.Message):
    __slots__ = ("kind", "name")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    kind: Kind
    name: str
    def __init__(self, kind: _Optional[_Union[Kind, str]] = ..., name: _Optional[str] = ...) -> None: ...

class RegisterResponse(_message.Message):
    __slots__ = ("id", "clock_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    id: int
    clock_ms: int
    def __init__(self, id: _Optional[int] = ..., clock_ms: _Optional[int] = ...) -> None: ...

class UnregisterRequest(_message.Message):
    __slots__ = ("kind", "id")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    kind: Kind
    id: int
    def __init__(self, kind: _Optional[_Union[Kind, str]] = ..., id: _Optional[int] = ...) -> None: ...

class UnregisterResponse(_message.Message):
    __slots__ = ("removed", "in_use", "clock_ms")
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    IN_USE_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    removed: bool
    in_use: bool
    clock_ms: int
    def __init__(self, removed: bool = ..., in_use: bool = ..., clock_ms: _Optional[int] = ...) -> None: ...

class ListRegisteredRequest(_message.Message):
    __slots__ = ("kind", "after", "limit", "name", "id")
    KIND_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    kind: Kind
    after: int
    limit: int
    name: str
    id: int
    def __init__(self, kind: _Optional[_Union[Kind, str]] = ..., after: _Optional[int] = ..., limit: _Optional[int] = ..., name: _Optional[str] = ..., id: _Optional[int] = ...) -> None: ...

class ListRegisteredResponse(_message.Message):
    __slots__ = ("entries", "next", "clock_ms")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[RegistryEntry]
    next: int
    clock_ms: int
    def __init__(self, entries: _Optional[_Iterable[_Union[RegistryEntry, _Mapping]]] = ..., next: _Optional[int] = ..., clock_ms: _Optional[int] = ...) -> None: ...

class RegistryEntry(_message.Message):
    __slots__ = ("id", "name")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...
