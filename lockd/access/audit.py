"""One line of the log for each thing that only an admin does, and who did it. What breaks a hold is an event as well.

No secret and no hash of one is ever part of a line.
"""

import structlog

from lockd.machine import commands as c
from lockd.machine import outcomes as o
from lockd.raft.errors import RaftError

log = structlog.get_logger("lockd.audit")


def note(command: c.Command, outcome: o.Outcome | RaftError, peer: str, identity: str) -> None:
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
    log.info(event, outcome=result, identity=identity, peer=peer, **said)
