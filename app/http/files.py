"""Files behind signed links: ranges, validators, a good name; the token decides, never a path."""

from __future__ import annotations

from typing import Final

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from app.http.faults import FaultStyle, answers_in
from app.services.links import Download, LinkService

READ: Final = ["GET", "HEAD"]
STATE_HEADER: Final = "X-Skyloom-Build-State"
"""Whether what is sent is stale (``build_state`` in ObsCore)."""
NOT_MODIFIED_HEADERS: Final = ("etag", "last-modified", "cache-control")


class _File(FileResponse):
    """Pieces are read by a thread: of small ones the change of threads is most of the time."""

    chunk_size = 1 << 20


def router(*, links: LinkService) -> APIRouter:
    """``/files/{token}/{name}`` (RFC 9110: conditional requests and ranges)."""
    files = APIRouter(tags=["Files"], dependencies=[answers_in(FaultStyle.TEXT)])

    @files.api_route("/files/{token}/{name}", methods=READ, summary="A file by its signed link")
    async def get_file(request: Request, token: str, name: str) -> Response:
        download = await to_thread.run_sync(links.open_file, token, name)
        return _answer(request, download)

    return files


def _answer(request: Request, download: Download) -> Response:
    state = {} if download.build_state is None else {STATE_HEADER: download.build_state}
    response = _File(
        download.file.path,
        media_type=download.media_type,
        filename=download.name,
        stat_result=download.file.facts,
        headers={"Cache-Control": "private", **state},
    )
    if _is_fresh(request, response.headers["etag"]):
        kept = {name: response.headers[name] for name in NOT_MODIFIED_HEADERS}
        return Response(status_code=304, headers=kept)
    return response


def _is_fresh(request: Request, etag: str) -> bool:
    """True if the client holds this version (If-None-Match, RFC 9110, section 13.1.2)."""
    given = request.headers.get("if-none-match", "")
    known = {part.strip().removeprefix("W/") for part in given.split(",")}
    return etag in known or given.strip() == "*"
