"""``/skymap?POS=…``: which patches of the sky map cover a region, and what there is of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from app.errors import (
    AuthenticationError,
    ForbiddenError,
    NotFoundError,
    UnsupportedFormatError,
    quoted,
)
from app.http.context import ServiceAddress, asks_for_page
from app.http.description import JSON_ANSWER, TABLE_TYPES, described
from app.http.faults import FaultStyle, answers_in, describe
from app.http.parameters import ParameterSet, read_parameters
from app.http.streaming import stream
from app.recipes.request import parse_target
from app.schema.access import Identity, identity_in
from app.services.formats import FORMATS, VOTABLE_SERIALIZATIONS
from app.services.links import LinkService
from app.services.skymap import FIELDS, PatchCover, SkyMapService, describe_patch, table_rows
from app.tabular.registry import OutputFormat
from app.votable.descriptors import InputParameter, number_input
from app.votable.writer import write_results

READ: Final = ["GET", "HEAD"]
ASK: Final = ["GET", "HEAD", "POST"]
DEFAULT_ROWS: Final = 1000
MAX_ROWS: Final = 20_000
INPUTS: Final = (
    InputParameter(name="POS", description="A position or region, such as CIRCLE 62 -37 0.1"),
    InputParameter(name="BAND", description="Only what there is in this band"),
    number_input("MAXREC", "Patches at most", datatype="int", limits=("0", None)),
    InputParameter(
        name="RESPONSEFORMAT",
        description="Format of the answer, also as a media type",
        options=tuple(each.names[0] for each in FORMATS.formats),
    ),
)


def router(*, skymap: SkyMapService, links: LinkService, address: ServiceAddress) -> APIRouter:
    """The sky map and its patches."""
    found = APIRouter(tags=["Sky map"], dependencies=[answers_in(FaultStyle.VOTABLE)])

    told = described(INPUTS, answers={200: TABLE_TYPES, 303: ()}, required=("POS",))

    @found.api_route("/skymap", methods=ASK, summary="Patches that cover a region (POS=…)", **told)
    async def cover(request: Request) -> Response:
        parameters = await read_parameters(request)
        if asks_for_page(request) and "RESPONSEFORMAT" not in parameters:
            return RedirectResponse(f"{address.of(request)}/sky?{request.url.query}", 303)
        output, media_type = choose_format(request, parameters)
        shape = parse_target(parameters.require("POS", "a position or region, such as POS=62 -37"))
        bands = parameters.all("BAND")
        maxrec = parameters.integer("MAXREC", minimum=0)
        limit = min(DEFAULT_ROWS if maxrec is None else maxrec, MAX_ROWS)
        patches = await to_thread.run_sync(lambda: skymap.cover(shape, bands=bands, most=limit + 1))
        return await stream(request, lambda: _write(output, patches, limit), media_type=media_type)

    @found.api_route(
        "/skymap/{tract}/{patch}", methods=READ, summary="One patch, as JSON", **JSON_ANSWER
    )
    async def patch(request: Request, tract: str, patch: str) -> Response:
        there = await to_thread.run_sync(skymap.patch, tract, patch)
        return JSONResponse(describe_patch(there, address.of(request)))

    @found.api_route(
        "/skymap/{tract}/{patch}/{band}",
        methods=READ,
        summary="The newest template of a patch",
        **described(answers={303: ()}),
    )
    async def template(request: Request, tract: str, patch: str, band: str) -> Response:
        there = await to_thread.run_sync(skymap.patch, tract, patch)
        built = [name for each in there.bands if each.band == band for name in each.templates]
        if not built:
            raise NotFoundError(
                f"A template of patch {patch} of tract {tract} in band {quoted(band)}"
            )
        identity = identity_in(request.state)
        url = await to_thread.run_sync(_newest_url, links, built, address.of(request), identity)
        return RedirectResponse(url, status_code=303)

    return found


def _newest_url(
    links: LinkService, built: Sequence[str], service_url: str, identity: Identity
) -> str:
    """The address of the newest template that someone may have, of one or more. Raises
    AuthenticationError, ForbiddenError when they may have none."""
    for name in reversed(built[1:]):
        with suppress(AuthenticationError, ForbiddenError):
            return links.file_url(name, service_url, identity)
    return links.file_url(built[0], service_url, identity)


def choose_format(request: Request, parameters: ParameterSet) -> tuple[OutputFormat, str]:
    """The format that RESPONSEFORMAT names, else the first of Accept that is offered, and the
    media type to label the answer with."""
    asked = parameters.single("RESPONSEFORMAT") or parameters.single("FORMAT")
    if asked is not None:
        return FORMATS.choose(asked)
    for accepted in request.headers.get("accept", "").split(","):
        try:
            return FORMATS.choose(accepted.partition(";q=")[0].strip() or None)
        except UnsupportedFormatError:
            continue
    return FORMATS.choose(None)


def _write(output: OutputFormat, patches: tuple[PatchCover, ...], limit: int) -> Iterator[bytes]:
    serialization = VOTABLE_SERIALIZATIONS.get(output.name)
    if serialization is None:
        return output.write(FIELDS, table_rows(patches), limit)
    return write_results(
        FIELDS,
        table_rows(patches),
        maxrec=limit,
        serialization=serialization,
        describe_error=describe,
    )
