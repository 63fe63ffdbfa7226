"""Who a caller is, and what they may do: tokens of the log and of cluster.yml, client certificates, roles, prefixes.

A credential is one token or certificate, written `token:ID`, `file:DIGITS` or `cert:NAME`. An identity is the name that
it gives; several credentials may give one name, and are one caller then.

A node looks before it proposes, by what it has applied. That may lag: so the leader looks again, at what its followers
propose, by all that was committed before. After a revocation has been answered nothing of that token is done.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lockd.config import NAME, NAME_IS, Auth, DeclaredToken, RoleName
from lockd.machine import commands as c
from lockd.machine import outcomes as o
from lockd.machine.commands import Role
from lockd.machine.outcomes import Refusal
from lockd.machine.state import State
from lockd.machine.tables import Credential

from .refusal import Reason, Refused

_TOKEN, _FILE, _CERT = "token:", "file:", "cert:"
_DIGITS = 16
"""Of a declared token's credential: as many as tell them apart."""

_NUMBER_DIGITS = 19
"""Of a token's id, at most."""

_ROLES: Mapping[RoleName, Role] = {"read": Role.READ, "lock": Role.LOCK, "admin": Role.ADMIN}


class Identity(NamedTuple):
    name: str = ""
    """Empty where nobody is asked."""
    credential: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a credential is good for. prefixes: of locks; none: all."""

    name: str
    role: Role
    prefixes: tuple[str, ...]

    def covers(self, text: str) -> bool:
        """Whether a name, or all names with this prefix, are within the prefixes."""
        return not self.prefixes or text.startswith(self.prefixes)


@dataclass(frozen=True, slots=True)
class Need:
    """What a command asks of its caller. names: that the grant must cover; everywhere: it must have no prefixes."""

    role: Role
    names: Callable[[Any, State], Iterable[str]] = lambda _command, _state: ()
    everywhere: bool = False


def _to_release(ask: c.Release, state: State) -> Iterable[str]:
    """What belongs to the caller may be freed under any name; what is broken must be covered."""
    hold = state.holds.get(ask.token) if ask.force else None
    return (ask.name, *(name for name, _ in hold.wants)) if hold else (ask.name,) if ask.name else ()


def _locks(kind: c.Kind, name: str) -> Iterable[str]:
    """A resource is a lock. A client is an owner, which is a label."""
    return (name,) if name and kind is c.Kind.RESOURCE else ()


def _to_unregister(ask: c.Unregister, state: State) -> Iterable[str]:
    entry = state.registry.get(ask.id)
    return _locks(ask.kind, entry.name) if entry and entry.kind is ask.kind else ()


_EVERYWHERE = Need(Role.ADMIN, everywhere=True)
_NEEDS: Mapping[type, Need] = {
    c.Acquire: Need(Role.LOCK, lambda ask, _: (name for name, _ in ask.wants)),
    c.Release: Need(Role.LOCK, _to_release),
    c.Cancel: Need(Role.LOCK),
    c.Renew: Need(Role.LOCK),
    c.OpenSession: Need(Role.LOCK),
    c.KeepAlive: Need(Role.LOCK),
    c.CloseSession: Need(Role.LOCK),
    c.IsLocked: Need(Role.READ, lambda ask, _: (ask.name,)),
    c.Get: Need(Role.READ, lambda ask, _: (ask.name,)),
    c.ListHolds: Need(Role.READ, lambda ask, _: (ask.prefix,) if ask.prefix or not ask.token else ()),
    c.CheckToken: Need(Role.READ, lambda ask, _: (ask.name,)),
    c.Register: Need(Role.LOCK, lambda ask, _: _locks(ask.kind, ask.name)),
    c.Unregister: Need(Role.LOCK, _to_unregister),
    c.ListRegistered: Need(Role.READ, lambda ask, _: _locks(ask.kind, ask.name)),
    c.CreateCredential: _EVERYWHERE,
    c.RevokeCredential: _EVERYWHERE,
    c.ListCredentials: _EVERYWHERE,
}
"""Of what callers ask. What is missing here is the nodes' own."""

