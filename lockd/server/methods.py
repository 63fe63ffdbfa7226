"""The table of calls: what each asks of the machine and how it is answered. A Stream's operations are the same."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from lockd.machine.commands import Call, Command
from lockd.machine.outcomes import Outcome
from lockd_client.proto import lockd_pb2 as pb

from . import translate
from .translate import Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """make: from the message, the call, and the request id where the message has one, else the caller's identity."""

    field: str
    """Of Operation and of Result."""
    response: type[Message]
    make: Callable[[Any, Call, Any], Command]
    encode: Callable[[Outcome, int], Fields]
    has_request: bool = False
    waits: bool = False
    """Its message has a wait_ms."""
    frees: bool = False
    """What frees a hold, or keeps it, has room where others find none."""
    may_be_stale: bool = False


METHODS = {
    "Lock": Method(
        field="lock",
        response=pb.LockResponse,
        make=translate.acquire,
        encode=translate.lock_response,
        has_request=True,
        waits=True,
    ),
    "Unlock": Method(
        field="unlock",
        response=pb.UnlockResponse,
        make=translate.release,
        encode=translate.unlock_response,
        has_request=True,
        frees=True,
    ),
    "Cancel": Method(
        field="cancel",
        response=pb.CancelResponse,
        make=translate.cancel,
        encode=translate.cancel_response,
        frees=True,
    ),
    "IsLocked": Method(
        field="is_locked",
        response=pb.IsLockedResponse,
        make=translate.is_locked,
        encode=translate.is_locked_response,
        may_be_stale=True,
    ),
    "Get": Method(
        field="get",
        response=pb.GetResponse,
        make=translate.get,
        encode=translate.get_response,
        may_be_stale=True,
    ),
    "List": Method(
        field="list",
        response=pb.ListResponse,
        make=translate.list_holds,
        encode=translate.list_response,
        may_be_stale=True,
    ),
    "Renew": Method(
        field="renew",
        response=pb.RenewResponse,
        make=translate.renew,
        encode=translate.renew_response,
        frees=True,
    ),
    "CheckToken": Method(
        field="check_token",
        response=pb.CheckTokenResponse,
        make=translate.check_token,
        encode=translate.check_token_response,
    ),
    "OpenSession": Method(
        field="open_session",
        response=pb.OpenSessionResponse,
        make=translate.open_session,
        encode=translate.open_session_response,
        has_request=True,
    ),
    "KeepAlive": Method(
        field="keep_alive",
        response=pb.KeepAliveResponse,
        make=translate.keep_alive,
        encode=translate.keep_alive_response,
        frees=True,
    ),
    "CloseSession": Method(
        field="close_session",
        response=pb.CloseSessionResponse,
        make=translate.close_session,
        encode=translate.close_session_response,
        frees=True,
    ),
}

BY_FIELD = {method.field: method for method in METHODS.values()}

ACCESS_METHODS = {
    "CreateToken": Method(
        field="",
        response=pb.CreateTokenResponse,
        make=translate.create_token,
        encode=translate.create_token_response,
        has_request=True,
    ),
    "ListTokens": Method(
        field="",
        response=pb.ListTokensResponse,
        make=translate.list_tokens,
        encode=translate.list_tokens_response,
    ),
    "RevokeToken": Method(
        field="",
        response=pb.RevokeTokenResponse,
        make=translate.revoke_token,
        encode=translate.revoke_token_response,
        frees=True,
    ),
}
"""Of AccessService. No stream carries them."""

REGISTRY_METHODS = {
    "Register": Method(
        field="",
        response=pb.RegisterResponse,
        make=translate.register,
        encode=translate.register_response,
    ),
    "Unregister": Method(
        field="",
        response=pb.UnregisterResponse,
        make=translate.unregister,
        encode=translate.unregister_response,
    ),
    "ListRegistered": Method(
        field="",
        response=pb.ListRegisteredResponse,
        make=translate.list_registered,
        encode=translate.list_registered_response,
    ),
}
"""Of RegistryService. No stream carries them."""
