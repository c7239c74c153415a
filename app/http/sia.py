"""SIA 2.0: ``/sia/query``, ``/sia/capabilities``, ``/sia/availability``."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.http import vosi
from app.http.answers import answer_query
from app.http.availability import Availability
from app.http.context import ServiceAddress
from app.http.description import TABLE_TYPES, XML_ANSWER, PlainRoute, described
from app.http.faults import FaultStyle, answers_in
from app.http.lanes import QueryLanes
from app.http.parameters import read_form
from app.schema.access import identity_in
from app.schema.uploads import UploadedTable
from app.services.discovery import choose_output, describe_discovery, parse_discovery
from app.services.query import QueryResult, QueryService
from app.services.uploads import UploadService, items_as_files
from app.stores.tables.control import StatementControl

log = logging.getLogger(__name__)

READ: Final = ["GET", "HEAD"]
ASK: Final = ["GET", "HEAD", "POST"]


def router(
    *,
    queries: QueryService,
    uploads: UploadService,
    address: ServiceAddress,
    lanes: QueryLanes | None = None,
    availability: Availability | None = None,
) -> APIRouter:
    """Everything below ``/sia``; ``lanes`` is where queries run."""
    sia = APIRouter(tags=["SIA"], dependencies=[answers_in(FaultStyle.VOTABLE)])
    _add_query(sia, queries, uploads, address, lanes or QueryLanes())

    @sia.api_route("/sia/capabilities", methods=READ, summary="VOSI capabilities", **XML_ANSWER)
    async def capabilities(request: Request) -> Response:
        service_url = address.of(request)
        document = vosi.write_sia_capabilities(service_url, describe_discovery(service_url))
        return Response(document, media_type=vosi.MEDIA_TYPE)

    available = availability or Availability(queries.ping)

    @sia.api_route("/sia/availability", methods=READ, summary="VOSI availability", **XML_ANSWER)
    async def availability_now() -> Response:
        return await available.answer()

    return sia


def _add_query(
    sia: APIRouter,
    queries: QueryService,
    uploads: UploadService,
    address: ServiceAddress,
    lanes: QueryLanes,
) -> None:
    async def query(request: Request) -> Response:
        request.state.fault_style = FaultStyle.VOTABLE
        identity = identity_in(request.state)
        form = await read_form(request, max_file_bytes=uploads.most_bytes(identity))
        parameters, files = items_as_files(*form)
        run_id = parameters.single("RUNID")
        if run_id is not None:
            log.info("search for images of run %r", run_id)
        tables: tuple[UploadedTable, ...] = ()
        if "UPLOAD" in parameters:
            tables = await to_thread.run_sync(uploads.load, parameters, files, identity)
        service_url = address.of(request)

        def run(*, control: StatementControl) -> QueryResult:
            asked = parse_discovery(parameters, service_url=service_url, uploads=tables)
            asked = replace(asked, most_rows=queries.most_rows(identity))
            find = queries.describe if asked.maxrec == 0 else queries.run
            return find(asked, control=control)

        _, media_type = choose_output(parameters)
        return await answer_query(request, run, lanes, media_type=media_type)

    sia.add_api_route(
        "/sia/query",
        query,
        methods=ASK,
        summary="Images by position, time, band and more (SIA 2.0)",
        route_class_override=PlainRoute,
        **described(describe_discovery("").inputs, answers={200: TABLE_TYPES}, repeated=True),
    )
