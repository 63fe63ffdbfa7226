"""ASGI middleware that refuses requests with a stale fencing token, for asyncio.

    app = FenceMiddleware(app, SqlMarks(engine, fence), name="nightly-report")
    app.add_middleware(FenceMiddleware, marks=..., name=...)  # Starlette, FastAPI

The check comes before the handler; they are not one step. A request that passed, and is then slow, is not stopped by
a later holder's. Where that matters let the handler check, where it writes: with `marks=None` the middleware reads the
header, the handler finds the holds in scope["lockd_client.fences"] and calls SqlFence.check() in its own transaction,
or writes inside of FileFence.write(); StaleToken, if it leaves the handler, becomes the answer 409 either way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from lockd_client.fence.errors import FenceError
from lockd_client.fence.marks import Marks
from lockd_client.fence.values import Fence
from lockd_client.fence.web import HEADER, KEY, PROBLEM_TYPE, REFUSALS, WRITING, NameOf, Rules, problem

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADER = HEADER.lower().encode()


class FenceMiddleware:
    """HTTP requests only: websockets, and the server's own lifespan, go through unseen."""

    def __init__(
        self, app: App, marks: Marks | None = None, *, name: NameOf = None, methods: Collection[str] = WRITING
    ) -> None:
        """marks: where the highest tokens are; it is asked in a thread, since it may block. None: the handler checks.
        name, methods: web.Rules.
        """
        self._app, self._marks = app, marks
        self._rules = Rules(name=name, methods=methods)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            fences = await self._checked(scope)
            await self._app({**scope, KEY: fences}, receive, noting)
        except REFUSALS as error:
            if has_begun:
                raise
            await _refuse(send, error)

    async def _checked(self, scope: Scope) -> tuple[Fence, ...]:
        lines = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == _HEADER]
        fences = self._rules.fences(scope["method"], scope["path"], lines)
        if self._marks is not None:
            for fence in fences:
                await asyncio.to_thread(self._marks.check, fence.name, fence.token, shared=fence.shared)
        return fences


async def _refuse(send: Send, error: FenceError) -> None:
    status, body = problem(error)
    fields = [(b"content-type", PROBLEM_TYPE.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": int(status), "headers": fields})
    await send({"type": "http.response.body", "body": body})
