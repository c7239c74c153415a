"""Each request as a span of a trace, where traces are asked for (:mod:`app.traces`)."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import traces
from app.http.faults import METHODS
from app.http.watching import route_of
from app.logs import current_request

_SERVER_FAULT: Final = 500


class Traced:
    """A layer of the application, within that which gives requests their identifiers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI. The span begins with the name of the method; the route is known at its end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = _SERVER_FAULT

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        with traces.span(
            method,
            parent=_parent(scope),
            kind="server",
            http_request_method=method,
            skyloom_request=current_request(),
        ) as span:
            try:
                await self._app(scope, receive, sent)
            finally:
                if span is not None:
                    route = route_of(scope)
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)
                    span.set_attribute("http.response.status_code", status)
                    if status >= _SERVER_FAULT:
                        traces.mark_failed(span, str(status))


def _parent(scope: Scope) -> str | None:
    """What the client says that it is part of."""
    name = traces.PARENT.encode()
    found = [value for key, value in scope["headers"] if key == name]
    return found[0].decode("latin-1") if len(found) == 1 else None
