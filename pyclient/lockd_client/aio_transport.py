"""Where the asyncio client meets gRPC: channels, streams, tasks. It drives an engine (engine.py).

Everything happens on the loop of the first call. One task reads and one writes each stream; another does renewals,
deadlines and whatever nobody waits for. grpc.aio does not survive forks: a child makes a client of its own.
"""

import asyncio
import math
import os
import random
import weakref
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from lockd_client import channels, methods
from lockd_client.attempts import Failure
from lockd_client.calls import Call
from lockd_client.channels import Channels, Way, grpc
from lockd_client.clock import grpc_timeout, now
from lockd_client.credentials import Credentials, Pem
from lockd_client.engine import Engine
from lockd_client.errors import ClientClosed
from lockd_client.links import Action, Ask, Close, HangUp, Link, Open, Write
from lockd_client.operations import Answer, Operation
from lockd_client.proto import lockd_pb2

NAP_S = 1.0  # the longest sleep while there are leases: what a machine sleeps counts in deadlines, but not in timers

T = TypeVar("T")


class _Stream:
    """What carries a link."""

    def __init__(self, link: Link, way: Way) -> None:
        self.link = link
        self.way = way
        self.writable = asyncio.Event()
        self.is_closed = False
        self.call: Any = None
        self.tasks: list[asyncio.Task[None]] = []


