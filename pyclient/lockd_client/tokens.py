"""The calls that manage tokens, as values. Secrets are made here; the cluster gets their hashes."""

import hashlib
import secrets
from collections.abc import Iterable

from lockd_client import methods, translate
from lockd_client.attempts import Repeat
from lockd_client.calls import Call, arguments
from lockd_client.errors import InvalidArgument
from lockd_client.proto import lockd_pb2
from lockd_client.settings import checked_token
from lockd_client.values import AccessToken, NewToken, RequestId, Role

SECRET_PREFIX = "lockd_"  # noqa: S105  # so that programs that look for lost secrets can know them
SECRET_BYTES = 32
PAGE = 100


def create(
    name: str,
    role: Role | str,
    prefixes: Iterable[str],
    secret: str | None,
    request: RequestId | None,
) -> Call[NewToken]:
    """Raises InvalidArgument."""
    if isinstance(prefixes, str):
        raise InvalidArgument(f"prefixes is a list, as in prefixes=[{prefixes!r}]")
    chosen = SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES) if secret is None else checked_token(secret, "secret")
    spread = tuple(prefixes)
    with arguments():
        message = lockd_pb2.CreateTokenRequest(
            name=name,
            role=translate.role_message(role),
            prefixes=spread,
            secret_sha256=hashlib.sha256(chosen.encode()).digest(),
        )
    return Call(
        method=methods.CREATE_TOKEN,
        message=message,
        decode=lambda answer, _: NewToken(
            id=answer.token_id, name=name, role=Role(role), prefixes=spread, secret=chosen
        ),
        repeat=Repeat.SAFE,
        identified=True,
        request=request,
    )


def page(after: int) -> Call[tuple[list[AccessToken], int]]:
    """Tokens, and what the next page is after; 0: these were the last."""
    return Call(
        method=methods.LIST_TOKENS,
        message=lockd_pb2.ListTokensRequest(after=after, limit=PAGE),
        decode=lambda answer, _: ([translate.access_token(each) for each in answer.tokens], answer.next),
        repeat=Repeat.READ,
    )


def revoke(id: int) -> Call[bool]:
    """Raises InvalidArgument."""
    with arguments():
        message = lockd_pb2.RevokeTokenRequest(token_id=id)
    return Call(
        method=methods.REVOKE_TOKEN,
        message=message,
        decode=lambda answer, _: bool(answer.revoked),
        repeat=Repeat.SAFE,
    )
