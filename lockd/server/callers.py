"""Who a gRPC call comes from: its bearer token, or the client certificate of its connection."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from lockd.access.admission import Caller
from lockd.access.authority import Authority, Identity
from lockd.access.refusal import Reason, Refused
from lockd.pki.names import CLIENT

HEADER = "authorization"
SCHEME = "bearer "

Context = grpc.aio.ServicerContext[Any, Any]
IsNode = Callable[[frozenset[str]], bool]
CatchUp = Callable[[], Awaitable[bool]]


def nobody(_names: frozenset[str]) -> bool:
    """Of a node that asks for no client certificates."""
    return False


class Callers:
    def __init__(self, authority: Authority, catch_up: CatchUp, is_node: IsNode = nobody) -> None:
        """catch_up: whether this node has come to know all tokens that there were when it was asked to.

        is_node: whether a certificate with these subject alternative names is a member's.
        """
        self._authority, self._catch_up, self._is_node = authority, catch_up, is_node

    async def caller(self, context: Context, timeout_s: float | None = None) -> Caller:
        """Raises Refused."""
        identity = await self._identity(context)
        return Caller(context.peer(), timeout_s, identity.name, identity.credential)

    async def _identity(self, context: Context) -> Identity:
        certificate = self._certificate(context.auth_context())
        if self._authority.is_open:
            return self._authority.of_certificate(certificate) if certificate else Identity()
        secret = _secret(context)
        if secret:
            return await self._of_secret(secret)
        if certificate:
            return self._authority.of_certificate(certificate)
        raise Refused(
            Reason.UNAUTHENTICATED,
            "the call has no token: send it as metadata, authorization: Bearer TOKEN (LOCKD_TOKEN, --token-file)",
        )

    async def _of_secret(self, secret: str) -> Identity:
        """A token may have been made a moment ago, and this node may lag: it catches up before it judges."""
        try:
            return self._authority.of_secret(secret)
        except Refused:
            if not await self._catch_up():
                raise Refused(Reason.NO_LEADER, "this node reaches no leader, and does not know this token") from None
        return self._authority.of_secret(secret)

    def _certificate(self, auth: Any) -> str:
        """The name in the client's certificate; empty where there was none."""
        common = auth.get("x509_common_name")
        names = frozenset(_text(name) for name in auth.get("x509_subject_alternative_name", ()))
        if not common and not names:
            return ""
        if self._is_node(names):
            raise Refused(Reason.UNAUTHENTICATED, "this is the certificate of a node, and no client's")
        ours = sorted(name.removeprefix(CLIENT) for name in names if name.startswith(CLIENT))
        if len(ours) > 1:
            raise Refused(Reason.UNAUTHENTICATED, "the client certificate names more than one client")
        return ours[0] if ours else _text(common[0]) if common else ""


class Strangers(Callers):
    """For health and reflection, which say nothing of any lock: whoever reaches the port may ask."""

    def __init__(self) -> None:
        """Asks nobody."""

    async def _identity(self, context: Context) -> Identity:
        return Identity()


def _secret(context: Context) -> str:
    """Raises Refused where there is a header, and no one token in it."""
    values = [value for key, value in context.invocation_metadata() or () if key == HEADER]
    if not values:
        return ""
    text = _text(values[0])
    if len(values) > 1 or text[: len(SCHEME)].lower() != SCHEME:
        raise Refused(Reason.UNAUTHENTICATED, "the authorization header takes one token: Bearer TOKEN")
    return text[len(SCHEME) :].strip()


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
