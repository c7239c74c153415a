"""Around every request: its identifier, its line in the access log, its figures, and the refusal of
new ones while the server stops. Plain ASGI: nothing is held back, and it costs 10 to 45 µs."""

from __future__ import annotations

import logging
import os
import re
import time
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import shortened
from app.http.faults import METHODS, refuse
from app.logs import begin_request, log_fields
from app.operations.metrics import Metrics
from app.operations.state import ServerState

REQUEST_ID: Final = b"x-request-id"
UNKNOWN_ROUTE: Final = "(none)"
ALWAYS_ANSWERED: Final = ("/health", "/ready", "/metrics", "/availability")
"""Ends of the paths that are answered while the server stops."""
METHOD_NOT_ALLOWED: Final = 405
"""Methods that a route does not take make no figures of their own."""
_TOKEN: Final = "token"
_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,64}")

log = logging.getLogger(__name__)


class Watch:
    """The outermost layer of the application."""

    def __init__(
        self, app: ASGIApp, *, metrics: Metrics, state: ServerState, access_log: bool
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._state = state
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identifier = request_id(scope)
        answer = _Answer(receive, send, identifier)
        started_s = time.perf_counter()
        self._state.enter()
        try:
            begin_request(identifier)
            await self._answer(scope, answer.receive, answer.send)
        finally:
            self._state.leave()
            self._note(scope, answer, time.perf_counter() - started_s, identifier)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._state.is_stopping and not scope["path"].endswith(ALWAYS_ANSWERED):
            await refuse(Request(scope))(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _note(self, scope: Scope, answer: _Answer, seconds: float, identifier: str) -> None:
        is_taken = scope["method"] in METHODS and answer.status != METHOD_NOT_ALLOWED
        method = scope["method"] if is_taken else "other"
        route = route_of(scope)
        self._metrics.request_ended(
            method, route, answer.status, seconds, answer.sent, whole=answer.is_whole
        )
        if self._access_log and log.isEnabledFor(logging.INFO):
            fields = {
                "request": identifier,
                "job": scope.get("path_params", {}).get("job_id"),
                "client": (scope.get("client") or ("-",))[0],
                "method": method,
                "route": route,
                "path": shown_path(scope, route),
                "status": answer.status,
                "ms": round(seconds * 1000, 1),
                "bytes": answer.sent,
            }
            if not answer.is_whole:
                fields["hung_up"] = True
            log_fields(log, "request", fields)


class _Answer:
    """What is sent, counted on its way."""

    def __init__(self, receive: Receive, send: Send, identifier: str) -> None:
        self._receive = receive
        self._send = send
        self._header = (REQUEST_ID, identifier.encode())
        self.status = 500
        """Of an answer that never began: the error left all handlers."""
        self.sent = 0
        self._has_ended = False
        self._has_left = False

    @property
    def is_whole(self) -> bool:
        """Whether the client stayed to the end."""
        return self._has_ended and not self._has_left

    async def receive(self) -> Message:
        """Pass a message on."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._has_ended:
            self._has_left = True
        return message

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), self._header]
        elif message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
            if not message.get("more_body", False):
                self._has_ended = True
        await self._send(message)


def request_id(scope: Scope) -> str:
    """The client's own ``X-Request-ID`` if it is short and plain, else a new one."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID and _ID.fullmatch(value):
            return str(value.decode("ascii"))
    return os.urandom(8).hex()


def route_of(scope: Scope) -> str:
    """The template of the route that took a request: one of a fixed number of texts."""
    route = scope.get("route")
    if route is not None:
        return str(route.path)
    # A route that FastAPI knows nothing of, and that has no parameters: its path is its template.
    taken = "endpoint" in scope and not scope.get("path_params")
    return str(scope["path"]) if taken else UNKNOWN_ROUTE


def shown_path(scope: Scope, route: str) -> str:
    """The path as the log may have it: no token in it, of an unknown one only the first word."""
    path = str(scope["path"])
    if route == UNKNOWN_ROUTE:
        return shortened("/" + path.lstrip("/").partition("/")[0])
    return route if _TOKEN in scope.get("path_params", {}) else shortened(path)
