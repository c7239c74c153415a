"""``/psf?ID=…&POS=…``: the PSF of an image at a place, as FITS, PNG, or its shape as JSON."""

from __future__ import annotations

from typing import Final

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.errors import ParameterError, UnsupportedFormatError, quoted
from app.http.description import described
from app.http.faults import FaultStyle, answers_in
from app.http.parameters import ParameterSet, read_parameters
from app.recipes.request import parse_target
from app.recipes.values import number
from app.schema.access import identity_in
from app.services.psf import Place, PsfService
from app.services.psf_descriptor import psf_inputs
from app.sky.shapes import Point

ASK: Final = ["GET", "HEAD", "POST"]
AT_ONCE: Final = 2
"""A PSF may have to be measured, which takes a core and the memory of an image."""
MEDIA_TYPES: Final = {"fits": "application/fits", "png": "image/png", "json": "application/json"}


def router(*, psfs: PsfService) -> APIRouter:
    """PSFs at places."""
    found = APIRouter(tags=["PSF"], dependencies=[answers_in(FaultStyle.TEXT)])
    places = CapacityLimiter(AT_ONCE)

    told = described(psf_inputs(), answers={200: tuple(MEDIA_TYPES.values())}, required=("ID",))

    @found.api_route("/psf", methods=ASK, summary="PSF of an image at a place", **told)
    async def psf(request: Request) -> Response:
        parameters = await read_parameters(request)
        media_type = _media_type(request, parameters)
        dataset_id = parameters.require("ID", "the obs_publisher_did of an image")
        place = _place(parameters)
        identity = identity_in(request.state)
        answer = await to_thread.run_sync(
            psfs.evaluate, dataset_id, place, identity, limiter=places
        )
        if media_type == MEDIA_TYPES["json"]:
            return JSONResponse(answer.to_json())
        draw = answer.to_png if media_type == MEDIA_TYPES["png"] else answer.to_fits
        return Response(await to_thread.run_sync(draw), media_type=media_type)

    return found


def _place(parameters: ParameterSet) -> Place:
    """By POS, or by X and Y."""
    x, y, pos = (parameters.single(name) for name in ("X", "Y", "POS"))
    if pos is None:
        if x is None and y is None:
            raise ParameterError("POS", "give a position, such as POS=62 -37, or X and Y (pixels)")
        if x is None or y is None:
            missing, there = ("X", "Y") if x is None else ("Y", "X")
            raise ParameterError(missing, f"required beside {there}: both in pixels, from 0")
        return number("X", x), number("Y", y)
    if x is not None or y is not None:
        raise ParameterError("X" if x is not None else "Y", "POS says already where; leave it out")
    point = parse_target(pos)
    if not isinstance(point, Point):
        raise ParameterError("POS", "a PSF is that of one place: give longitude and latitude")
    return point


def _media_type(request: Request, parameters: ParameterSet) -> str:
    """By RESPONSEFORMAT, else by Accept; FITS where neither says."""
    asked = parameters.single("RESPONSEFORMAT") or parameters.single("FORMAT")
    if asked is None:
        accepted = request.headers.get("accept", "")
        return next((m for m in MEDIA_TYPES.values() if m in accepted), MEDIA_TYPES["fits"])
    word = asked.strip().lower()
    found = MEDIA_TYPES.get(word) or next((m for m in MEDIA_TYPES.values() if m == word), None)
    if found is None:
        raise UnsupportedFormatError(
            "RESPONSEFORMAT", f"{quoted(asked)}; a PSF is one of {', '.join(MEDIA_TYPES)}"
        )
    return found
