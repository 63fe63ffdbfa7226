"""One line of the log for each thing that only an admin does, and for who was kept out. What breaks a hold is an event,
too. No secret is ever part of a line. Of a declared token's hash there are the digits that tell it apart.
"""

from collections import Counter

import structlog

from lockd.complaints import Complaints
from lockd.machine import commands as c
from lockd.machine import outcomes as o
from lockd.raft.errors import RaftError

from .refusal import Reason, Refused

log = structlog.get_logger("lockd.audit")

_KEPT_OUT = (Reason.UNAUTHENTICATED, Reason.PERMISSION_DENIED)


def note(command: c.Command, outcome: o.Outcome | RaftError, peer: str, identity: str, credential: str) -> None:
    """What a command was answered; to be called once, by the node that took it. Of most commands nothing is said."""
    said: dict[str, object]
    match command:
        case c.Release(force=True):
            event, done = "lock broken", isinstance(outcome, o.Released)
            said = {"token": command.token, "reason": command.reason, "label": command.owner}
        case c.CreateCredential():
            event, done = "token created", isinstance(outcome, o.CredentialCreated)
            said = {"name": command.name, "role": command.role.name.lower(), "prefixes": list(command.prefixes)}
        case c.RevokeCredential():
            event, done = "token revoked", outcome == o.CredentialRevoked(found=True)
            said = {"id": command.id}
        case _:
            return
    if isinstance(outcome, o.CredentialCreated):
        said = {"id": outcome.id, **said}
    result = "done" if done else outcome.name if isinstance(outcome, o.Refusal) else type(outcome).__name__
    log.info(event, outcome=result, identity=identity, credential=credential, peer=peer, **said)


class Refusals:
    """Counts what was refused since this process began, and says who was kept out: of each the first in a minute."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """By the limit's name where one was met, else by reason."""
        self._complaints = Complaints(log)

    def note(self, refused: Refused, peer: str, identity: str = "") -> None:
        """peer: as gRPC writes it, with its port."""
        self.counts[refused.limit or refused.reason.name] += 1
        if refused.reason in _KEPT_OUT:
            host = peer.rpartition(":")[0]
            who = {"reason": refused.reason.name, "identity": identity, "peer": host}
            self._complaints.say("kept out", detail=str(refused), **who)
