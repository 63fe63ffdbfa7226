"""Labels of the threads and tasks that use a client: the unit of re-entrancy and of deadlock detection. Pure but for
what counts them.
"""

import asyncio
import os
import threading
import weakref
from itertools import count

_PREFIX_BYTES = 6


class ThreadAgents:
    """One label for each thread that asks, never used again for another: thread idents are."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._prefix = os.urandom(_PREFIX_BYTES).hex()
        self._numbers = count(1)
        self._local = threading.local()

    def label(self) -> str:
        if self._process != os.getpid():
            self._begin()
        label: str | None = getattr(self._local, "label", None)
        if label is None:
            label = self._local.label = f"{self._prefix}/thread-{next(self._numbers)}"
        return label


class TaskAgents:
    """The same for tasks."""

    def __init__(self) -> None:
        self._prefix = os.urandom(_PREFIX_BYTES).hex()
        self._numbers = count(1)
        self._labels: weakref.WeakKeyDictionary[asyncio.Task[object], str] = weakref.WeakKeyDictionary()

    def label(self) -> str:
        """Of the running task."""
        task = asyncio.current_task()
        if task is None:
            return f"{self._prefix}/no-task"
        if task not in self._labels:
            self._labels[task] = f"{self._prefix}/task-{next(self._numbers)}"
        return self._labels[task]
