"""What every connection of one node shares: its bounds, its complaints, the options of its sockets."""

import asyncio
import contextlib
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from lockd.complaints import Complaints
from lockd.raft.ports import LinkEvents

from .tls import Security

log = structlog.get_logger(__name__)

Address = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of a link. `_s` are seconds, `_bytes` bytes."""

    frame_bytes_max: int = 16 * 1024 * 1024
    """A longer frame closes its connection. All nodes of a cluster need the same."""
    queue_bytes_max: int = 64 * 1024 * 1024
    """A peer that lets more than this wait to be sent loses its connection. At least one frame_bytes_max."""
    handshake_bytes_max: int = 1024
    """The longest frame from somebody who has not proved anything yet."""
    handshake_s: float = 2.0
    """From dialling, or from being dialled, to the last frame of the handshake, TLS's included."""
    tls_bytes_max: int = 64 * 1024
    """What may arrive in TLS from somebody who has not proved anything yet: certificates above all."""
    renewal_grace_s: float = 10.0
    """How long connections made before a renewal may live, and those to peers that are not believed after it."""
    strangers_max: int = 64
    """Accepted connections before authentication; one more closes the oldest, so that a flood keeps nobody out."""
    redial_s_min: float = 0.02
    redial_s_max: float = 0.5
    """The pause between two attempts doubles from min to max, jittered down by up to a half."""
    silence_s: float = 3.0
    """A peer whose kernel has acknowledged nothing for this long is gone (half-open connections)."""
    fetch_silence_s: float = 5.0
    """A snapshot that is being fetched and brings not one byte for this long has broken off."""
    serve_stall_s: float = 30.0
    """A peer that fetches and takes nothing for this long loses its connection."""
    snapshots_per_peer_max: int = 2
    """Snapshots served to one peer at once. Two, so that one whose end is not noticed yet blocks no retry."""


@dataclass(kw_only=True)
class Node:
    """What every connection of one link knows. Only `security` changes, for connections that are made afterwards."""

    me: int
    addresses: Mapping[int, Address]
    secret: bytes
    limits: Limits
    random: random.Random
    security: Security | None
    events: LinkEvents
    complaints: Complaints


def tune(sock: socket.socket, silence_s: float) -> None:
    options = {
        "TCP_NODELAY": 1,
        "TCP_KEEPIDLE": 1,
        "TCP_KEEPINTVL": 1,
        "TCP_KEEPCNT": max(1, round(silence_s) - 1),
        # Keepalive looks at idle connections only; this one at those with unacknowledged data too. Linux.
        "TCP_USER_TIMEOUT": round(silence_s * 1000),
    }
    with contextlib.suppress(OSError):  # some systems refuse options on a connection that has just ended
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def describe(error: OSError) -> str:
    return error.strerror or str(error) or "timed out"


def report_failure(task: asyncio.Task[None]) -> None:
    """A task that nobody awaits must not fail in silence."""
    if not task.cancelled() and (error := task.exception()):
        log.error("peer task failed", task=task.get_name(), exc_info=error)
