"""Queries for a page end when nobody waits for it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response

from app.stores.tables.control import StatementControl


async def answer_while_waited_for(
    request: Request,
    answer: Callable[[StatementControl], Response],
    *,
    places: CapacityLimiter,
) -> Response:
    """What ``answer`` makes in a thread, one of ``places``. Its statement is stopped when the
    client hangs up; it then raises StoppedError. The request has no body."""
    control = StatementControl()
    watch = asyncio.create_task(_cancel_when_gone(request, control))
    try:
        return await to_thread.run_sync(answer, control, limiter=places)
    finally:
        watch.cancel()


async def _cancel_when_gone(request: Request, control: StatementControl) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    await to_thread.run_sync(control.cancel)