class AioTransport:
    """For one loop."""

    def __init__(self, endpoints: Sequence[str], credentials: Credentials, timeout: float) -> None:
        self._credentials = credentials
        self._engine = Engine(endpoints, credentials, timeout=timeout, chance=random.random)
        self.loop: asyncio.AbstractEventLoop | None = None  # of its first call
        self._woken: asyncio.Event | None = None
        self._background: asyncio.Task[None] | None = None
        self._wakes_at = math.inf
        self._fired: list[Callable[[], object]] = []
        self._channels = Channels(credentials, _make_channel)
        self._streams: dict[Link, _Stream] = {}
        self._unary: dict[int, Any] = {}
        self._asking: dict[asyncio.Task[Any] | None, Operation] = {}  # by task, until it is done with the answer
        self._tasks: set[asyncio.Task[None]] = set()
        self._progress = asyncio.Event()  # told of every change while the client ends
        _OPEN.add(self)

    # ---- calls

    async def ask(self, call: Call[T]) -> T:
        """Raises LockdError. Cancelled, the call is given up in its own way (calls.Gone)."""
        try:
            return await self._ask_and_wait(call)
        finally:
            self._asking.pop(asyncio.current_task(), None)

    async def _ask_and_wait(self, call: Call[T]) -> T:
        loop = self._begin()
        answered: asyncio.Future[None] = loop.create_future()
        with self.inside() as engine:
            operation = engine.submit(call, lambda _: None if answered.done() else answered.set_result(None), now())
            self._asking[asyncio.current_task()] = operation
        try:
            await answered
        except BaseException:
            with self.inside() as engine:
                engine.abandon(operation, now())
            raise
        result = operation.result
        if isinstance(result, Answer):
            return call.decode(result.message, result.sent)
        assert result is not None
        raise result

    async def run(self, flow: Generator[Call[Any], Any, T]) -> T:
        """Makes the calls of a flow, one after the other."""
        try:
            call = next(flow)
            while True:
                try:
                    answer = await self._ask_and_wait(call)
                except BaseException as error:  # noqa: BLE001  # the flow gets it, and raises what it does not expect
                    call = flow.throw(error)
                else:
                    call = flow.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            self._asking.pop(asyncio.current_task(), None)

    @contextmanager
    def inside(self) -> Iterator[Engine]:
        """The engine; afterwards its actions are done."""
        yield self._engine
        for action in self._engine.take_actions():
            self._do(action)
        for channel in self._channels.take_idle():
            self._start(channel.close())
        if self._engine.alarm < self._wakes_at:
            self._wake()
        if self._engine.is_ending:
            self._progress.set()

    @property
    def is_idle(self) -> bool:
        """Whether no task has an answer to take, and no callback is to run."""
        is_told = any(operation.result is not None for operation in self._asking.values())
        return not (is_told or self._fired)

    def fire(self, callback: Callable[[], object]) -> None:
        self._fired.append(callback)
        self._wake()

    @contextmanager
    def way(self, endpoint: str) -> Iterator[tuple[Way, int]]:
        """For one call: a channel, and the edition of the credentials that go with it. Raises ClientClosed."""
        self._begin()
        if self._engine.is_closed:
            raise ClientClosed
        edition = self._credentials.look()
        way = self._channels.take(endpoint)
        try:
            yield way, edition
        finally:
            self._channels.left(way)

    def judged(self, way: Way, edition: int, failure: Failure) -> Failure:
        """What it means that a call on this way ended so."""
        self._channels.heed(way, failure)
        return self._credentials.judged(failure, edition)

    @property
    def metadata(self) -> Any:
        """That a call carries."""
        return self._credentials.metadata

    async def linger(self, seconds: float) -> None:
        """Waits for what goes on in the background, at most so long."""
        engine = self._engine
        engine.is_ending = True
        try:
            async with asyncio.timeout(seconds):
                while engine.has_background and engine.links.ready is not None:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            pass

    async def close(self) -> None:
        """Calls in flight end with ClientClosed. May be called twice."""
        with self.inside() as engine:
            engine.close(now())
            self._wake()
        for channel in self._channels.take_all():
            await channel.close()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        await asyncio.gather(*tasks, return_exceptions=True)

    def in_child(self) -> None:
        """After a fork: what the parent holds is lost here."""
        self._engine.start_over()
        self._engine.is_closed = True

    # ---- inside

    def _begin(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self.loop is not loop:
            if self.loop is not None:
                raise RuntimeError("an AsyncLockdClient belongs to the event loop of its first call")
            self.loop = loop
            self._woken = asyncio.Event()
        return loop

    def _wake(self) -> None:
        self._wakes_at = -math.inf
        if self._woken is None:
            return
        self._woken.set()
        if self._background is None and not self._engine.is_closed:
            self._background = self._start(self._run())

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        assert self.loop is not None
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self) -> None:
        assert self._woken is not None
        loop = asyncio.get_running_loop()
        while not self._engine.is_closed or self._fired:
            fired, self._fired = self._fired, []
            for callback in fired:
                try:
                    callback()
                except Exception as error:  # noqa: BLE001  # a user's; it must not end the renewals
                    _report(loop, error)
            self._woken.clear()
            left = self._engine.alarm - now()
            if left > 0 and not self._fired:
                self._wakes_at = self._engine.alarm
                await self._nap(left)
                self._wakes_at = -math.inf
            with self.inside() as engine:
                engine.due(now())

    async def _nap(self, seconds: float) -> None:
        assert self._woken is not None
        longest = min(seconds, NAP_S) if self._engine.leases else seconds
        try:
            async with asyncio.timeout(None if longest == math.inf else longest):
                await self._woken.wait()
        except TimeoutError:
            pass

    def _do(self, action: Action) -> None:
        match action:
            case Write():
                stream = self._streams.get(action.link)
                if stream is not None:
                    stream.writable.set()
            case Open():
                self._open(action.link)
            case Close():
                stream = self._streams.pop(action.link)
                stream.is_closed = True
                stream.writable.set()
                stream.call.cancel()
            case Ask():
                self._start(self._ask(action))
            case HangUp():
                call = self._unary.pop(action.key, None)
                if call is not None:
                    call.cancel()

    # ---- streams

    def _open(self, link: Link) -> None:
        stream = self._streams[link] = _Stream(link, self._channels.take(link.endpoint))
        stream.call = stream.way.channel.stream_stream(
            methods.STREAM.path,
            request_serializer=lockd_pb2.StreamRequest.SerializeToString,
            response_deserializer=lockd_pb2.StreamResponse.FromString,
        )(metadata=self._credentials.metadata)
        self._start(self._write(stream))
        self._start(self._read(stream))

    async def _write(self, stream: _Stream) -> None:
        try:
            while not stream.is_closed:
                stream.writable.clear()
                request = self._engine.take_outbox(stream.link, now())
                if request is None:
                    await stream.writable.wait()
                    continue
                if self._engine.alarm < self._wakes_at:
                    self._wake()
                await stream.call.write(request)
        except (grpc.RpcError, asyncio.InvalidStateError, asyncio.CancelledError):
            pass  # the reader learns why

    async def _read(self, stream: _Stream) -> None:
        link = stream.link
        failure = channels.ended(link.endpoint)
        try:
            while (response := await stream.call.read()) is not grpc.aio.EOF:
                with self.inside() as engine:
                    engine.received(link, response, now())
        except grpc.RpcError as error:
            failure = channels.unmasked(channels.failure_of(link.endpoint, error, stream.way.pem))
        except asyncio.CancelledError:
            failure = channels.closed(link.endpoint)
        self._channels.left(stream.way)
        self._channels.heed(stream.way, failure)
        with self.inside() as engine:
            engine.broken(link, failure, now())
        stream.writable.set()

    # ---- unary calls

    async def _ask(self, ask: Ask) -> None:
        result: Any
        try:
            with self.way(ask.endpoint) as (way, _):
                call = way.channel.unary_unary(
                    ask.method.path,
                    request_serializer=ask.method.request.SerializeToString,
                    response_deserializer=ask.method.answer.FromString,
                )(ask.message, timeout=grpc_timeout(ask.timeout), metadata=self._credentials.metadata)
                self._unary[ask.key] = call
                try:
                    result = await call
                except grpc.RpcError as error:
                    result = channels.failure_of(ask.endpoint, error, way.pem)
                    self._channels.heed(way, result)
        except (asyncio.CancelledError, ClientClosed):
            result = channels.closed(ask.endpoint)
        finally:
            self._unary.pop(ask.key, None)
        with self.inside() as engine:
            engine.returned(ask.key, result, now())


def _make_channel(endpoint: str, pem: Pem | None) -> Any:
    if pem is None:
        return grpc.aio.insecure_channel(endpoint, options=channels.OPTIONS)
    return grpc.aio.secure_channel(endpoint, channels.channel_credentials(pem), options=channels.OPTIONS)


_OPEN: weakref.WeakSet[AioTransport] = weakref.WeakSet()


def _in_child() -> None:
    for transport in list(_OPEN):
        transport.in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def _report(loop: asyncio.AbstractEventLoop, error: Exception) -> None:
    loop.call_exception_handler({"message": "an on_lost callback failed", "exception": error})
