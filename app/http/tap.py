"""TAP 1.1: ``/tap/sync``, ``/tap/async``, ``/tap/tables``, ``/tap/capabilities``,
``/tap/availability``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.adql.user_functions import USER_FUNCTIONS
from app.errors import NotFoundError, ParameterError, quoted
from app.http import vosi
from app.http.answers import answer_query
from app.http.availability import Availability
from app.http.context import ServiceAddress
from app.http.description import TABLE_TYPES, XML_ANSWER, PlainRoute, described
from app.http.faults import FaultStyle, answers_in
from app.http.lanes import QueryLanes
from app.http.parameters import read_form, read_parameters
from app.http.uws import uws_router
from app.http.validate import VerdictPage, add_validate
from app.http.vosi import LanguageFeature, TapLimits
from app.schema.access import identity_in
from app.services.formats import FORMATS
from app.services.jobs import JobService
from app.services.links import LinkService
from app.services.query import QueryService, parse_query_request
from app.services.query_parameters import QUERY_INPUTS
from app.services.uploads import UploadService, items_as_files
from app.stores.results import ResultStore
from app.votable.descriptors import InputParameter

log = logging.getLogger(__name__)

READ: Final = ["GET", "HEAD"]
ASK: Final = ["GET", "HEAD", "POST"]
DETAILS: Final = ("min", "max")

_OFFERED: Final = (
    ("adqlgeo", "POINT CIRCLE POLYGON BOX REGION CONTAINS INTERSECTS DISTANCE AREA"),
    ("adqlgeo", "COORD1 COORD2 COORDSYS"),
    ("adql-string", "LOWER UPPER ILIKE"),
    ("adql-common-table", "WITH"),
    ("adql-sets", "UNION EXCEPT INTERSECT"),
    ("adql-offset", "OFFSET"),
    ("adql-type", "CAST"),
    ("adql-unit", "IN_UNIT"),
)
FEATURES: Final = (
    *(LanguageFeature(group, form) for group, forms in _OFFERED for form in forms.split()),
    *(LanguageFeature("udf", each.form, each.description) for each in USER_FUNCTIONS),
)
"""Optional parts of ADQL 2.1 (section 4) that the compiler knows. COALESCE is left out: STILTS
3.4.7 does not know its group and reports an error."""


def router(
    *,
    queries: QueryService,
    jobs: JobService,
    results: ResultStore,
    links: LinkService,
    uploads: UploadService,
    address: ServiceAddress,
    retention_s: int,
    has_examples: bool = False,
    verdict_page: VerdictPage | None = None,
    features: Sequence[LanguageFeature] = FEATURES,
    lanes: QueryLanes | None = None,
    availability: Availability | None = None,
) -> APIRouter:
    """Everything below ``/tap``. ``features`` are the optional parts of ADQL that are offered;
    ``has_examples``: ``/tap/examples`` is there, which the pages make; ``verdict_page`` tells a
    browser what is to be said of a query; ``lanes`` is where synchronous queries run."""
    tap = APIRouter(tags=["TAP"], dependencies=[answers_in(FaultStyle.VOTABLE)])
    _add_sync(tap, queries, uploads, address, lanes or QueryLanes())
    _add_tables(tap, queries)
    _add_availability(tap, availability or Availability(queries.ping))
    add_validate(tap, queries, uploads, verdict_page)

    @tap.api_route("/tap/capabilities", methods=READ, summary="VOSI capabilities", **XML_ANSWER)
    async def capabilities(request: Request) -> Response:
        identity = identity_in(request.state)
        most_rows = queries.most_rows(identity)
        limits = TapLimits(
            default_rows=min(queries.default_rows, most_rows),
            max_rows=most_rows,
            time_limit_s=int(queries.time_limit_s),
            retention_s=retention_s,
            upload_bytes=uploads.most_bytes(identity),
        )
        document = vosi.write_tap_capabilities(
            address.of(request),
            formats=FORMATS.formats,
            features=features,
            limits=limits,
            has_examples=has_examples,
        )
        return Response(document, media_type=vosi.MEDIA_TYPE)

    tap.include_router(
        uws_router(
            prefix="/tap/async",
            kind="tap",
            jobs=jobs,
            results=results,
            links=links,
            address=address,
            style=FaultStyle.VOTABLE,
            inputs=QUERY_INPUTS,
            uploads=uploads,
        )
    )
    return tap


def _add_sync(
    tap: APIRouter,
    queries: QueryService,
    uploads: UploadService,
    address: ServiceAddress,
    lanes: QueryLanes,
) -> None:
    async def sync(request: Request) -> Response:
        request.state.fault_style = FaultStyle.VOTABLE
        identity = identity_in(request.state)
        form = await read_form(request, max_file_bytes=uploads.most_bytes(identity))
        parameters, files = items_as_files(*form)
        asked = parse_query_request(parameters, service_url=address.of(request))
        run_id = parameters.single("RUNID")
        if run_id is not None:
            log.info("query of run %r", run_id)
        if "UPLOAD" in parameters:
            tables = await to_thread.run_sync(uploads.load, parameters, files, identity)
            asked = replace(asked, uploads=tables)
        run = partial(queries.run, replace(asked, most_rows=queries.most_rows(identity)))
        return await answer_query(request, run, lanes, media_type=asked.media_type)

    tap.add_api_route(
        "/tap/sync",
        sync,
        methods=ASK,
        summary="Run an ADQL query",
        route_class_override=PlainRoute,
        **described(QUERY_INPUTS, answers={200: TABLE_TYPES}, required=("QUERY",)),
    )


def _add_tables(tap: APIRouter, queries: QueryService) -> None:
    detail = InputParameter(name="detail", description="With columns, or not", options=DETAILS)
    told = described((detail,), answers={200: (vosi.MEDIA_TYPE,)})

    @tap.api_route("/tap/tables", methods=READ, summary="VOSI tables", **told)
    async def tables(request: Request) -> Response:
        parameters = await read_parameters(request)
        detail = (parameters.single("detail") or "max").strip().lower()
        if detail not in DETAILS:
            raise ParameterError("detail", f"min or max, got {quoted(detail)}")
        catalog = await to_thread.run_sync(queries.current_catalog)
        document = vosi.write_tableset(catalog, columns=detail == "max")
        return Response(document, media_type=vosi.MEDIA_TYPE)

    @tap.api_route(
        "/tap/tables/{name}", methods=READ, summary="VOSI description of one table", **XML_ANSWER
    )
    async def table(name: str) -> Response:
        catalog = await to_thread.run_sync(queries.current_catalog)
        found = catalog.by_name().get(name.lower())
        if found is None:
            raise NotFoundError(f"The table {quoted(name)}")
        return Response(vosi.write_table(found), media_type=vosi.MEDIA_TYPE)


def _add_availability(tap: APIRouter, available: Availability) -> None:
    @tap.api_route("/tap/availability", methods=READ, summary="VOSI availability", **XML_ANSWER)
    async def availability() -> Response:
        return await available.answer()
