"""The calls that this client makes, as data: name on the wire, request, answer."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from lockd_client.proto import lockapi_pb2, lockd_pb2

RequestT = TypeVar("RequestT", bound=Message)
AnswerT = TypeVar("AnswerT", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[RequestT, AnswerT]):
    path: str
    request: type[RequestT]
    answer: type[AnswerT]


LOCK = Method("/lockd.v1.LockService/Lock", lockd_pb2.LockRequest, lockd_pb2.LockResponse)
UNLOCK = Method("/lockd.v1.LockService/Unlock", lockd_pb2.UnlockRequest, lockd_pb2.UnlockResponse)
RENEW = Method("/lockd.v1.LockService/Renew", lockd_pb2.RenewRequest, lockd_pb2.RenewResponse)
IS_LOCKED = Method("/lockd.v1.LockService/IsLocked", lockd_pb2.IsLockedRequest, lockd_pb2.IsLockedResponse)
LIST = Method("/lockd.v1.LockService/List", lockd_pb2.ListRequest, lockd_pb2.ListResponse)
STATUS = Method("/lockd.v1.ClusterService/Status", lockd_pb2.StatusRequest, lockd_pb2.StatusResponse)

LOCK_BY_NAME = Method("/lockapi.Locking/Lock", lockapi_pb2.LockName, lockapi_pb2.LockResult)
UNLOCK_BY_NAME = Method("/lockapi.Locking/Unlock", lockapi_pb2.LockName, lockapi_pb2.LockResult)
IS_LOCKED_BY_NAME = Method("/lockapi.Locking/IsLocked", lockapi_pb2.LockName, lockapi_pb2.LockState)
