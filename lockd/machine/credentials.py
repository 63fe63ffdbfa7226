"""Bearer tokens, which the cluster knows by the hashes of their secrets. Who may do this is decided before."""

from .commands import CreateCredential, Deny, ListCredentials, RevokeCredential
from .outcomes import CredentialCreated, CredentialRevoked, Credentials, CredentialShown, Outcome, Refusal
from .requests import heed, keep, refusal, repeated_once
from .state import State
from .tables import Credential
from .turn import Turn


def create(turn: Turn, ask: CreateCredential) -> None:
    turn.answer(ask.call, _create(turn, ask))


def _create(turn: Turn, ask: CreateCredential) -> Outcome:
    heed(turn, ask.request)
    known = refusal(turn, ask.request)
    if known is not None:
        return repeated_once(turn, known)
    state = turn.state
    if state.credential_of(ask.sha256) is not None:
        return Refusal.SECRET_IN_USE
    id = state.scalars.last_credential + 1
    state.set_scalars(last_credential=id)
    state.put_credential(
        Credential(
            id=id,
            name=ask.name,
            role=ask.role,
            prefixes=ask.prefixes,
            sha256=ask.sha256,
            created_ms=turn.now,
            created_by=ask.request.key.caller,
        )
    )
    return keep(turn, ask.request, CredentialCreated(id), token=id)


def revoke(turn: Turn, ask: RevokeCredential) -> None:
    credential = turn.state.credentials.get(ask.id)
    if credential is not None:
        turn.state.drop_credential(credential)
    turn.answer(ask.call, CredentialRevoked(credential is not None))


def list_credentials(state: State, ask: ListCredentials) -> Credentials:
    found = [row for id, row in state.credentials.items() if id > ask.after]
    page = found[: ask.limit]
    shown = tuple(
        CredentialShown(
            id=row.id,
            name=row.name,
            role=row.role,
            prefixes=row.prefixes,
            created_ms=row.created_ms,
            created_by=row.created_by,
        )
        for row in page
    )
    return Credentials(shown, page[-1].id if len(found) > len(page) else 0)


def deny(turn: Turn, ask: Deny) -> None:
    turn.answer(ask.call, Refusal.DENIED if ask.is_known else Refusal.UNKNOWN_CALLER)
