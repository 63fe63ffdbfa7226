"""Where the blocking client meets gRPC: channels, streams, threads. It drives an engine (engine.py).

Callers wait on a lock of their own. Requests leave by gRPC's thread, which takes all that has been queued meanwhile.
Answers are handed over by the thread in which gRPC reads them, while it parses them: a thread that iterates over them
would cost every answer one more switch. Nothing of gRPC may be called there, so what an answer brings about besides is
left to the background thread. That one does renewals, deadlines and whatever nobody waits for, and runs on_lost
callbacks.
"""

import atexit
import math
import random
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from lockd_client import channels, forks, methods
from lockd_client.attempts import Failure
from lockd_client.calls import Call
from lockd_client.channels import Channels, Way, grpc
from lockd_client.clock import grpc_timeout, now
from lockd_client.credentials import Credentials, Pem
from lockd_client.engine import Engine
from lockd_client.errors import ClientClosed
from lockd_client.interrupts import put_off, refuse_inside
from lockd_client.links import Action, Ask, Close, HangUp, Link, Open, Write
from lockd_client.operations import Answer, Operation
from lockd_client.proto import lockd_pb2

NAP_S = 1.0  # the longest sleep while there are leases: what a machine sleeps counts in deadlines, but not in timers
STREAM_END_S = 0.1  # how long a fork waits for streams that it cancelled
REST_S = 1.0  # how long a fork waits for connections that it broke
SETTLE_S = 0.03  # what gRPC's own threads, of which nothing is seen, are given to be done with what was cancelled

T = TypeVar("T")


class _Stream:
    """What carries a link."""

    def __init__(self, link: Link, mutex: threading.RLock) -> None:
        self.link = link
        self.writable = threading.Condition(mutex)
        self.is_closed = False
        self.call: Any = None


class _Shut(NamedTuple):
    """Close a channel on which nothing is in flight any more."""

    channel: Any


