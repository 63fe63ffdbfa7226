"""Entries of type lockd."""

import inspect
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from lockd_client.client import LockdClient
from lockd_client.distributed_lock.servers import PROBE_S, TTL_S, Hold, Unreachable
from lockd_client.errors import InvalidArgument, LockdError
from lockd_client.locks import Lock

FIELDS = frozenset(inspect.signature(LockdClient).parameters) | {"ttl"}


class LockdHold:
    def __init__(self, lock: Lock) -> None:
        self._lock = lock

    @property
    def token(self) -> int:
        return self._lock.token

    def acquire(self, wait: float) -> bool:
        return self._lock.acquire(timeout=wait)

    def release(self) -> None:
        self._lock.release()

    def abandon(self) -> None:
        """The lock undoes what was broken off inside its own methods."""
        if self._lock.owned:
            with suppress(LockdError):
                self._lock.release()


class LockdServer:
    def __init__(self, config: Mapping[str, Any]) -> None:
        arguments = dict(config)
        self._ttl = float(arguments.pop("ttl", TTL_S))
        with LockdClient(**{**arguments, "timeout": PROBE_S}) as probe:
            _probe(probe)
        self.client = LockdClient(**arguments)

    def hold(self, name: str, *, shared: bool) -> Hold:
        return LockdHold(self.client.lock(name, self._ttl, shared=shared))

    def close(self) -> None:
        self.client.close()


def _probe(client: LockdClient) -> None:
    """Whether a node answers; it need not know a leader, for which a lock then waits. Raises Unreachable."""
    refusals = []
    for endpoint in client.endpoints:
        try:
            client.status(endpoint)
        except InvalidArgument:
            raise
        except LockdError as error:
            refusals.append(error.last_error or str(error))
        else:
            return
    raise Unreachable("; ".join(refusals))
