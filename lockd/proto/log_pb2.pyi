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

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLIENT: _ClassVar[Kind]
    RESOURCE: _ClassVar[Kind]

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    READ: _ClassVar[Role]
    LOCK: _ClassVar[Role]
    ADMIN: _ClassVar[Role]
EXCLUSIVE: Mode
SHARED: Mode
CLIENT: Kind
RESOURCE: Kind
ROLE_UNSPECIFIED: Role
READ: Role
LOCK: Role
ADMIN: Role

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

class Key(_message.Message):
    __slots__ = ("caller", "id")
    CALLER_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    caller: str
    id: bytes
    def __init__(self, caller: _Optional[str] = ..., id: _Optional[bytes] = ...) -> None: ...

class Answered(_message.Message):
    __slots__ = ("below", "ranges")
    BELOW_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    below: int
    ranges: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, below: _Optional[int] = ..., ranges: _Optional[_Iterable[int]] = ...) -> None: ...

class Request(_message.Message):
    __slots__ = ("key", "asked", "not_after_ms", "answered")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    key: Key
    asked: bytes
    not_after_ms: int
    answered: Answered
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ..., asked: _Optional[bytes] = ..., not_after_ms: _Optional[int] = ..., answered: _Optional[_Union[Answered, _Mapping]] = ...) -> None: ...

class Want(_message.Message):
    __slots__ = ("name", "mode")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    name: str
    mode: Mode
    def __init__(self, name: _Optional[str] = ..., mode: _Optional[_Union[Mode, str]] = ...) -> None: ...

