"""Every method of every service: odd bytes, odd messages, odd manners; and odd bytes on the port itself."""

import asyncio
import contextlib
import threading
import time
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import strategies as st

from lockd.access.refusal import Reason
from lockd.server.status import CODES
from lockd_client.proto import lockapi_pb2, lockd_pb2
from tests.fuzz import frames
from tests.fuzz.driving import drive, weighted
from tests.fuzz.messages import is_allowed, likely, make_own, raw, valid
from tests.fuzz.watching import Findings, Target

ANSWERED_WITHIN_S = 25.0
"""Whatever a call asks for: its work is bounded by the node's default of 10 s, and its wait by this run's deadlines."""

AT_ONCE = 100

_C = grpc.StatusCode
WITHOUT_REASON = {
    _C.RESOURCE_EXHAUSTED,  # a message, or metadata, beyond what gRPC takes
    _C.UNIMPLEMENTED,
    _C.UNAVAILABLE,  # a connection that ended with a call before it
}
"""What gRPC itself may answer."""

CLIENTS_OWN = "Internal error from Core"
"""What gRPC's client makes of a stream that ended while it was sending."""


@dataclass(frozen=True)
class Method:
    path: str
    descriptor: MethodDescriptor

    @property
    def input(self) -> Descriptor:
        return self.descriptor.input_type

    @property
    def output(self) -> type[Message]:
        return message_factory.GetMessageClass(self.descriptor.output_type)


