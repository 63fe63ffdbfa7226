"""Frames between peers over TCP, and the defences that stand before them.

Every node dials every other one. A raft connection carries frames one way, from the node that dialled it, so
two nodes are joined by two connections and neither has to agree with the other on which one counts. A snapshot
is fetched on a connection of its own, so that its bulk never stands before a heartbeat.

On the wire a frame is its length (4 bytes, big-endian) and its body. A connection opens with three of them:

    dialled node    Challenge   a nonce
    dialler         Hello       who, to whom, what for, a nonce, proof of the secret over all of it and both nonces
    dialled node    Welcome     proof of the secret, under another tag; or why not

Until the Hello has been checked, a stranger costs one socket, at most a kilobyte of parsing and two seconds.
The proofs say who opened the connection. They do not cover what comes after: on a network where others can
write into a TCP stream, that is TLS's work (`Security`). With TLS both ends show a certificate before the Challenge,
and each must name the member that its owner says it is: who has a certificate and no secret stays out, and so does
who has the secret and no certificate, or another member's.

Order: TCP keeps frames of one connection in order and delivers none twice. A peer's new raft connection closes
its previous one at the moment it is authenticated, and whatever of the old one was still unread is dropped. One
that takes over (`RAFT_NEXT`) is not read before the previous one has ended: its dialler has sent the rest there and
closed it. An empty frame from the node that was dialled asks the dialler to make such a one.
"""

from .link import TcpLink
from .node import Address, Limits
from .tls import Security, contexts

__all__ = ["Address", "Limits", "Security", "TcpLink", "contexts"]
