"""SODA 1.0: ``/soda/sync`` answers with a part of an image; ``/soda/capabilities`` and
``/soda/availability``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.errors import UnsupportedFormatError, quoted
from app.http import vosi
from app.http.availability import availability_of
from app.http.context import ServiceAddress
from app.http.faults import FaultStyle, answers_in
from app.http.parameters import ParameterSet, read_parameters
from app.http.streaming import stream
from app.recipes.cutout import CutoutRequest, parse_cutout
from app.services.cutout_files import CutoutWriter
from app.services.cutouts import CutoutService
from app.services.query import QueryService

ASK: Final = ["GET", "HEAD", "POST"]
READ: Final = ["GET", "HEAD"]
FITS_TYPE: Final = "application/fits"
FORMATS: Final = frozenset({"fits", FITS_TYPE, "image/fits"})
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


def router(
    *,
    cutouts: CutoutService,
    writer: CutoutWriter,
    queries: QueryService,
    address: ServiceAddress,
) -> APIRouter:
    """Everything below ``/soda``."""
    soda = APIRouter(tags=["SODA"], dependencies=[answers_in(FaultStyle.TEXT)])

    @soda.api_route("/soda/sync", methods=ASK, summary="A part of an image")
    async def cut(request: Request) -> Response:
        parameters = await read_parameters(request)
        _require_fits(parameters)
        asked = parse_cutout(parameters.pairs)

        def make() -> Iterator[bytes]:
            return writer.write(cutouts.find(asked))

        headers = {"Content-Disposition": f'attachment; filename="{_name(asked)}"'}
        return await stream(request, make, media_type=FITS_TYPE, headers=headers)

    @soda.api_route("/soda/capabilities", methods=READ, summary="VOSI capabilities")
    async def capabilities(request: Request) -> Response:
        document = vosi.write_soda_capabilities(address.of(request))
        return Response(document, media_type=vosi.MEDIA_TYPE)

    @soda.api_route("/soda/availability", methods=READ, summary="VOSI availability")
    async def availability() -> Response:
        return await availability_of(queries)

    return soda


def _require_fits(parameters: ParameterSet) -> None:
    asked = parameters.single("RESPONSEFORMAT") or parameters.single("FORMAT") or FITS_TYPE
    if asked.strip().lower() not in FORMATS:
        raise UnsupportedFormatError("RESPONSEFORMAT", f"{quoted(asked)}; offered is {FITS_TYPE}")


def _name(asked: CutoutRequest) -> str:
    """The image's own name, as far as it can be one of a file."""
    tail = re.split(r"[?/]", asked.dataset_id)[-1]
    return f"{_UNSAFE.sub('_', tail) or 'image'}_cutout.fits"
