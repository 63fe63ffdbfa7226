"""The header Lockd-Fence, and the middleware that judges it, for ASGI and for WSGI."""

import asyncio
import io
import json
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockd_client import InvalidArgument
from lockd_client.fence import BadFence, DamagedMark, Fence, StaleToken, asgi, wsgi
from lockd_client.fence.marks import MemoryMarks
from lockd_client.fence.web import HEADER, KEY, header, parse
from tests.fence.resources import put_to_asgi

WITHIN_S = 30.0

# ---- the header

names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=128)  # 512 bytes at most
fences = st.builds(Fence, names, st.integers(1, 2**53 - 1), st.booleans())


@given(st.lists(fences, min_size=1, max_size=8, unique_by=lambda fence: fence.name))
def test_what_is_written_is_read_again_and_is_visible_ascii(holds):
    value = header(*holds)[HEADER]
    assert parse(value) == tuple(holds)
    assert value.isascii()
    assert value.isprintable()


@pytest.mark.parametrize(
    ("fence", "value"),
    [
        (Fence("nightly-report", 42), "nightly-report 42"),
        (Fence("mysql://u@host:3306/db?a=b#c", 1), "mysql://u@host:3306/db?a=b#c 1"),
        (Fence("a, 50%", 7, shared=True), "a%2C%2050%25 7 shared"),
        (Fence("ä", 2**53 - 1), "%C3%A4 9007199254740991"),
    ],
)
def test_names_are_written_so_that_people_can_read_them(fence, value):
    assert header(fence) == {"Lockd-Fence": value}
    assert parse(value) == (fence,)


def test_blanks_empty_elements_and_needless_escapes_are_read():
    assert parse(" ,\t%61  1 ,, b\t2\t shared,") == (Fence("a", 1), Fence("b", 2, shared=True))


@pytest.mark.parametrize(
    "value",
    [
        "",
        " , ",
        "a",
        "42",
        "a 0",
        "a -1",
        "a +1",
        "a 01",
        "a 1.0",
        "a 1_0",
        "a 0x10",
        "a \u0661",
        "a 9007199254740992",
        "a 99999999999999999999",
        "a 1 Shared",
        "a 1 shared shared",
        "a 1 exclusive",
        "a b 1",
        "a% 1",
        "a%4 1",
        "a%zz 1",
        "%FF 1",
        "%C3 1",
        "%0A 1",
        "%00 1",
        "a\x0b 1",
        "ä 1",
        "x" * 513 + " 1",
        "a 1; b 2",
        "a 1, a 2",
        "a 1, %61 1 shared",
        ", ".join(f"{number} 1" for number in range(65)),
    ],
)
def test_what_is_no_header_is_refused(value):
    with pytest.raises(BadFence, match="`Lockd-Fence: nightly-report 42`"):
        parse(value)


@given(st.text(st.characters(max_codepoint=255)))
def test_whatever_a_client_sends_is_read_or_refused(value):
    try:
        read = parse(value)
    except BadFence:
        return
    assert parse(header(*read)[HEADER]) == read


def test_a_header_of_nothing_cannot_be_written():
    with pytest.raises(InvalidArgument):
        header()


# ---- the middleware, both kinds held to the same

Ask = Callable[..., tuple[int, dict[str, Any]]]


def accept(fences: tuple[Fence, ...]) -> None:
    """A handler that does what it is asked."""


def over_asgi(handler: Callable[[tuple[Fence, ...]], None], **options: Any) -> Ask:
    async def app(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        handler(scope[KEY])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    guarded = asgi.FenceMiddleware(app, **options)

    def ask(value: str | None = None, path: str = "/", method: str = "PUT") -> tuple[int, dict[str, Any]]:
        headers = {} if value is None else {HEADER: value}
        return asyncio.run(put_to_asgi(guarded, headers, path=path, method=method))

    return ask


def over_wsgi(handler: Callable[[tuple[Fence, ...]], None], **options: Any) -> Ask:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        handler(environ[KEY])
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b"{}"]

    guarded = validator(wsgi.FenceMiddleware(validator(app), **options))

    def ask(value: str | None = None, path: str = "/", method: str = "PUT") -> tuple[int, dict[str, Any]]:
        disguised = path.encode().decode("latin-1")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": disguised,
            "SCRIPT_NAME": "",
            "QUERY_STRING": "",
        }
        if value is not None:
            environ["HTTP_LOCKD_FENCE"] = value
        setup_testing_defaults(environ)
        environ["wsgi.input"] = io.BytesIO()
        statuses: list[str] = []

        def start_response(status: str, fields: Any, error: Any = None) -> Callable[[bytes], object]:
            assert error is None, "nothing was begun before"
            statuses.append(status)
            return io.BytesIO().write

        answer: Any = guarded(environ, start_response)
        body = b"".join(answer)
        answer.close()
        return int(statuses[-1].split()[0]), json.loads(body)

    return ask