METHODS = {
    f"/{service.full_name}/{method.name}": Method(f"/{service.full_name}/{method.name}", method)
    for module in (lockd_pb2, lockapi_pb2, health_pb2, reflection_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


@cache
def fields_of(kind: Descriptor) -> frozenset[str]:
    """The names of all fields, also of the parts: what a refusal may name."""
    names: set[str] = set()
    todo, seen = [kind], set()
    while todo:
        one = todo.pop()
        if one.full_name in seen:
            continue
        seen.add(one.full_name)
        for field in one.fields:
            names.add(field.name)
            if field.message_type is not None:
                todo.append(field.message_type)
    return frozenset(names)


# -- steps: what is done to the node, as values that can be written down and done again


def _call_steps(method: Method) -> st.SearchStrategy[dict[str, Any]]:
    message: st.SearchStrategy[Any] = weighted(
        (5, likely(method.input)), (2, valid(method.input)), (1, raw(method.input))
    )
    several = method.descriptor.client_streaming
    return st.fixed_dictionaries(
        {
            "path": st.just(method.path),
            "messages": st.lists(message, min_size=0 if several else 1, max_size=4 if several else 1),
            "timeout": st.sampled_from([None, 2.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.05, 0.001, 0.0]),
            "cancel_after": st.sampled_from([None] * 10 + [0.0, 0.001, 0.02]),
            "metadata": _metadata,
        }
    )


_keys = st.sampled_from(["authorization", "lockd-reason", "x", "te", "user-agent"])
_values = st.sampled_from(["", "Bearer", "Bearer ", "Bearer x", "Basic eDp4", "x" * 5_000])
_odd_pairs: st.SearchStrategy[Any] = st.one_of(
    st.tuples(_keys, _values),
    st.tuples(st.sampled_from(["x-bin", "authorization-bin", "grpc-trace-bin"]), st.binary(max_size=40)),
    st.tuples(st.just("grpc-timeout"), st.sampled_from(["0n", "99999999H", "x"])),
)
_metadata: st.SearchStrategy[Any] = weighted(
    (30, st.just([])),
    (4, st.lists(_odd_pairs, max_size=6)),
    (1, st.just([("large", "x" * 20_000)])),
    (1, st.just([(f"many-{number}", "x" * 20) for number in range(400)])),
)

_steps: st.SearchStrategy[Any] = st.one_of(
    *[_call_steps(method) for method in METHODS.values()],
    *[_call_steps(METHODS["/lockd.v1.LockService/" + name]) for name in ("Lock", "Unlock", "Stream", "Stream")],
)
_examples: st.SearchStrategy[Any] = weighted(
    (6, st.lists(_steps, min_size=1, max_size=10)),
    (1, frames.connections.map(lambda chunks: [{"tcp": chunks}])),
)


def _written(step: dict[str, Any]) -> dict[str, Any]:
    """As JSON has it."""
    if "tcp" in step:
        return {"tcp": [b64encode(chunk).decode() for chunk in step["tcp"]]}
    messages = [b64encode(message).decode() for message in step["messages"]]
    metadata = [[key, value if isinstance(value, str) else {"b": value.hex()}] for key, value in step["metadata"]]
    return {**step, "messages": messages, "metadata": metadata}


def read(step: dict[str, Any]) -> dict[str, Any]:
    if "tcp" in step:
        return {"tcp": [b64decode(chunk) for chunk in step["tcp"]]}
    messages = [b64decode(message) for message in step["messages"]]
    metadata = [
        (key, value if isinstance(value, str) else bytes.fromhex(value["b"])) for key, value in step["metadata"]
    ]
    return {**step, "messages": messages, "metadata": metadata}


class Abuser:
    def __init__(self, target: Target, findings: Findings) -> None:
        self._target, self._findings = target, findings
        self._tokens: list[int] = []
        self._sessions: list[int] = []
        self._turn = 0
        self._running: set[asyncio.Task[None]] = set()
        self.answers: Counter[str] = Counter()
        """By code and reason."""

    async def open(self) -> None:
        self._channel = self._target.aio_channel()

    async def close(self) -> None:
        """When all are answered."""
        await asyncio.gather(*self._running)
        await self._channel.close(None)

    async def run(self, steps: list[dict[str, Any]]) -> None:
        """All of them at once, beside those before. Returns when few are left."""
        for step in steps:
            task = asyncio.create_task(self._bounded(self._with_bytes(step)))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        await asyncio.sleep(0)
        while len(self._running) > AT_ONCE:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    def _with_bytes(self, step: dict[str, Any]) -> dict[str, Any]:
        if "tcp" in step:
            return step
        messages = []
        for message in step["messages"]:
            self._turn += 1
            if isinstance(message, Message):
                make_own(message, self._tokens, self._sessions, self._turn)
                messages.append(message.SerializeToString())
            elif is_allowed(METHODS[step["path"]].input, message):
                messages.append(message)
        return {**step, "messages": messages}

    async def _bounded(self, step: dict[str, Any]) -> None:
        written = _written(step)
        self._findings.note(written)
        try:
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                await (self._connection(step) if "tcp" in step else self._call(step))
        except TimeoutError:
            self._findings.add(f"{step.get('path', 'a connection')} was not answered in {ANSWERED_WITHIN_S} s", written)
        except OSError as error:
            self._findings.add(f"no connection: {error}", written)

    # -- calls

    async def _call(self, step: dict[str, Any]) -> None:
        method = METHODS[step["path"]]
        if not step["messages"] and not method.descriptor.client_streaming:
            return
        if step["timeout"] is None and step["cancel_after"] is None:
            step = {**step, "cancel_after": 1.0}  # what waits for ever is given up
        call = self._begin(method, step)
        cancelling = None
        if step["cancel_after"] is not None:
            cancelling = asyncio.get_running_loop().call_later(step["cancel_after"], call.cancel)
        try:
            await self._read(method, call)
            self.answers["OK"] += 1
        except grpc.aio.AioRpcError as error:
            self._judge(method, step, error)
        except asyncio.CancelledError:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]  # a task runs this
                raise
            self.answers["cancelled"] += 1
        except grpc.aio.UsageError:
            self.answers["cancelled"] += 1
        finally:
            if cancelling is not None:
                cancelling.cancel()

    def _begin(self, method: Method, step: dict[str, Any]) -> Any:
        descriptor = method.descriptor
        arities: dict[tuple[bool, bool], Any] = {
            (False, False): self._channel.unary_unary,
            (False, True): self._channel.unary_stream,
            (True, False): self._channel.stream_unary,
            (True, True): self._channel.stream_stream,
        }
        arity = arities[descriptor.client_streaming, descriptor.server_streaming]
        metadata = (*self._target.metadata, *step["metadata"])
        options = {"timeout": step["timeout"], "metadata": metadata}
        if descriptor.client_streaming:
            return arity(method.path)(_each(step["messages"]), **options)
        return arity(method.path)(step["messages"][0], **options)

    async def _read(self, method: Method, call: Any) -> None:
        if not method.descriptor.server_streaming:
            self._remember(method.output.FromString(await call))
            return
        while (data := await call.read()) is not grpc.aio.EOF:
            self._remember(method.output.FromString(data))
        if await call.code() is not _C.OK:
            raise grpc.aio.AioRpcError(
                await call.code(), await call.initial_metadata(), await call.trailing_metadata(), await call.details()
            )

    def _remember(self, answer: Message) -> None:
        if isinstance(answer, lockd_pb2.StreamResponse):
            for result in answer.results:
                self._judge_error(result)
                what = result.WhichOneof("what")
                self._remember(getattr(result, what)) if what else None
        elif isinstance(answer, lockd_pb2.LockResponse) and answer.acquired:
            self._tokens = [*self._tokens[-20:], answer.token]
        elif isinstance(answer, lockd_pb2.OpenSessionResponse):
            self._sessions = [*self._sessions[-20:], answer.session_id]

    def _judge_error(self, result: lockd_pb2.Result) -> None:
        if result.HasField("error"):
            error = result.error
            self.answers[f"on a stream: {error.reason}"] += 1
            reason = Reason.__members__.get(error.reason)
            if reason in (None, Reason.INTERNAL) or CODES[reason].value[0] != error.code:
                self._findings.add(f"an operation was answered {error}")
            elif reason is Reason.INVALID_ARGUMENT and not _names_a_field(error.message, lockd_pb2.Operation):
                self._findings.add(f"an operation's refusal names no field: {error.message}")

    def _judge(self, method: Method, step: dict[str, Any], error: grpc.aio.AioRpcError) -> None:
        code, details = error.code(), error.details() or ""
        name = str(dict(error.trailing_metadata() or ()).get("lockd-reason", ""))
        self.answers[f"{code.name} {name}".strip()] += 1
        said = f"{method.path} was answered {code.name} {name}: {details}"
        if code in (_C.DEADLINE_EXCEEDED, _C.CANCELLED):
            return  # ours, beside trailers that may have arrived already
        if not name:
            if code not in WITHOUT_REASON and details != CLIENTS_OWN:
                self._findings.add(said, _written(step))
            return
        reason = Reason.__members__.get(name)
        if reason is None or reason is Reason.INTERNAL or CODES[reason] is not code:
            self._findings.add(said, _written(step))
        elif reason is Reason.INVALID_ARGUMENT and not _names_a_field(details, method.output, method.input):
            self._findings.add(f"{said} names no field", _written(step))

    # -- connections

    async def _connection(self, step: dict[str, Any]) -> None:
        """Sends its bytes, and reads until the node ends it or has no more to say."""
        host, _, port = self._target.endpoint.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        with contextlib.suppress(ConnectionError):
            for chunk in step["tcp"]:
                writer.write(chunk)
                async with asyncio.timeout(5.0):
                    await writer.drain()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    while await reader.read(65536):
                        pass
        self.answers["connections"] += 1
        writer.transport.abort()


async def _each(messages: list[bytes]) -> Any:
    for message in messages:
        yield message


def _names_a_field(text: str, *kinds: Any) -> bool:
    if text.startswith("message_bytes") or "does not decode" in text or "asks for nothing that this node knows" in text:
        return True
    known = frozenset().union(*(fields_of(getattr(kind, "DESCRIPTOR", kind)) for kind in kinds))
    return text.split()[0].strip(":").split(".")[-1].split("[")[0] in known


@contextlib.contextmanager
def _listening() -> Iterator[Callable[[Coroutine[Any, Any, None]], None]]:
    """What runs a coroutine to its end, in a loop that goes on in a thread of its own while the next example is thought
    of: nobody would listen meanwhile, and all answers would seem late.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="listening")
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def fuzz(target: Target, findings: Findings, seconds: float) -> str:
    """Returns what was done, in words."""
    with _listening() as run:
        abuser = Abuser(target, findings)
        run(abuser.open())
        until = time.monotonic() + seconds
        examples = drive(_examples, lambda steps: run(abuser.run(steps)), seed=findings.seed, until=until)
        run(abuser.close())
    most = ", ".join(f"{count} {what}" for what, count in abuser.answers.most_common(12))
    return f"{examples} examples, {sum(abuser.answers.values())} answers ({most})"


def replay(target: Target, findings: Findings, steps: list[dict[str, Any]]) -> str:
    with _listening() as run:
        abuser = Abuser(target, findings)
        run(abuser.open())
        for step in steps:
            run(abuser.run([read(step)]))
        run(abuser.close())
    return f"{len(steps)} steps, {dict(abuser.answers)}"