class Label(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Link(_message.Message):
    __slots__ = ("owner", "session", "agent", "name")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    owner: str
    session: int
    agent: str
    name: str
    def __init__(self, owner: _Optional[str] = ..., session: _Optional[int] = ..., agent: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("acquire", "release", "cancel", "withdraw", "renew", "open_session", "keep_alive", "close_session", "open_node", "is_locked", "get", "list_holds", "check_token", "register", "unregister", "list_registered", "barrier", "create_credential", "revoke_credential", "list_credentials", "deny")
    ACQUIRE_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    WITHDRAW_FIELD_NUMBER: _ClassVar[int]
    RENEW_FIELD_NUMBER: _ClassVar[int]
    OPEN_SESSION_FIELD_NUMBER: _ClassVar[int]
    KEEP_ALIVE_FIELD_NUMBER: _ClassVar[int]
    CLOSE_SESSION_FIELD_NUMBER: _ClassVar[int]
    OPEN_NODE_FIELD_NUMBER: _ClassVar[int]
    IS_LOCKED_FIELD_NUMBER: _ClassVar[int]
    GET_FIELD_NUMBER: _ClassVar[int]
    LIST_HOLDS_FIELD_NUMBER: _ClassVar[int]
    CHECK_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REGISTER_FIELD_NUMBER: _ClassVar[int]
    UNREGISTER_FIELD_NUMBER: _ClassVar[int]
    LIST_REGISTERED_FIELD_NUMBER: _ClassVar[int]
    BARRIER_FIELD_NUMBER: _ClassVar[int]
    CREATE_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    REVOKE_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    LIST_CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    DENY_FIELD_NUMBER: _ClassVar[int]
    acquire: Acquire
    release: Release
    cancel: Cancel
    withdraw: Withdraw
    renew: Renew
    open_session: OpenSession
    keep_alive: KeepAlive
    close_session: CloseSession
    open_node: OpenNode
    is_locked: IsLocked
    get: Get
    list_holds: ListHolds
    check_token: CheckToken
    register: Register
    unregister: Unregister
    list_registered: ListRegistered
    barrier: Barrier
    create_credential: CreateCredential
    revoke_credential: RevokeCredential
    list_credentials: ListCredentials
    deny: Deny
    def __init__(self, acquire: _Optional[_Union[Acquire, _Mapping]] = ..., release: _Optional[_Union[Release, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., withdraw: _Optional[_Union[Withdraw, _Mapping]] = ..., renew: _Optional[_Union[Renew, _Mapping]] = ..., open_session: _Optional[_Union[OpenSession, _Mapping]] = ..., keep_alive: _Optional[_Union[KeepAlive, _Mapping]] = ..., close_session: _Optional[_Union[CloseSession, _Mapping]] = ..., open_node: _Optional[_Union[OpenNode, _Mapping]] = ..., is_locked: _Optional[_Union[IsLocked, _Mapping]] = ..., get: _Optional[_Union[Get, _Mapping]] = ..., list_holds: _Optional[_Union[ListHolds, _Mapping]] = ..., check_token: _Optional[_Union[CheckToken, _Mapping]] = ..., register: _Optional[_Union[Register, _Mapping]] = ..., unregister: _Optional[_Union[Unregister, _Mapping]] = ..., list_registered: _Optional[_Union[ListRegistered, _Mapping]] = ..., barrier: _Optional[_Union[Barrier, _Mapping]] = ..., create_credential: _Optional[_Union[CreateCredential, _Mapping]] = ..., revoke_credential: _Optional[_Union[RevokeCredential, _Mapping]] = ..., list_credentials: _Optional[_Union[ListCredentials, _Mapping]] = ..., deny: _Optional[_Union[Deny, _Mapping]] = ...) -> None: ...

class Acquire(_message.Message):
    __slots__ = ("call", "request", "wants", "attempt", "session", "agent", "ttl_ms", "wait_ms", "lock_delay_ms", "reentrant", "owner", "reason", "metadata", "by_name")
    CALL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    WANTS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    LOCK_DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    REENTRANT_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    BY_NAME_FIELD_NUMBER: _ClassVar[int]
    call: Call
    request: Request
    wants: _containers.RepeatedCompositeFieldContainer[Want]
    attempt: int
    session: int
    agent: str
    ttl_ms: int
    wait_ms: int
    lock_delay_ms: int
    reentrant: bool
    owner: str
    reason: str
    metadata: _containers.RepeatedCompositeFieldContainer[Label]
    by_name: bool
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., request: _Optional[_Union[Request, _Mapping]] = ..., wants: _Optional[_Iterable[_Union[Want, _Mapping]]] = ..., attempt: _Optional[int] = ..., session: _Optional[int] = ..., agent: _Optional[str] = ..., ttl_ms: _Optional[int] = ..., wait_ms: _Optional[int] = ..., lock_delay_ms: _Optional[int] = ..., reentrant: bool = ..., owner: _Optional[str] = ..., reason: _Optional[str] = ..., metadata: _Optional[_Iterable[_Union[Label, _Mapping]]] = ..., by_name: bool = ...) -> None: ...

class Release(_message.Message):
    __slots__ = ("call", "request", "token", "name", "session", "agent", "by_name", "force", "reason", "owner", "credential")
    CALL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    BY_NAME_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    call: Call
    request: Request
    token: int
    name: str
    session: int
    agent: str
    by_name: bool
    force: bool
    reason: str
    owner: str
    credential: str
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., request: _Optional[_Union[Request, _Mapping]] = ..., token: _Optional[int] = ..., name: _Optional[str] = ..., session: _Optional[int] = ..., agent: _Optional[str] = ..., by_name: bool = ..., force: bool = ..., reason: _Optional[str] = ..., owner: _Optional[str] = ..., credential: _Optional[str] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("call", "key")
    CALL_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    call: Call
    key: Key
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., key: _Optional[_Union[Key, _Mapping]] = ...) -> None: ...

class Withdraw(_message.Message):
    __slots__ = ("call", "key", "ended")
    CALL_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    call: Call
    key: Key
    ended: Call
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., key: _Optional[_Union[Key, _Mapping]] = ..., ended: _Optional[_Union[Call, _Mapping]] = ...) -> None: ...

class Renew(_message.Message):
    __slots__ = ("call", "token", "ttl_ms", "caller")
    CALL_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    call: Call
    token: int
    ttl_ms: int
    caller: str
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., token: _Optional[int] = ..., ttl_ms: _Optional[int] = ..., caller: _Optional[str] = ...) -> None: ...