_FORCE = Need(Role.ADMIN, _to_release)
_READ = Need(Role.READ)

_UNSEEN = o.Link(owner="", session=0, agent="", name="")


class Authority:
    def __init__(self, auth: Auth | None, state: Callable[[], State]) -> None:
        """auth: None where nobody is asked who they are, and everybody may do everything. state: as applied here."""
        self.is_open = auth is None
        self._state = state
        self.declare(auth or Auth())

    def declare(self, auth: Auth) -> None:
        """What cluster.yml grants, from now on."""
        self._declared = {_of_file(token.sha256): token for token in auth.tokens}
        self._certificates = {grant.name: grant for grant in auth.certificates}

    # -- who

    def of_secret(self, secret: str) -> Identity:
        """Raises Refused.

        Secrets are looked up by their hashes: how long that takes may tell something of a hash, but nobody can choose a
        secret by its hash.
        """
        sha256 = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
        credential = _of_file(sha256)
        found: DeclaredToken | Credential | None = self._declared.get(credential)
        if found is None:
            found = self._state().credential_of(sha256)
            credential = f"{_TOKEN}{found.id}" if found else ""
        if found is None or not hmac.compare_digest(found.sha256, sha256):
            raise Refused(Reason.UNAUTHENTICATED, "this token is not known here: it was revoked, or was never valid")
        return Identity(found.name, credential)

    def of_certificate(self, name: str) -> Identity:
        """Of a client certificate that was verified. Raises Refused."""
        if not NAME.fullmatch(name):
            raise Refused(
                Reason.UNAUTHENTICATED, f"the client certificate's name cannot be an identity: it takes {NAME_IS}"
            )
        if not self.is_open and name not in self._certificates:
            raise Refused(
                Reason.UNAUTHENTICATED, f"auth.certificates of cluster.yml has no {name}, and the call has no token"
            )
        return Identity(name, _CERT + name)

    def knows(self, credential: str) -> bool:
        """Whether it is good for anything (still)."""
        return self.is_open or self._grant(credential) is not None

    def _grant(self, credential: str) -> Grant | None:
        if credential.startswith(_TOKEN):
            found = self._state().credentials.get(_number(credential.removeprefix(_TOKEN)))
            return Grant(found.name, found.role, found.prefixes) if found else None
        declared = (
            self._certificates.get(credential.removeprefix(_CERT))
            if credential.startswith(_CERT)
            else self._declared.get(credential)
        )
        return Grant(declared.name, _ROLES[declared.role], declared.prefixes) if declared else None

    # -- what

    def check(self, credential: str, command: c.Command) -> None:
        """Before a command of a caller is proposed, or answered from here. Raises Refused."""
        if not self.is_open:
            self._check(credential, _need(command), command)

    def check_watch(self, credential: str, prefix: str) -> None:
        """Raises Refused."""
        if not self.is_open:
            self._check(credential, Need(Role.READ, lambda _command, _state: (prefix,)), None)

    def check_known(self, credential: str) -> None:
        """For what every caller may ask. Raises Refused."""
        if not self.is_open:
            self._check(credential, _READ, None)

    def judge(self, credential: str, command: c.Command | None) -> Refusal | None:
        """What a leader asks. The nodes' own commands need no credential, and callers' do."""
        if self.is_open or (not credential and (command is None or type(command) not in _NEEDS)):
            return None
        try:
            self._check(credential, _READ if command is None else _need(command), command)
        except Refused as refused:
            return Refusal.UNKNOWN_CALLER if refused.reason is Reason.UNAUTHENTICATED else Refusal.DENIED
        return None

    def sees(self, credential: str, name: str) -> bool:
        """Whether an event may show this name to this caller."""
        if self.is_open:
            return True
        grant = self._grant(credential)
        return grant is not None and grant.covers(name)

    def shown(self, credential: str, command: c.Command, outcome: o.Outcome) -> o.Outcome:
        """The outcome, without what it tells of names that this caller may not know of.

        A token leads to a hold's names, a list of resources to all of them, and a cycle to those for which others wait.
        Of the rest the caller gave the names.
        """
        if self.is_open:
            return outcome
        match command, outcome:
            case _, o.NotHeld(holders):
                return o.NotHeld(self._seen(credential, holders))
            case c.ListHolds(token=token), o.Page(holders) if token:
                return o.Page(self._seen(credential, holders))
            case c.ListRegistered(kind=c.Kind.RESOURCE), o.Registered(kind, entries, next):
                return o.Registered(kind, tuple(entry for entry in entries if self.sees(credential, entry[1])), next)
            case _, o.Deadlock(cycle):
                return o.Deadlock(tuple(link if self.sees(credential, link.name) else _UNSEEN for link in cycle))
        return outcome

    def _seen(self, credential: str, holders: tuple[o.Holder, ...]) -> tuple[o.Holder, ...]:
        return tuple(holder for holder in holders if self.sees(credential, holder.name))

    def _check(self, credential: str, need: Need, command: c.Command | None) -> None:
        grant = self._grant(credential)
        if grant is None:
            raise Refused(Reason.UNAUTHENTICATED, "the caller's token, or certificate, is not known here (any more)")
        if grant.role.value < need.role.value:
            raise Refused(
                Reason.PERMISSION_DENIED,
                f"{grant.name} has the role {grant.role.name.lower()}; this takes {need.role.name.lower()}",
            )
        if command is not None and _caller(command) not in (None, grant.name):
            raise Refused(Reason.PERMISSION_DENIED, f"the command is not that of {grant.name}")
        if need.everywhere and grant.prefixes:
            raise Refused(
                Reason.PERMISSION_DENIED, f"{grant.name} is bound to prefixes; this takes a token for all names"
            )
        if grant.prefixes:
            self._check_is_known(grant, command)
        for name in need.names(command, self._state()):
            if not grant.covers(name):
                raise Refused(
                    Reason.PERMISSION_DENIED,
                    f"{_said(command, name)} is outside of the prefixes of {grant.name}: "
                    f"{', '.join(map(repr, grant.prefixes))}",
                )

    def _check_is_known(self, grant: Grant, command: c.Command | None) -> None:
        """Tokens and ids are numbers in a row: a later one may be of any lock when the command is applied."""
        scalars = self._state().scalars
        match command:
            case c.Release(force=True, token=number):
                last = scalars.last_token
            case c.Unregister(kind=c.Kind.RESOURCE, id=number):
                last = scalars.last_entry_id
            case _:
                return
        if number > last:
            raise Refused(
                Reason.PERMISSION_DENIED,
                f"{_said(command, None)} is not known here (yet), nor whether it is within the prefixes of "
                f"{grant.name}",
            )


