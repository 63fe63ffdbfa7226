"""Where the asyncio client meets gRPC: channels, streams, tasks. It drives an engine (engine.py).

Everything happens on the loop of the first call. One task reads and one writes each stream. Renewals, deadlines and
whatever nobody waits for are done by a timer of the loop: whoever cancels all tasks, as asyncio.run() does at its end,
does not stop it. To the engine a stream whose task was cancelled is a connection that broke. grpc.aio does not survive
forks: a child makes a client of its own.
"""

import asyncio
import math
import os
import random
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
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
END_S = 1.0  # what is under way when the loop is about to be closed is given so long

T = TypeVar("T")


class _Stream:
    """What carries a link."""

    def __init__(self, link: Link, way: Way) -> None:
        self.link = link
        self.way = way
        self.writable = asyncio.Event()
        self.is_closed = False
        self.call: Any = None


class AioTransport:
    """For one loop."""

    def __init__(self, endpoints: Sequence[str], credentials: Credentials, timeout: float) -> None:
        self._credentials = credentials
        self._engine = Engine(endpoints, credentials, timeout=timeout, chance=random.random)
        self.loop: asyncio.AbstractEventLoop | None = None  # of its first call
        self._stay: AsyncGenerator[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = math.inf
        self._fired: list[Callable[[], object]] = []
        self._channels = Channels(credentials, _make_channel)
        self._streams: dict[Link, _Stream] = {}
        self._unary: dict[int, Any] = {}
        self._asking: dict[asyncio.Task[Any] | None, Operation] = {}  # by task, until it is done with the answer
        self._tasks: set[asyncio.Task[Any]] = set()
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
        self._wake(self._engine.alarm)
        if self._engine.is_ending:
            self._progress.set()

    @property
    def is_idle(self) -> bool:
        """Whether no task has an answer to take, and no callback is to run."""
        is_told = any(operation.result is not None for operation in self._asking.values())
        return not (is_told or self._fired)

    def fire(self, callback: Callable[[], object]) -> None:
        self._fired.append(callback)
        self._wake(-math.inf)

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
        await self._while(lambda: engine.has_background and engine.links.ready is not None, seconds)

    async def close(self) -> None:
        """Calls in flight end with ClientClosed. May be called twice."""
        await self._end()
        if self._stay is not None:
            await self._stay.aclose()

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
            self._stay = self._until_the_end()
            with suppress(StopIteration):  # it has begun, and waits
                self._stay.__anext__().send(None)
        return loop

    async def _until_the_end(self) -> AsyncGenerator[None]:
        """A generator, since that is what asyncio.run() and its like end just before they close the loop. The client's
        tasks are to be over by then.
        """
        try:
            yield
        finally:
            self._stay = None
            if not self._engine.is_closed:
                await asyncio.sleep(0)  # others that end now may have locks to release
                await self._while(lambda: bool(self._engine.unfinished), END_S)
                await self._end()
                if tasks := _tasks_of_grpc():
                    await asyncio.wait(tasks, timeout=END_S)

    async def _while(self, goes_on: Callable[[], bool], seconds: float) -> None:
        """Waits, at most so long."""
        self._engine.is_ending = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while goes_on():
                    self._progress.clear()
                    await self._progress.wait()

    async def _end(self) -> None:
        with self.inside() as engine:
            engine.close(now())
        self._call_back()
        if self._timer is not None:
            self._timer.cancel()
        for channel in self._channels.take_all():
            await channel.close()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        assert self.loop is not None
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- in the background

    def _wake(self, moment: float) -> None:
        """Has _tend() run at this moment, if not before."""
        if moment >= self._wakes_at or self.loop is None or self.loop.is_closed():
            return
        if self._engine.is_closed and not self._fired:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at = moment
        left = max(0.0, moment - now())
        self._timer = self.loop.call_later(min(left, NAP_S) if self._engine.leases else left, self._tend)

    def _tend(self) -> None:
        self._wakes_at = math.inf
        try:
            self._call_back()
        finally:
            with self.inside() as engine:
                engine.due(now())

    def _call_back(self) -> None:
        fired, self._fired = self._fired, []
        for callback in fired:
            try:
                callback()
            except Exception as error:  # noqa: BLE001  # a user's; it must not end the renewals
                _report(self.loop, error)

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
                self._start(self._ask(action)).add_done_callback(partial(self._returned, action))
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
        self._start(self._write(stream)).add_done_callback(partial(self._written, stream))
        self._start(self._read(stream)).add_done_callback(partial(self._ended, stream))

    async def _write(self, stream: _Stream) -> None:
        try:
            while not stream.is_closed:
                stream.writable.clear()
                request = self._engine.take_outbox(stream.link, now())
                if request is None:
                    await stream.writable.wait()
                    continue
                self._wake(self._engine.alarm)
                await stream.call.write(request)
        except (grpc.RpcError, asyncio.InvalidStateError):
            pass  # the reader learns why

    def _written(self, stream: _Stream, writer: asyncio.Task[None]) -> None:
        if writer.cancelled():
            stream.call.cancel()

    async def _read(self, stream: _Stream) -> Failure:
        """Why it ended."""
        link = stream.link
        try:
            while (response := await stream.call.read()) is not grpc.aio.EOF:
                with self.inside() as engine:
                    engine.received(link, response, now())
        except grpc.RpcError as error:
            return channels.unmasked(channels.failure_of(link.endpoint, error, stream.way.pem))
        return channels.ended(link.endpoint)

    def _ended(self, stream: _Stream, reader: asyncio.Task[Failure]) -> None:
        failure = channels.closed(stream.link.endpoint) if reader.cancelled() else reader.result()
        self._channels.left(stream.way)
        self._channels.heed(stream.way, failure)
        with self.inside() as engine:
            engine.broken(stream.link, failure, now())
        stream.writable.set()

    # ---- unary calls

    async def _ask(self, ask: Ask) -> Any:
        """The answer, or a Failure."""
        try:
            with self.way(ask.endpoint) as (way, _):
                call = self._unary[ask.key] = way.channel.unary_unary(
                    ask.method.path,
                    request_serializer=ask.method.request.SerializeToString,
                    response_deserializer=ask.method.answer.FromString,
                )(ask.message, timeout=grpc_timeout(ask.timeout), metadata=self._credentials.metadata)
                try:
                    return await call
                except grpc.RpcError as error:
                    failure = channels.failure_of(ask.endpoint, error, way.pem)
                    self._channels.heed(way, failure)
                    return failure
        except ClientClosed:
            return channels.closed(ask.endpoint)

    def _returned(self, ask: Ask, task: asyncio.Task[Any]) -> None:
        self._unary.pop(ask.key, None)
        cancelled = replace(channels.closed(ask.endpoint), sent=True)  # it may have been
        with self.inside() as engine:
            engine.returned(ask.key, cancelled if task.cancelled() else task.result(), now())


def _make_channel(endpoint: str, pem: Pem | None) -> Any:
    if pem is None:
        return grpc.aio.insecure_channel(endpoint, options=channels.OPTIONS)
    return grpc.aio.secure_channel(endpoint, channels.channel_credentials(pem), options=channels.OPTIONS)


def _tasks_of_grpc() -> list[asyncio.Task[Any]]:
    """One for each stream, which ends a moment after the stream was cancelled. grpc.aio gives no other way to them than
    their names.
    """
    return [task for task in asyncio.all_tasks() if "_AioCall." in getattr(task.get_coro(), "__qualname__", "")]


_OPEN: weakref.WeakSet[AioTransport] = weakref.WeakSet()


def _in_child() -> None:
    for transport in list(_OPEN):
        transport.in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def _report(loop: asyncio.AbstractEventLoop | None, error: Exception) -> None:
    assert loop is not None
    loop.call_exception_handler({"message": "an on_lost callback failed", "exception": error})
