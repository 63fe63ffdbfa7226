"""Forks of a process that uses blocking clients: gRPC is brought to rest before, and begun anew in the child.

gRPC survives a fork only if its fork support was on before it was loaded and no thread is inside a call (tried with
grpcio 1.85.1: otherwise the child hangs, in the fork itself or in its first call, past every deadline). So channels.py
turns the support on; a fork holds back new calls, waits a while for those in flight and then breaks their connections,
as any connection may break; and a child makes channels of its own.

What Python's hooks of a fork raise is dropped. So handlers of signals are put off until it is over, and run after it.
"""

import os
import threading
import time
import weakref
from typing import Protocol

from lockd_client.interrupts import put_off

FORK_S = 1.0  # how long a fork waits for calls in flight, and then for their connections to end


class Forkable(Protocol):
    def hold_back(self) -> None:
        """New calls wait."""

    def come_to_rest(self, patience: float) -> None:
        """Waits so many seconds for calls in flight, then breaks their connections."""

    def freeze(self) -> None:
        """No other thread changes anything until thaw()."""

    def thaw(self) -> None:
        """In the parent: goes on."""

    def start_over(self) -> None:
        """In the child: forgets what was the parent's."""


class _Forks:
    def __init__(self) -> None:
        self.members: weakref.WeakSet[Forkable] = weakref.WeakSet()
        self._one = threading.Lock()  # fork at a time
        self._frozen: list[Forkable] = []

    def before(self) -> None:
        put_off.__enter__()
        self._one.acquire()
        self._frozen = list(self.members)
        for member in self._frozen:
            member.hold_back()
        end = time.monotonic() + FORK_S
        for member in self._frozen:
            member.come_to_rest(max(0.0, end - time.monotonic()))
        for member in self._frozen:
            member.freeze()

    def in_parent(self) -> None:
        frozen, self._frozen = self._frozen, []
        for member in frozen:
            member.thaw()
        self._one.release()
        put_off.exit_later()

    def in_child(self) -> None:
        self._one = threading.Lock()
        self._frozen = []
        for member in list(self.members):
            member.start_over()


_FORKS = _Forks()
_registering = threading.Lock()
_is_registered = False
_kept: list[object] = []


def join(member: Forkable, channel: object) -> None:
    """From now on it takes part in forks, as long as it lives.

    channel: one of gRPC's. Call this once it has been made: gRPC has its own handler from then on, which stops its
    threads, and what was registered last runs first before a fork. The first channel is kept, open or closed: when the
    last one goes, gRPC shuts down in a thread of its own, and a child that was forked meanwhile waits for the end of
    that for ever.
    """
    global _is_registered
    with _registering:
        _FORKS.members.add(member)
        if not _is_registered and hasattr(os, "register_at_fork"):
            os.register_at_fork(before=_FORKS.before, after_in_parent=_FORKS.in_parent, after_in_child=_FORKS.in_child)
            _is_registered = True
            _kept.append(channel)
