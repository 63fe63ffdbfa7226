"""WSGI middleware that refuses requests with a stale fencing token.

    app = FenceMiddleware(app, SqlMarks(engine, fence), name="nightly-report")

The check comes before the handler; they are not one step. A request that passed, and is then slow, is not stopped by
a later holder's. Where that matters let the handler check, where it writes: with `marks=None` the middleware reads the
header, the handler finds the holds in environ["lockd_client.fences"] and calls SqlFence.check() in its own transaction,
or writes inside of FileFence.write(); StaleToken becomes the answer 409 if it leaves the application before the answer
has begun. Frameworks that answer for every exception let none leave: give theirs a handler with web.problem().
"""

import sys
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from lockd_client.fence.marks import Marks
from lockd_client.fence.values import Fence
from lockd_client.fence.web import HEADER, KEY, PROBLEM_TYPE, REFUSALS, WRITING, NameOf, Rules, problem

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_HEADER = "HTTP_" + HEADER.upper().replace("-", "_")


class FenceMiddleware:
    def __init__(
        self,
        app: "WSGIApplication",
        marks: Marks | None = None,
        *,
        name: NameOf = None,
        methods: Collection[str] = WRITING,
    ) -> None:
        """marks: where the highest tokens are. None: the handler checks. name, methods: web.Rules."""
        self._app, self._marks = app, marks
        self._rules = Rules(name=name, methods=methods)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        begun: list[str] = []

        def noting(status: str, *rest: Any) -> Any:
            begun.append(status)
            return start_response(status, *rest)

        try:
            environ[KEY] = self._checked(environ)
            return self._app(environ, noting)
        except REFUSALS as error:
            status, body = problem(error)
            fields = [("Content-Type", PROBLEM_TYPE), ("Content-Length", str(len(body)))]
            # Over an answer that was begun goes only one with an error, which the server raises if it was sent.
            start_response(f"{status.value} {status.phrase}", fields, *([sys.exc_info()] if begun else []))
            return [body]

    def _checked(self, environ: "WSGIEnvironment") -> tuple[Fence, ...]:
        lines = [environ[_HEADER]] if _HEADER in environ else []
        path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
        path = path.encode("latin-1").decode(errors="replace")  # WSGI has it as bytes in disguise
        fences = self._rules.fences(environ["REQUEST_METHOD"], path, lines)
        if self._marks is not None:
            for fence in fences:
                self._marks.check(fence.name, fence.token, shared=fence.shared)
        return fences
