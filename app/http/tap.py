"""TAP 1.1: ``/tap/sync``, ``/tap/async``, ``/tap/tables``, ``/tap/capabilities``,
``/tap/availability``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.errors import NotFoundError, ParameterError, ServiceError
from app.http import vosi
from app.http.context import ServiceAddress
from app.http.faults import FaultStyle, answers_in, describe, explain
from app.http.parameters import read_parameters
from app.http.streaming import stream
from app.http.uws import uws_router
from app.http.vosi import LanguageFeature, TapLimits
from app.schema.fields import Catalog
from app.services.formats import FORMATS
from app.services.jobs import JobService
from app.services.links import LinkService
from app.services.query import QueryService, parse_query_request, write_answer
from app.stores.results import ResultStore

READ: Final = ["GET", "HEAD"]
ASK: Final = ["GET", "HEAD", "POST"]
DETAILS: Final = ("min", "max")

_OFFERED: Final = (
    ("adqlgeo", "POINT CIRCLE POLYGON BOX REGION CONTAINS INTERSECTS DISTANCE AREA"),
    ("adqlgeo", "COORD1 COORD2 COORDSYS"),
    ("adql-string", "LOWER UPPER ILIKE"),
    ("adql-offset", "OFFSET"),
)
FEATURES: Final = tuple(
    LanguageFeature(group, form) for group, forms in _OFFERED for form in forms.split()
)
"""Optional parts of ADQL 2.1 (section 4) that the compiler knows. COALESCE is left out: STILTS
3.4.7 does not know its group and reports an error."""


def router(
    *,
    queries: QueryService,
    jobs: JobService,
    results: ResultStore,
    links: LinkService,
    address: ServiceAddress,
    retention_s: int,
    features: Sequence[LanguageFeature] = FEATURES,
) -> APIRouter:
    """Everything below ``/tap``. ``features`` are the optional parts of ADQL that are offered."""
    tap = APIRouter(tags=["TAP"], dependencies=[answers_in(FaultStyle.VOTABLE)])
    limits = TapLimits(
        default_rows=queries.default_rows,
        max_rows=queries.max_rows,
        time_limit_s=int(queries.time_limit_s),
        retention_s=retention_s,
    )
    _add_sync(tap, queries, address)
    _add_tables(tap, queries.catalog)
    _add_availability(tap, queries)

    @tap.api_route("/tap/capabilities", methods=READ, summary="VOSI capabilities")
    async def capabilities(request: Request) -> Response:
        document = vosi.write_tap_capabilities(
            address.of(request), formats=FORMATS.formats, features=features, limits=limits
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
        )
    )
    return tap


def _add_sync(tap: APIRouter, queries: QueryService, address: ServiceAddress) -> None:
    @tap.api_route("/tap/sync", methods=ASK, summary="Run a query and wait for its answer")
    async def sync(request: Request) -> Response:
        parameters = await read_parameters(request)
        asked = parse_query_request(parameters, service_url=address.of(request))
        result = await to_thread.run_sync(queries.run, asked)
        answer = write_answer(result, result.batches, describe_error=describe)
        return await stream(answer, media_type=asked.media_type)


def _add_tables(tap: APIRouter, catalog: Catalog) -> None:
    @tap.api_route("/tap/tables", methods=READ, summary="VOSI tables")
    async def tables(request: Request) -> Response:
        parameters = await read_parameters(request)
        detail = (parameters.single("detail") or "max").strip().lower()
        if detail not in DETAILS:
            raise ParameterError("detail", f"min or max, got {detail!r}")
        document = vosi.write_tableset(catalog, columns=detail == "max")
        return Response(document, media_type=vosi.MEDIA_TYPE)

    @tap.api_route("/tap/tables/{name}", methods=READ, summary="VOSI description of one table")
    async def table(name: str) -> Response:
        found = catalog.by_name().get(name.lower())
        if found is None:
            raise NotFoundError(f"The table {name!r}")
        return Response(vosi.write_table(found), media_type=vosi.MEDIA_TYPE)


def _add_availability(tap: APIRouter, queries: QueryService) -> None:
    @tap.api_route("/tap/availability", methods=READ, summary="VOSI availability")
    async def availability() -> Response:
        try:
            await to_thread.run_sync(queries.ping)
        except ServiceError as error:
            document = vosi.write_availability(available=False, note=explain(error)[1])
        else:
            document = vosi.write_availability(available=True, note="accepting queries")
        return Response(document, media_type=vosi.MEDIA_TYPE)