@pytest.fixture(params=[over_asgi, over_wsgi], ids=["asgi", "wsgi"])
def guarded(request: pytest.FixtureRequest) -> Callable[..., Ask]:
    """An application behind the middleware; its argument is a function that is given the holds that were checked."""
    made: Callable[..., Ask] = request.param
    return made


def test_a_stale_request_is_answered_409_with_the_highest_token_and_does_not_reach_the_handler(guarded):
    seen: list[tuple[Fence, ...]] = []
    ask = guarded(seen.append, marks=MemoryMarks())
    assert ask("a 7") == (200, {})
    status, problem = ask("a 5")
    detail = problem.pop("detail")
    assert (status, problem) == (
        409,
        {"title": "Conflict", "status": 409, "reason": "STALE_TOKEN", "name": "a", "token": 5, "highest": 7},
    )
    assert "acquire the lock again" in detail
    assert seen == [(Fence("a", 7),)]
    assert ask("a 7")[0] == ask("b 5")[0] == 200


@pytest.mark.parametrize("value", ["a", "a 0", "", "a 1, a 2"])
def test_a_header_that_cannot_be_read_is_answered_400_for_any_method(guarded, value):
    ask = guarded(accept, marks=MemoryMarks())
    for method in ("PUT", "GET"):
        status, problem = ask(value, method=method)
        assert (status, problem["status"], problem["reason"]) == (400, 400, "BAD_FENCE")


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "POST", "PUT"])
def test_what_writes_without_a_header_is_answered_428(guarded, method):
    status, problem = guarded(accept, marks=MemoryMarks())(method=method)
    assert (status, problem["status"], problem["reason"]) == (428, 428, "FENCE_REQUIRED")


def test_what_reads_needs_no_header_and_is_checked_where_it_has_one(guarded):
    seen: list[tuple[Fence, ...]] = []
    ask = guarded(seen.append, marks=MemoryMarks())
    ask("a 7")
    assert ask(method="GET")[0] == ask("a 8 shared", method="GET")[0] == 200
    assert ask("a 5 shared", method="GET")[0] == 409
    assert ask("a 7")[0] == 200, "a reader's token leaves no mark"
    assert seen[1:3] == [(), (Fence("a", 8, shared=True),)]


def test_a_readers_token_is_not_enough_to_write(guarded):
    ask = guarded(accept, marks=MemoryMarks())
    assert ask("a 7 shared")[0] == 428
    assert ask("a 7, b 7 shared")[0] == 200


def test_which_methods_need_it_can_be_chosen(guarded):
    assert guarded(accept, marks=MemoryMarks(), methods=())()[0] == 200
    assert guarded(accept, marks=MemoryMarks(), methods={"OPTIONS"})(method="OPTIONS")[0] == 428


def test_of_a_named_lock_no_other_locks_token_will_do(guarded):
    seen: list[tuple[Fence, ...]] = []
    ask = guarded(seen.append, marks=MemoryMarks(names_max=1), name="a")
    status, problem = ask("b 9")
    assert (status, problem["detail"].endswith("The lock is 'a'.")) == (428, True)
    assert ask("b 9, a 7")[0] == 200
    assert seen == [(Fence("a", 7),)]
    assert ask("b 5, a 7")[0] == 200, "b leaves no mark"


def test_the_lock_may_depend_on_the_path(guarded):
    ask = guarded(accept, marks=MemoryMarks(), name=lambda path: path[1:] if path.startswith("/ä") else None)
    assert ask("%C3%A4/1 7", path="/ä/1")[0] == 200
    assert ask("%C3%A4/1 7", path="/ä/2")[0] == 428
    assert ask(path="/open")[0] == ask("no header at all", path="/open")[0] == 200


def test_each_lock_of_a_set_is_checked(guarded):
    ask = guarded(accept, marks=MemoryMarks())
    ask("b 7")
    assert ask("a 5, b 5")[1]["name"] == "b"