class OpenSession(_message.Message):
    __slots__ = ("call", "request", "ttl_ms", "owner")
    CALL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    call: Call
    request: Request
    ttl_ms: int
    owner: str
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., request: _Optional[_Union[Request, _Mapping]] = ..., ttl_ms: _Optional[int] = ..., owner: _Optional[str] = ...) -> None: ...

class KeepAlive(_message.Message):
    __slots__ = ("call", "caller", "session")
    CALL_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    call: Call
    caller: str
    session: int
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., caller: _Optional[str] = ..., session: _Optional[int] = ...) -> None: ...

class CloseSession(_message.Message):
    __slots__ = ("call", "caller", "session")
    CALL_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    call: Call
    caller: str
    session: int
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., caller: _Optional[str] = ..., session: _Optional[int] = ...) -> None: ...

class OpenNode(_message.Message):
    __slots__ = ("call",)
    CALL_FIELD_NUMBER: _ClassVar[int]
    call: Call
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ...) -> None: ...

class IsLocked(_message.Message):
    __slots__ = ("call", "name")
    CALL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    call: Call
    name: str
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., name: _Optional[str] = ...) -> None: ...

class Get(_message.Message):
    __slots__ = ("call", "name", "limit")
    CALL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    call: Call
    name: str
    limit: int
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., name: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListHolds(_message.Message):
    __slots__ = ("call", "prefix", "after", "limit", "owner", "mode", "with_waiters", "token")
    CALL_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    WITH_WAITERS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    call: Call
    prefix: str
    after: str
    limit: int
    owner: str
    mode: Mode
    with_waiters: bool
    token: int
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., prefix: _Optional[str] = ..., after: _Optional[str] = ..., limit: _Optional[int] = ..., owner: _Optional[str] = ..., mode: _Optional[_Union[Mode, str]] = ..., with_waiters: bool = ..., token: _Optional[int] = ...) -> None: ...

class CheckToken(_message.Message):
    __slots__ = ("call", "name", "token")
    CALL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    call: Call
    name: str
    token: int
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., name: _Optional[str] = ..., token: _Optional[int] = ...) -> None: ...

class Register(_message.Message):
    __slots__ = ("call", "kind", "name")
    CALL_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    call: Call
    kind: Kind
    name: str
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., kind: _Optional[_Union[Kind, str]] = ..., name: _Optional[str] = ...) -> None: ...

class Unregister(_message.Message):
    __slots__ = ("call", "kind", "id")
    CALL_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    call: Call
    kind: Kind
    id: int
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., kind: _Optional[_Union[Kind, str]] = ..., id: _Optional[int] = ...) -> None: ...

class ListRegistered(_message.Message):
    __slots__ = ("call", "kind", "after", "limit", "name", "id")
    CALL_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    call: Call
    kind: Kind
    after: int
    limit: int
    name: str
    id: int
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., kind: _Optional[_Union[Kind, str]] = ..., after: _Optional[int] = ..., limit: _Optional[int] = ..., name: _Optional[str] = ..., id: _Optional[int] = ...) -> None: ...

class CreateCredential(_message.Message):
    __slots__ = ("call", "request", "name", "role", "prefixes", "sha256")
    CALL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PREFIXES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    call: Call
    request: Request
    name: str
    role: Role
    prefixes: _containers.RepeatedScalarFieldContainer[str]
    sha256: bytes
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., request: _Optional[_Union[Request, _Mapping]] = ..., name: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ..., prefixes: _Optional[_Iterable[str]] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class RevokeCredential(_message.Message):
    __slots__ = ("call", "id")
    CALL_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    call: Call
    id: int
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., id: _Optional[int] = ...) -> None: ...

