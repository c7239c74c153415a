"""``/lightcurve?POS=…``: forced photometry at positions on all images that contain them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Final

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.errors import ParameterError, UnsupportedFormatError
from app.http.context import ServiceAddress, asks_for_page
from app.http.description import TABLE_TYPES, described
from app.http.faults import FaultStyle, answers_in, describe
from app.http.parameters import ParameterSet, read_form
from app.http.skymap import choose_format
from app.http.streaming import stream
from app.schema.access import Identity, identity_in
from app.services.figure import to_png, to_svg
from app.services.formats import VOTABLE_SERIALIZATIONS
from app.services.light_curve_descriptor import light_curve_inputs
from app.services.light_curve_plot import draw
from app.services.light_curve_request import LightCurveRequest, parse_light_curve
from app.services.light_curve_table import FIELDS, batches
from app.services.light_curves import LightCurveService
from app.services.uploads import UploadService, items_as_files
from app.tabular.registry import OutputFormat
from app.votable.writer import write_results

ASK: Final = ["GET", "HEAD", "POST"]
DEFAULT_ROWS: Final = 10_000
MAX_ROWS: Final = 100_000
PLOTTED_ROWS: Final = 10_000
PLOTS: Final = {"svg": "image/svg+xml", "png": "image/png"}


def router(
    *, light_curves: LightCurveService, uploads: UploadService, address: ServiceAddress
) -> APIRouter:
    """Light curves at positions."""
    found = APIRouter(tags=["Light curves"], dependencies=[answers_in(FaultStyle.VOTABLE)])

    told = described(light_curve_inputs(), answers={200: (*TABLE_TYPES, *PLOTS.values()), 303: ()})

    @found.api_route(
        "/lightcurve", methods=ASK, summary="Forced photometry at positions (POS=…)", **told
    )
    async def light_curve(request: Request) -> Response:
        identity = identity_in(request.state)
        form = await read_form(request, max_file_bytes=uploads.most_bytes(identity))
        parameters, files = items_as_files(*form)
        if asks_for_page(request) and "RESPONSEFORMAT" not in parameters:
            return RedirectResponse(f"{address.of(request)}/lightcurves?{request.url.query}", 303)
        plot = _plot(parameters)
        output, media_type = (None, "") if plot else _table(request, parameters)
        maxrec = parameters.integer("MAXREC", minimum=0)
        limit = min(DEFAULT_ROWS if maxrec is None else maxrec, MAX_ROWS)
        tables = await to_thread.run_sync(uploads.load, parameters, files, identity)
        asked = parse_light_curve(parameters.pairs, tables)
        if output is None:
            content = await to_thread.run_sync(_draw, plot, light_curves, asked, identity)
            return Response(content, media_type=PLOTS[plot])
        write = partial(_write, output, light_curves, asked, limit, identity)
        return await stream(request, write, media_type=media_type)

    return found


def _plot(parameters: ParameterSet) -> str:
    """The kind of picture that is asked for, if one is."""
    asked = parameters.single("RESPONSEFORMAT") or parameters.single("FORMAT") or ""
    word = asked.strip().lower().replace("svg xml", "svg+xml")
    return next((name for name, media in PLOTS.items() if word in (name, media)), "")


def _table(request: Request, parameters: ParameterSet) -> tuple[OutputFormat, str]:
    try:
        return choose_format(request, parameters)
    except UnsupportedFormatError as fault:
        pictures = ", ".join(f"{name} ({media})" for name, media in PLOTS.items())
        raise UnsupportedFormatError(fault.args[0], f"{fault.args[1]}, {pictures}") from None


def _draw(
    plot: str, light_curves: LightCurveService, asked: LightCurveRequest, identity: Identity
) -> bytes:
    if len(asked.positions) > 1:
        raise ParameterError("POS", "a plot shows one position")
    epochs = [epoch for part in light_curves.measure(asked, identity) for epoch in part]
    figure = draw(epochs[:PLOTTED_ROWS], asked.positions[0])
    return to_svg(figure).encode() if plot == "svg" else to_png(figure)


def _write(
    output: OutputFormat,
    light_curves: LightCurveService,
    asked: LightCurveRequest,
    limit: int,
    identity: Identity,
) -> Iterator[bytes]:
    """Without rows, nothing is measured: MAXREC=0 asks for the columns (DALI 1.1, 3.4.4)."""
    with closing(light_curves.measure(asked, identity)) as measured:
        rows = batches(measured if limit else ())
        serialization = VOTABLE_SERIALIZATIONS.get(output.name)
        if serialization is None:
            yield from output.write(FIELDS, rows, limit)
            return
        yield from write_results(
            FIELDS,
            rows,
            maxrec=limit,
            serialization=serialization,
            describe_error=describe,
            truncated=limit == 0,
        )