def _of_file(sha256: bytes) -> str:
    """The credential of a declared token: the same on every node, and no part of the hash that stands in the file."""
    return _FILE + hashlib.sha256(b"lockd credential " + sha256).hexdigest()[:_DIGITS]


def _number(digits: str) -> int:
    """Of a credential that another node sent; 0, which no token has, where it is none."""
    return int(digits) if digits.isdecimal() and len(digits) <= _NUMBER_DIGITS else 0


def _caller(command: c.Command) -> str | None:
    """Whose command it says it is; None of what belongs to nobody."""
    match command:
        case c.Acquire() | c.Release() | c.OpenSession() | c.CreateCredential():
            return command.request.key.caller
        case c.Cancel():
            return command.key.caller
        case c.Renew() | c.KeepAlive() | c.CloseSession():
            return command.caller
    return None


def _said(command: c.Command | None, name: str | None) -> str:
    """What a refusal calls this name: whoever gave only a number learns no name of a lock by it."""
    match command:
        case c.Release() if name != command.name:
            return f"hold {command.token}"
        case c.Unregister():
            return f"resource {command.id}"
    return repr(name)


def _need(command: c.Command) -> Need:
    if isinstance(command, c.Release) and command.force:
        return _FORCE
    return _NEEDS.get(type(command), _EVERYWHERE)
