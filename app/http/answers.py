"""Answers of queries on their way to the client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from app.http.faults import describe
from app.http.lanes import QueryLanes
from app.http.streaming import stream
from app.schema.access import identity_in
from app.services.query import QueryResult, write_answer
from app.stores.tables.control import StatementControl


class RunQuery(Protocol):
    """Starts a query."""

    def __call__(self, *, control: StatementControl) -> QueryResult:
        """``control`` stops it."""


async def answer_query(
    request: Request, run: RunQuery, lanes: QueryLanes, *, media_type: str
) -> Response:
    """What ``run`` finds, written as it comes in a place of ``lanes``; a client that hangs up stops
    the statement. Raises what is wrong before the first rows, and TooBusyError."""
    control = StatementControl()

    def answer() -> Iterator[bytes]:
        result = run(control=control)
        return write_answer(result, result.batches, describe_error=describe)

    slot = await lanes.enter(identity_in(request.state).account, control.pace)
    return await stream(
        request,
        answer,
        media_type=media_type,
        threads=lanes,
        on_hang_up=control.cancel,
        on_end=slot.leave,
    )