def test_the_strict_form_the_handlers_own_guard_refuses_and_that_is_the_answer(guarded):
    marks = MemoryMarks()

    def handler(fences: tuple[Fence, ...]) -> None:
        for fence in fences:
            marks.check(fence.name, fence.token)

    ask = guarded(handler)
    assert ask("a 7")[0] == 200
    status, problem = ask("a 5")
    assert (status, problem["highest"]) == (409, 7)
    assert ask()[0] == 428


def test_where_the_marks_cannot_be_read_nobody_is_let_in(guarded):
    class Damaged:
        def check(self, name: str, token: int, *, shared: bool = False) -> None:
            raise DamagedMark("/srv/a.fence")

    seen: list[tuple[Fence, ...]] = []
    with pytest.raises(DamagedMark):
        guarded(seen.append, marks=Damaged())("a 7")
    assert seen == []


def test_more_names_than_are_remembered_are_answered_503(guarded):
    ask = guarded(accept, marks=MemoryMarks(names_max=1))
    assert [ask("a 7")[0], ask("b 7")[0], ask("a 8")[0]] == [200, 503, 200]


# ---- what only one of them has


async def answered(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


async def no_message() -> asgi.Message:
    raise AssertionError("nothing reads the body")


def ask_asgi(app: asgi.FenceMiddleware, *lines: bytes) -> list[asgi.Message]:
    sent: list[asgi.Message] = []

    async def send(message: asgi.Message) -> None:
        sent.append(message)

    fields = [(b"Lockd-Fence", line) for line in lines]
    scope = {"type": "http", "method": "PUT", "path": "/", "headers": fields}
    asyncio.run(app(scope, no_message, send))
    return sent


def test_asgi_has_repeated_headers_for_one_list_and_answers_with_a_problem():
    marks = MemoryMarks()
    marks.check("b", 9)
    start, body = ask_asgi(asgi.FenceMiddleware(answered, marks), b"a 7", b"b 7")
    fields = dict(start["headers"])
    assert (start["status"], json.loads(body["body"])["name"]) == (409, "b")
    assert fields[b"content-type"] == b"application/problem+json"
    assert fields[b"content-length"] == b"%d" % len(body["body"])


def test_asgi_lets_what_is_no_http_through():
    seen: list[str] = []

    async def app(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        seen.append(scope["type"])

    for kind in ("lifespan", "websocket"):
        asyncio.run(asgi.FenceMiddleware(app, MemoryMarks())({"type": kind}, no_message, no_message))  # type: ignore[arg-type]  # nothing is sent
    assert seen == ["lifespan", "websocket"]


def test_asgi_goes_on_with_other_requests_while_marks_are_waited_for():
    may_answer = threading.Event()

    class Slow:
        def check(self, name: str, token: int, *, shared: bool = False) -> None:
            assert name == "quick" or may_answer.wait(WITHIN_S), "the loop was blocked"

    app = asgi.FenceMiddleware(answered, Slow())

    async def both() -> list[int]:
        slow = asyncio.ensure_future(put_to_asgi(app, {HEADER: "slow 7"}))
        await asyncio.sleep(0)  # it begins
        quick = await put_to_asgi(app, {HEADER: "quick 7"})
        assert not slow.done()
        may_answer.set()
        return [quick[0], (await slow)[0]]

    assert asyncio.run(both()) == [200, 200]


def test_asgi_leaves_an_error_to_the_server_once_the_answer_has_begun():
    async def app(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise StaleToken("a", 5, 7)

    with pytest.raises(StaleToken):
        ask_asgi(asgi.FenceMiddleware(app), b"a 5")


def test_wsgi_replaces_an_answer_that_was_begun_and_not_sent():
    begun: list[tuple[str, Any]] = []

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        raise StaleToken("a", 5, 7)

    def start_response(status: str, fields: Any, error: Any = None) -> Callable[[bytes], object]:
        begun.append((status, error and error[0]))
        return io.BytesIO().write

    environ: dict[str, Any] = {"REQUEST_METHOD": "PUT", "HTTP_LOCKD_FENCE": "a 5"}
    (body,) = wsgi.FenceMiddleware(app)(environ, start_response)
    assert begun == [("200 OK", None), ("409 Conflict", StaleToken)]
    assert json.loads(body)["highest"] == 7
