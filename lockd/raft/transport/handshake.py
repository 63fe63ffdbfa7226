"""How two nodes prove to each other that they know the secret. Nothing here reads or writes."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

from lockd.proto import peers_pb2
from lockd.raft.errors import LinkError

from .frames import framed, parse

PROTOCOL: Final = 1
RAFT: Final = "raft"
RAFT_NEXT: Final = "raft, next"
"""Takes over from a raft connection that the dialler is about to end."""
SNAPSHOT: Final = "snapshot"

_NONCE_BYTES: Final = 32
# One tag for each direction: a proof that was sent to us is never one that we would accept.
_DIALLER_TAG: Final = b"lockd/peers/hello"
_ACCEPTOR_TAG: Final = b"lockd/peers/welcome"


class RefusedError(LinkError):
    """What a dialler is told before the connection closes. Says nothing that depends on the secret's value.

    node is the member that it claims to be; None where it claims to be none.
    """

    def __init__(self, reason: str, node: int | None) -> None:
        super().__init__(reason)
        self.node = node


@dataclass(frozen=True, kw_only=True)
class Claim:
    """All that both proofs of one handshake cover."""

    from_node: int
    to_node: int
    purpose: str
    acceptor_nonce: bytes
    dialler_nonce: bytes
    protocol: int = PROTOCOL

    def proof(self, secret: bytes, tag: bytes) -> bytes:
        fields = (
            tag,
            self.protocol.to_bytes(4, "big"),
            self.from_node.to_bytes(4, "big"),
            self.to_node.to_bytes(4, "big"),
            self.purpose.encode(),
            self.acceptor_nonce,
            self.dialler_nonce,
        )
        # Each with its length: two different claims never have the same encoding.
        return hmac.digest(secret, b"".join(map(framed, fields)), hashlib.sha256)


class Dialling:
    """The dialler's half of one handshake. Both methods raise LinkError at what they cannot accept."""

    def __init__(self, *, me: int, peer: int, secret: bytes, purpose: str) -> None:
        self._me = me
        self._peer = peer
        self._secret = secret
        self._purpose = purpose
        self._claim: Claim | None = None

    def hello(self, challenge_frame: bytes) -> bytes:
        challenge = parse(peers_pb2.Challenge, challenge_frame)
        if challenge.protocol != PROTOCOL:
            raise LinkError(f"peer speaks protocol {challenge.protocol}, this node {PROTOCOL}")
        if len(challenge.nonce) != _NONCE_BYTES:
            raise LinkError("malformed Challenge")
        self._claim = claim = Claim(
            from_node=self._me,
            to_node=self._peer,
            purpose=self._purpose,
            acceptor_nonce=challenge.nonce,
            dialler_nonce=secrets.token_bytes(_NONCE_BYTES),
        )
        return peers_pb2.Hello(
            protocol=claim.protocol,
            from_node=claim.from_node,
            to_node=claim.to_node,
            purpose=claim.purpose,
            nonce=claim.dialler_nonce,
            proof=claim.proof(self._secret, _DIALLER_TAG),
        ).SerializeToString()

    def verify(self, welcome_frame: bytes) -> None:
        welcome = parse(peers_pb2.Welcome, welcome_frame)
        if welcome.refused:
            raise LinkError(f"peer refuses: {welcome.refused}")
        if self._claim is None or not hmac.compare_digest(
            welcome.proof, self._claim.proof(self._secret, _ACCEPTOR_TAG)
        ):
            raise LinkError("peer does not know the secret")


class Accepting:
    """The dialled node's half of one handshake."""

    def __init__(self, *, me: int, members: frozenset[int], secret: bytes) -> None:
        self._me = me
        self._members = members
        self._secret = secret
        self._nonce = secrets.token_bytes(_NONCE_BYTES)

    def challenge(self) -> bytes:
        return peers_pb2.Challenge(nonce=self._nonce, protocol=PROTOCOL).SerializeToString()

    def judge(self, hello_frame: bytes) -> Claim:
        """Raises RefusedError, or LinkError where there is nobody to talk to."""
        hello = parse(peers_pb2.Hello, hello_frame)
        node = hello.from_node if hello.from_node in self._members else None
        if hello.protocol != PROTOCOL:
            raise RefusedError(f"protocol {hello.protocol}, this node speaks {PROTOCOL}", node)
        if node is None or node == self._me:
            raise RefusedError("not a member", None)
        if hello.to_node != self._me:
            raise RefusedError("this is another node", node)
        if hello.purpose not in (RAFT, RAFT_NEXT, SNAPSHOT):
            raise RefusedError("unknown purpose", node)
        claim = Claim(
            from_node=node,
            to_node=self._me,
            purpose=hello.purpose,
            acceptor_nonce=self._nonce,
            dialler_nonce=hello.nonce,
        )
        proven = hmac.compare_digest(hello.proof, claim.proof(self._secret, _DIALLER_TAG))
        if not proven or len(hello.nonce) != _NONCE_BYTES:
            raise RefusedError("no proof of the secret", node)
        return claim

    def welcome(self, claim: Claim) -> bytes:
        return peers_pb2.Welcome(proof=claim.proof(self._secret, _ACCEPTOR_TAG)).SerializeToString()
