"""The calls that this client makes, as data: name on the wire, request, answer, place in a stream's messages."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from lockd_client.proto import lockapi_pb2, lockd_pb2

RequestT = TypeVar("RequestT", bound=Message)
AnswerT = TypeVar("AnswerT", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[RequestT, AnswerT]):
    """field: of Operation and Result; empty for what no stream carries."""

    path: str
    request: type[RequestT]
    answer: type[AnswerT]
    field: str = ""


_SERVICE = "/lockd.v1.LockService"

LOCK = Method(f"{_SERVICE}/Lock", lockd_pb2.LockRequest, lockd_pb2.LockResponse, "lock")
UNLOCK = Method(f"{_SERVICE}/Unlock", lockd_pb2.UnlockRequest, lockd_pb2.UnlockResponse, "unlock")
CANCEL = Method(f"{_SERVICE}/Cancel", lockd_pb2.CancelRequest, lockd_pb2.CancelResponse, "cancel")
IS_LOCKED = Method(f"{_SERVICE}/IsLocked", lockd_pb2.IsLockedRequest, lockd_pb2.IsLockedResponse, "is_locked")
GET = Method(f"{_SERVICE}/Get", lockd_pb2.GetRequest, lockd_pb2.GetResponse, "get")
LIST = Method(f"{_SERVICE}/List", lockd_pb2.ListRequest, lockd_pb2.ListResponse, "list")
RENEW = Method(f"{_SERVICE}/Renew", lockd_pb2.RenewRequest, lockd_pb2.RenewResponse, "renew")
CHECK_TOKEN = Method(f"{_SERVICE}/CheckToken", lockd_pb2.CheckTokenRequest, lockd_pb2.CheckTokenResponse, "check_token")
OPEN_SESSION = Method(
    f"{_SERVICE}/OpenSession", lockd_pb2.OpenSessionRequest, lockd_pb2.OpenSessionResponse, "open_session"
)
KEEP_ALIVE = Method(f"{_SERVICE}/KeepAlive", lockd_pb2.KeepAliveRequest, lockd_pb2.KeepAliveResponse, "keep_alive")
CLOSE_SESSION = Method(
    f"{_SERVICE}/CloseSession", lockd_pb2.CloseSessionRequest, lockd_pb2.CloseSessionResponse, "close_session"
)
KEEPING = (RENEW, KEEP_ALIVE)
"""They leave before what waits to be sent: many locks that are asked for at once must not end those that are held."""

STATUS = Method("/lockd.v1.ClusterService/Status", lockd_pb2.StatusRequest, lockd_pb2.StatusResponse, "status")

_ACCESS = "/lockd.v1.AccessService"

CREATE_TOKEN = Method(f"{_ACCESS}/CreateToken", lockd_pb2.CreateTokenRequest, lockd_pb2.CreateTokenResponse)
LIST_TOKENS = Method(f"{_ACCESS}/ListTokens", lockd_pb2.ListTokensRequest, lockd_pb2.ListTokensResponse)
REVOKE_TOKEN = Method(f"{_ACCESS}/RevokeToken", lockd_pb2.RevokeTokenRequest, lockd_pb2.RevokeTokenResponse)

_REGISTRY = "/lockd.v1.RegistryService"

REGISTER = Method(f"{_REGISTRY}/Register", lockd_pb2.RegisterRequest, lockd_pb2.RegisterResponse)
UNREGISTER = Method(f"{_REGISTRY}/Unregister", lockd_pb2.UnregisterRequest, lockd_pb2.UnregisterResponse)
LIST_REGISTERED = Method(
    f"{_REGISTRY}/ListRegistered", lockd_pb2.ListRegisteredRequest, lockd_pb2.ListRegisteredResponse
)

WATCH = Method(f"{_SERVICE}/Watch", lockd_pb2.WatchRequest, lockd_pb2.WatchResponse)  # answers are a stream
STREAM = Method(f"{_SERVICE}/Stream", lockd_pb2.StreamRequest, lockd_pb2.StreamResponse)  # both are

LOCK_BY_NAME = Method("/lockapi.Locking/Lock", lockapi_pb2.LockName, lockapi_pb2.LockResult)
UNLOCK_BY_NAME = Method("/lockapi.Locking/Unlock", lockapi_pb2.LockName, lockapi_pb2.LockResult)
IS_LOCKED_BY_NAME = Method("/lockapi.Locking/IsLocked", lockapi_pb2.LockName, lockapi_pb2.LockState)