class Transport:
    """Thread-safe."""

    def __init__(self, endpoints: Sequence[str], credentials: Credentials, timeout: float) -> None:
        self._credentials = credentials
        self._engine = Engine(endpoints, credentials, timeout=timeout, chance=random.random)
        self._inherited: list[object] = []  # kept: to let go of a parent's channel here would disturb the parent's
        self._begin()
        _OPEN.add(self)

    def _begin(self) -> None:
        self._mutex = threading.RLock()  # it knows who has it: see refuse_inside()
        self._changed = threading.Condition(self._mutex)
        self._background: threading.Thread | None = None
        self._wakes_at = math.inf
        self._todo: list[Action | _Shut] = []  # what is to be done with gRPC, outside the mutex
        self._fired: list[Callable[[], object]] = []
        self._channels = Channels(self._credentials, self._make_channel)
        self._streams: dict[Link, _Stream] = {}
        self._unary: dict[int, Any] = {}  # calls in flight; None where one is about to begin
        self._asking: dict[int, Operation] = {}  # by thread, what it asked last, until it is done with the answer
        self._is_calling = False  # back, in the background thread
        self._was_used = False  # since the last fork
        self._busy = 0  # how many threads are inside gRPC, or call it

    # ---- calls

    def ask(self, call: Call[T]) -> T:
        """Raises LockdError. Interrupted, the call is given up in its own way (calls.Gone)."""
        with put_off:
            try:
                return self._ask_and_wait(call)
            finally:
                self._asking.pop(threading.get_ident(), None)

    def _ask_and_wait(self, call: Call[T]) -> T:
        answered = threading.Lock()
        answered.acquire()
        operation: Operation | None = None
        try:
            with self.inside() as engine:
                operation = engine.submit(call, lambda _: answered.release(), now())
                self._asking[threading.get_ident()] = operation
            put_off.acquire(answered)
        except BaseException:
            if operation is not None:
                with self.inside() as engine:
                    engine.abandon(operation, now())
            raise
        result = operation.result
        if isinstance(result, Answer):
            return call.decode(result.message, result.sent)
        assert result is not None
        raise result

    def run(self, flow: Generator[Call[Any], Any, T]) -> T:
        """Makes the calls of a flow, one after the other. Interrupted while it waits for an answer."""
        with put_off:
            try:
                call = next(flow)
                while True:
                    try:
                        answer = self._ask_and_wait(call)
                    except BaseException as error:  # noqa: BLE001  # the flow gets it, and raises what it does not expect
                        call = flow.throw(error)
                    else:
                        call = flow.send(answer)
            except StopIteration as stop:
                result: T = stop.value
                return result
            finally:
                self._asking.pop(threading.get_ident(), None)

    @contextmanager
    def inside(self) -> Iterator[Engine]:
        """The engine, for one thread at a time and for a moment."""
        with put_off:
            refuse_inside(self._mutex)
            with self._mutex:
                yield self._engine
                todo = self._take_todo()
            if todo:
                self._do(todo)

    @property
    def is_idle(self) -> bool:
        """Under inside(): whether no thread has an answer to take, and no callback to run."""
        is_told = any(operation.result is not None for operation in list(self._asking.values()))
        return not (is_told or self._fired or self._is_calling)

    def fire(self, callback: Callable[[], object]) -> None:
        """Under inside(): has the background thread call it."""
        self._fired.append(callback)
        self._wake()

    @contextmanager
    def way(self, endpoint: str) -> Iterator[tuple[Way, int]]:
        """For one call: a channel, and the edition of the credentials that go with it. Waits while the process forks.
        Raises ClientClosed.
        """
        refuse_inside(self._mutex)
        with self._mutex:
            self._changed.wait_for(lambda: not self._engine.is_paused)
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
        with self._mutex:
            self._channels.heed(way, failure)
            return self._credentials.judged(failure, edition)

    @property
    def metadata(self) -> Any:
        """That a call carries."""
        with self._mutex:
            return self._credentials.metadata

    @contextmanager
    def busy(self) -> Iterator[None]:
        """A fork waits for the end of what is inside."""
        with self._mutex:
            self._busy += 1
        try:
            yield
        finally:
            self._leave()

    def linger(self, seconds: float) -> None:
        """Waits for what goes on in the background, at most so long."""
        with self._mutex:
            engine = self._engine
            engine.is_ending = True
            self._changed.wait_for(lambda: not engine.has_background or engine.links.ready is None, seconds)

    def close(self) -> None:
        """Calls in flight end with ClientClosed. May be called twice."""
        with self.inside() as engine:
            engine.close(now())
            self._changed.notify_all()
        self._close_channels()

    # ---- under the mutex

    def _take_todo(self) -> list[Action | _Shut]:
        """After anything was done with the engine."""
        self._sort()
        if self._engine.alarm < self._wakes_at:
            self._wake()
        if self._engine.is_paused or self._engine.is_ending:
            self._changed.notify_all()
        todo, self._todo = self._todo, []
        if todo:
            self._busy += 1
        return todo

    def _sort(self) -> None:
        """Does what takes no call into gRPC."""
        for action in self._engine.take_actions():
            match action:
                case Write():
                    stream = self._streams.get(action.link)
                    if stream is not None:
                        stream.writable.notify()
                    continue
                case Open():
                    self._streams[action.link] = _Stream(action.link, self._mutex)
                case Close():
                    self._streams[action.link].is_closed = True
                    self._streams[action.link].writable.notify()
                case Ask():
                    self._unary[action.key] = None
                case HangUp():
                    pass
            self._todo.append(action)
        self._todo += map(_Shut, self._channels.take_idle())

    def _wake(self) -> None:
        if not (self._background is not None and self._background.is_alive()) and not self._engine.is_closed:
            background = threading.Thread(target=self._run, name="lockd-client", daemon=True)
            background.start()
            self._background = background
        self._wakes_at = -math.inf
        self._changed.notify_all()

    def _make_channel(self, endpoint: str, pem: Pem | None) -> Any:
        if pem is None:
            channel = grpc.insecure_channel(endpoint, options=channels.OPTIONS)
        else:
            channel = grpc.secure_channel(endpoint, channels.channel_credentials(pem), options=channels.OPTIONS)
        forks.join(self, channel)
        return channel

    # ---- the background thread

    def _run(self) -> None:
        try:
            self._look_after()
        finally:
            self._wakes_at = math.inf  # whoever wants it woken begins another

    def _look_after(self) -> None:
        while True:
            with self._mutex:
                self._is_calling = False
                self._sleep()
                if self._engine.is_closed and not self._fired:
                    return
                self._engine.due(now())
                todo = self._take_todo()
                fired, self._fired = self._fired, []
                self._is_calling = bool(fired)
            if todo:
                self._do(todo)
            for callback in fired:
                try:
                    callback()
                except BaseException as error:  # noqa: BLE001  # a user's, sys.exit() too; it must not end the renewals
                    thread = threading.current_thread()
                    threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, thread)))

    def _sleep(self) -> None:
        engine = self._engine
        while not (self._fired or self._todo or engine.is_closed):
            self._wakes_at = engine.alarm
            left = engine.alarm - now()
            if left <= 0:
                break
            longest = NAP_S if engine.leases else threading.TIMEOUT_MAX
            self._changed.wait(min(left, longest))
        self._wakes_at = -math.inf

    # ---- with gRPC, outside the mutex

    def _do(self, todo: list[Action | _Shut]) -> None:
        try:
            for action in todo:
                match action:
                    case Open():
                        self._open(action.link)
                    case Close():
                        self._close(action.link)
                    case Ask():
                        self._ask(action)
                    case HangUp():
                        self._hang_up(action.key)
                    case _Shut():
                        action.channel.close()
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._mutex:
            self._busy -= 1
            if self._engine.is_paused:
                self._changed.notify_all()

    def _open(self, link: Link) -> None:
        with self._mutex:
            stream = self._streams.get(link)
            if stream is None:
                return
            way, metadata = self._channels.take(link.endpoint), self._credentials.metadata
            self._was_used = True
            self._busy += 1  # until the stream has ended
        try:
            call = way.channel.stream_stream(
                methods.STREAM.path,
                request_serializer=lockd_pb2.StreamRequest.SerializeToString,
                response_deserializer=self._reader(link),
            )(self._requests(stream), metadata=metadata)
            threading.Thread(target=self._read, args=(link, way, call), name="lockd-stream", daemon=True).start()
        except (ValueError, RuntimeError) as error:
            self._ended(link, way, channels.not_begun(way.endpoint, error))
            return
        with self._mutex:
            stream.call = call
            is_closed = stream.is_closed
        if is_closed:
            call.cancel()

    def _close(self, link: Link) -> None:
        with self._mutex:
            stream = self._streams.pop(link)
        if stream.call is not None:
            stream.call.cancel()

    def _requests(self, stream: _Stream) -> Iterator[lockd_pb2.StreamRequest]:
        """Run by gRPC's thread."""
        while True:
            with self._mutex:
                while True:
                    if stream.is_closed:
                        return
                    request = self._engine.take_outbox(stream.link, now())
                    if request is not None:
                        break
                    stream.writable.wait()
                if self._engine.alarm < self._wakes_at:
                    self._wake()
            yield request

    def _reader(self, link: Link) -> Callable[[bytes], lockd_pb2.StreamResponse]:
        def read(data: bytes) -> lockd_pb2.StreamResponse:
            """Run by gRPC's thread, which holds a lock of the call's."""
            response = lockd_pb2.StreamResponse.FromString(data)
            with self._mutex:
                self._engine.received(link, response, now())
                self._after_callback()
            return response

        return read

    def _after_callback(self) -> None:
        """Under the mutex, in a thread that must not call gRPC."""
        self._sort()
        if self._todo or self._engine.alarm < self._wakes_at:
            self._wake()
        if self._engine.is_paused or self._engine.is_ending:
            self._changed.notify_all()

    def _read(self, link: Link, way: Way, call: Any) -> None:
        failure = channels.ended(link.endpoint)
        try:
            for _ in call:
                pass
        except grpc.RpcError as error:
            failure = channels.failure_of(link.endpoint, error, way.pem)
        self._ended(link, way, failure)

    def _ended(self, link: Link, way: Way, failure: Failure) -> None:
        self._channels.left(way)
        with self.inside() as engine:
            self._channels.heed(way, failure)
            engine.broken(link, failure, now())
        self._leave()

    def _ask(self, ask: Ask) -> None:
        def ended(future: Any) -> None:
            """Run by gRPC's thread."""
            try:
                result = future.result()
            except grpc.RpcError as error:
                result = channels.failure_of(ask.endpoint, error, way.pem)
            except grpc.FutureCancelledError:
                result = Failure(endpoint=ask.endpoint, code="CANCELLED", details="the connection was closed here")
            self._returned(ask.key, way, result)

        with self._mutex:
            way, metadata = self._channels.take(ask.endpoint), self._credentials.metadata
            self._was_used = True
            self._busy += 1  # until the call has ended
        try:
            future = way.channel.unary_unary(
                ask.method.path,
                request_serializer=ask.method.request.SerializeToString,
                response_deserializer=ask.method.answer.FromString,
            ).future(ask.message, timeout=grpc_timeout(ask.timeout), metadata=metadata)
        except (ValueError, RuntimeError) as error:
            self._returned(ask.key, way, channels.not_begun(way.endpoint, error))
            return
        with self._mutex:
            is_wanted = ask.key in self._unary
            if is_wanted:
                self._unary[ask.key] = future
        if not is_wanted:
            future.cancel()
        future.add_done_callback(ended)

    def _returned(self, key: int, way: Way, result: Any) -> None:
        self._channels.left(way)
        with self._mutex:
            if isinstance(result, Failure):
                self._channels.heed(way, result)
            self._busy -= 1
            self._unary.pop(key, None)
            self._engine.returned(key, result, now())
            self._after_callback()

    def _hang_up(self, key: int) -> None:
        with self._mutex:
            future = self._unary.pop(key, None)
        if future is not None:
            future.cancel()

    def _close_channels(self) -> None:
        with self._mutex:
            closing = self._channels.take_all()
        for channel in closing:
            channel.close()

    # ---- forks

    def hold_back(self) -> None:
        with self._mutex:
            self._engine.pause()

    def come_to_rest(self, patience: float) -> None:
        with self._mutex:
            self._changed.wait_for(lambda: self._engine.is_quiet, patience)
        with self.inside() as engine:
            engine.disconnect(now())
        if not self._rests(STREAM_END_S):
            self._close_channels()
            self._rests(REST_S)

    def _rests(self, seconds: float) -> bool:
        """Whether no call is in flight any more, so many seconds from now at the latest."""
        with self._mutex:
            rests = not self._unary and self._changed.wait_for(lambda: self._busy == 0, seconds)
        if rests and self._was_used:
            self._was_used = False
            threading.Event().wait(SETTLE_S)
        return rests

    def freeze(self) -> None:
        self._mutex.acquire()

    def thaw(self) -> None:
        self._mutex.release()
        with self.inside() as engine:
            engine.resume(now())
            self._changed.notify_all()

    def start_over(self) -> None:
        self._engine.start_over()
        self._inherited.append((self._channels, self._streams, self._unary))
        self._begin()


_OPEN: weakref.WeakSet[Transport] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """So that no thread is inside gRPC when the interpreter goes."""
    for transport in list(_OPEN):
        transport.close()