class ListCredentials(_message.Message):
    __slots__ = ("call", "after", "limit")
    CALL_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    call: Call
    after: int
    limit: int
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., after: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class Deny(_message.Message):
    __slots__ = ("call", "is_known")
    CALL_FIELD_NUMBER: _ClassVar[int]
    IS_KNOWN_FIELD_NUMBER: _ClassVar[int]
    call: Call
    is_known: bool
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., is_known: bool = ...) -> None: ...

class Barrier(_message.Message):
    __slots__ = ("call",)
    CALL_FIELD_NUMBER: _ClassVar[int]
    call: Call
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ...) -> None: ...

class Scalars(_message.Message):
    __slots__ = ("clock_ms", "epoch", "version", "last_token", "last_lease", "last_arrival", "last_entry_id", "revision", "last_credential")
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LAST_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LAST_LEASE_FIELD_NUMBER: _ClassVar[int]
    LAST_ARRIVAL_FIELD_NUMBER: _ClassVar[int]
    LAST_ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    LAST_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    clock_ms: int
    epoch: int
    version: int
    last_token: int
    last_lease: int
    last_arrival: int
    last_entry_id: int
    revision: int
    last_credential: int
    def __init__(self, clock_ms: _Optional[int] = ..., epoch: _Optional[int] = ..., version: _Optional[int] = ..., last_token: _Optional[int] = ..., last_lease: _Optional[int] = ..., last_arrival: _Optional[int] = ..., last_entry_id: _Optional[int] = ..., revision: _Optional[int] = ..., last_credential: _Optional[int] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("id", "deadline_ms", "ttl_ms", "is_session", "caller", "owner", "ending", "closed", "closer")
    ID_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    IS_SESSION_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    ENDING_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    CLOSER_FIELD_NUMBER: _ClassVar[int]
    id: int
    deadline_ms: int
    ttl_ms: int
    is_session: bool
    caller: str
    owner: str
    ending: bool
    closed: bool
    closer: Call
    def __init__(self, id: _Optional[int] = ..., deadline_ms: _Optional[int] = ..., ttl_ms: _Optional[int] = ..., is_session: bool = ..., caller: _Optional[str] = ..., owner: _Optional[str] = ..., ending: bool = ..., closed: bool = ..., closer: _Optional[_Union[Call, _Mapping]] = ...) -> None: ...

class Hold(_message.Message):
    __slots__ = ("token", "key", "wants", "lease", "session", "agent", "owner", "reason", "metadata", "acquired_ms", "lock_delay_ms", "call", "count", "by_name")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    WANTS_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    ACQUIRED_MS_FIELD_NUMBER: _ClassVar[int]
    LOCK_DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    BY_NAME_FIELD_NUMBER: _ClassVar[int]
    token: int
    key: Key
    wants: _containers.RepeatedCompositeFieldContainer[Want]
    lease: int
    session: int
    agent: str
    owner: str
    reason: str
    metadata: _containers.RepeatedCompositeFieldContainer[Label]
    acquired_ms: int
    lock_delay_ms: int
    call: Call
    count: int
    by_name: bool
    def __init__(self, token: _Optional[int] = ..., key: _Optional[_Union[Key, _Mapping]] = ..., wants: _Optional[_Iterable[_Union[Want, _Mapping]]] = ..., lease: _Optional[int] = ..., session: _Optional[int] = ..., agent: _Optional[str] = ..., owner: _Optional[str] = ..., reason: _Optional[str] = ..., metadata: _Optional[_Iterable[_Union[Label, _Mapping]]] = ..., acquired_ms: _Optional[int] = ..., lock_delay_ms: _Optional[int] = ..., call: _Optional[_Union[Call, _Mapping]] = ..., count: _Optional[int] = ..., by_name: bool = ...) -> None: ...

class Waiter(_message.Message):
    __slots__ = ("arrival", "key", "wants", "session", "agent", "ttl_ms", "until_ms", "lock_delay_ms", "owner", "reason", "metadata", "since_ms", "call", "attempt", "parked_ms")
    ARRIVAL_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    WANTS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    LOCK_DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PARKED_MS_FIELD_NUMBER: _ClassVar[int]
    arrival: int
    key: Key
    wants: _containers.RepeatedCompositeFieldContainer[Want]
    session: int
    agent: str
    ttl_ms: int
    until_ms: int
    lock_delay_ms: int
    owner: str
    reason: str
    metadata: _containers.RepeatedCompositeFieldContainer[Label]
    since_ms: int
    call: Call
    attempt: int
    parked_ms: int
    def __init__(self, arrival: _Optional[int] = ..., key: _Optional[_Union[Key, _Mapping]] = ..., wants: _Optional[_Iterable[_Union[Want, _Mapping]]] = ..., session: _Optional[int] = ..., agent: _Optional[str] = ..., ttl_ms: _Optional[int] = ..., until_ms: _Optional[int] = ..., lock_delay_ms: _Optional[int] = ..., owner: _Optional[str] = ..., reason: _Optional[str] = ..., metadata: _Optional[_Iterable[_Union[Label, _Mapping]]] = ..., since_ms: _Optional[int] = ..., call: _Optional[_Union[Call, _Mapping]] = ..., attempt: _Optional[int] = ..., parked_ms: _Optional[int] = ...) -> None: ...

class Delay(_message.Message):
    __slots__ = ("name", "mode", "until_ms")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    name: str
    mode: Mode
    until_ms: int
    def __init__(self, name: _Optional[str] = ..., mode: _Optional[_Union[Mode, str]] = ..., until_ms: _Optional[int] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("key", "asked", "outcome", "token", "count", "names", "cycle", "until_ms")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    CYCLE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    key: Key
    asked: bytes
    outcome: int
    token: int
    count: int
    names: _containers.RepeatedScalarFieldContainer[str]
    cycle: _containers.RepeatedCompositeFieldContainer[Link]
    until_ms: int
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ..., asked: _Optional[bytes] = ..., outcome: _Optional[int] = ..., token: _Optional[int] = ..., count: _Optional[int] = ..., names: _Optional[_Iterable[str]] = ..., cycle: _Optional[_Iterable[_Union[Link, _Mapping]]] = ..., until_ms: _Optional[int] = ...) -> None: ...

class Mark(_message.Message):
    __slots__ = ("caller", "client", "answered", "until_ms")
    CALLER_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    caller: str
    client: bytes
    answered: Answered
    until_ms: int
    def __init__(self, caller: _Optional[str] = ..., client: _Optional[bytes] = ..., answered: _Optional[_Union[Answered, _Mapping]] = ..., until_ms: _Optional[int] = ...) -> None: ...

class NodeLease(_message.Message):
    __slots__ = ("node", "life", "deadline_ms", "ending")
    NODE_FIELD_NUMBER: _ClassVar[int]
    LIFE_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    ENDING_FIELD_NUMBER: _ClassVar[int]
    node: int
    life: int
    deadline_ms: int
    ending: bool
    def __init__(self, node: _Optional[int] = ..., life: _Optional[int] = ..., deadline_ms: _Optional[int] = ..., ending: bool = ...) -> None: ...

class RegistryEntry(_message.Message):
    __slots__ = ("id", "kind", "name")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    id: int
    kind: Kind
    name: str
    def __init__(self, id: _Optional[int] = ..., kind: _Optional[_Union[Kind, str]] = ..., name: _Optional[str] = ...) -> None: ...

class Credential(_message.Message):
    __slots__ = ("id", "name", "role", "prefixes", "sha256", "created_ms", "created_by")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PREFIXES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    role: Role
    prefixes: _containers.RepeatedScalarFieldContainer[str]
    sha256: bytes
    created_ms: int
    created_by: str
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ..., prefixes: _Optional[_Iterable[str]] = ..., sha256: _Optional[bytes] = ..., created_ms: _Optional[int] = ..., created_by: _Optional[str] = ...) -> None: ...
