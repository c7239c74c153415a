"""Routes of pages: what they read, and how errors become pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from app.errors import ServiceError
from app.pages.document import PageWriter
from app.services.parameters import ParameterSet

Handler = Callable[[Request], Awaitable[Response]]
Explain = Callable[[ServiceError], tuple[int, str, Mapping[str, str]]]
ReadParameters = Callable[[Request], Awaitable[ParameterSet]]


def route_class(
    writer: PageWriter,
    parameters: ReadParameters,
    explain: Explain,
) -> type[APIRoute]:
    """Routes that read their parameters and whose errors are pages for people."""

    class PageRoute(APIRoute):
        def get_route_handler(self) -> Any:
            handle = cast(Handler, super().get_route_handler())

            async def handle_or_explain(request: Request) -> Response:
                try:
                    request.state.parameters = await parameters(request)
                    return await handle(request)
                except ServiceError as fault:
                    status, text, headers = explain(fault)
                    answer = writer.write_error(request, status, text)
                    answer.headers.update(headers)
                    return answer

            return handle_or_explain

    return PageRoute
