"""``/moc?COLLECTION=…``: where the images lie, as a space MOC (MOC 2.0): FITS, JSON or ASCII."""

from __future__ import annotations

import hashlib
from datetime import datetime
from email.utils import format_datetime
from typing import Final

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.errors import UnsupportedFormatError, quoted
from app.http.conditional import is_fresh
from app.http.description import described
from app.http.faults import FaultStyle, answers_in
from app.http.parameters import ParameterSet, read_parameters
from app.services.coverage import CoverageService
from app.services.coverage_request import (
    CoverageRequest,
    coverage_inputs,
    parse_coverage,
)
from app.sky.moc import WRITERS

ASK: Final = ["GET", "HEAD", "POST"]
AT_ONCE: Final = 2
"""Maps are put together on a core each."""
MAX_AGE_S: Final = 60
NAMES: Final = {
    "fits": "application/fits",
    "json": "application/json",
    "ascii": "text/plain",
    "txt": "text/plain",
    "text": "text/plain",
}


def router(*, coverage: CoverageService) -> APIRouter:
    """Coverage maps."""
    found = APIRouter(tags=["Coverage"], dependencies=[answers_in(FaultStyle.TEXT)])
    places = CapacityLimiter(AT_ONCE)

    told = described(coverage_inputs(), answers={200: tuple(WRITERS), 304: ()}, repeated=True)

    @found.api_route("/moc", methods=ASK, summary="Sky coverage of images, as a MOC", **told)
    async def moc(request: Request) -> Response:
        parameters = await read_parameters(request)
        media_type = _media_type(request, parameters)
        asked = parse_coverage(parameters)

        def answer() -> Response:
            return _answer(request, coverage, asked, media_type)

        return await to_thread.run_sync(answer, limiter=places)

    return found


def _answer(
    request: Request, coverage: CoverageService, asked: CoverageRequest, media_type: str
) -> Response:
    found = coverage.write(asked, media_type, WRITERS[media_type])
    headers = {
        "ETag": f'"{hashlib.sha256(found.content).hexdigest()[:32]}"',
        "Last-Modified": format_datetime(datetime.fromisoformat(found.modified), usegmt=True),
        "Cache-Control": f"public, max-age={MAX_AGE_S}",
        "Vary": "Accept",
    }
    if is_fresh(request, etag=headers["ETag"], modified=headers["Last-Modified"]):
        return Response(status_code=304, headers=headers)
    if media_type == NAMES["fits"]:
        headers["Content-Disposition"] = 'inline; filename="coverage.fits"'
    return Response(found.content, media_type=media_type, headers=headers)


def _media_type(request: Request, parameters: ParameterSet) -> str:
    """By RESPONSEFORMAT, else by the first of Accept that is offered; FITS where neither says."""
    asked = parameters.single("RESPONSEFORMAT") or parameters.single("FORMAT")
    if asked is not None:
        word = asked.strip().lower()
        found = NAMES.get(word) or next((each for each in WRITERS if each == word), None)
        if found is None:
            offered = ", ".join((*NAMES, *WRITERS))
            raise UnsupportedFormatError(
                "RESPONSEFORMAT", f"{quoted(asked)}; a map is one of {offered}"
            )
        return found
    for accepted in request.headers.get("accept", "").split(","):
        word = accepted.partition(";")[0].strip().lower()
        if word in WRITERS:
            return word
    return NAMES["fits"]
