"""``/hips``: the progressive surveys that are here (HiPS 1.0, section 5), and their files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

from app.http.conditional import is_fresh
from app.http.context import ServiceAddress
from app.http.description import FILE_ANSWERS, described
from app.http.faults import FaultStyle, answers_in
from app.services.hips.shelf import HipsShelf, ShownSurvey

READ: Final = ["GET", "HEAD"]
MAX_AGE_S: Final = {".png": 3600, ".fits": 3600, "": 60}
"""How long clients keep files, by the end of their names; properties tell that there are others."""
MEDIA_TYPES: Final = {".png": "image/png", ".fits": "application/fits", "": "text/plain"}
_LISTED: Final = (
    *("creator_did", "hips_release_date", "hips_status", "obs_title", "hips_order"),
    *("hips_tile_format", "hips_frame", "moc_sky_fraction"),
)
_KEPT: Final = ("etag", "last-modified", "cache-control")


def router(*, shelf: HipsShelf, address: ServiceAddress) -> APIRouter:
    """The list and the files."""
    found = APIRouter(tags=["HiPS"], dependencies=[answers_in(FaultStyle.TEXT)])

    @found.api_route(
        "/hips",
        methods=READ,
        summary="Progressive surveys, as a HiPS list",
        **described(answers={200: ("text/plain",)}),
    )
    async def surveys(request: Request) -> Response:
        shown = await to_thread.run_sync(shelf.surveys)
        return PlainTextResponse(hips_list(shown, address.of(request)))

    @found.api_route(
        "/hips/{name}/{path:path}",
        methods=READ,
        summary="A file of a survey",
        **described(answers=FILE_ANSWERS),
    )
    async def file(request: Request, name: str, path: str) -> Response:
        return _answer(request, await to_thread.run_sync(shelf.find, name, path))

    return found


def hips_list(surveys: Iterable[ShownSurvey], service_url: str) -> str:
    """HiPS 1.0, section 5.2: a record for each survey, an empty line between them."""
    records = []
    for survey in surveys:
        facts = {name: survey.properties[name] for name in _LISTED if name in survey.properties}
        facts["hips_service_url"] = f"{service_url}/hips/{survey.name}"
        records.append("".join(f"{key:<20}= {value}\n" for key, value in facts.items()))
    return "\n".join(records)


def _answer(request: Request, path: Path) -> Response:
    response = FileResponse(
        path,
        stat_result=path.stat(),
        media_type=MEDIA_TYPES[path.suffix],
        headers={"Cache-Control": f"public, max-age={MAX_AGE_S[path.suffix]}"},
    )
    etag, modified = response.headers["etag"], response.headers["last-modified"]
    if is_fresh(request, etag=etag, modified=modified):
        return Response(status_code=304, headers={k: response.headers[k] for k in _KEPT})
    return response
