"""Files behind signed links, one by one and as packages: the token decides, never a path."""

from __future__ import annotations

import time
from collections.abc import Sequence
from email.utils import formatdate
from typing import Final
from urllib.parse import quote

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from app.http.conditional import find_range, is_fresh
from app.http.faults import FaultStyle, answers_in
from app.http.streaming import stream
from app.services.links import Download, LinkService
from app.stores.files import PublishedFile, RemoteFile
from app.stores.tar_pieces import TarMember, tar_pieces, tar_size

TAR: Final = "application/x-tar"
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
        if isinstance(download.file, RemoteFile):
            return await _answer_from_elsewhere(request, download, download.file)
        return _answer(request, download, download.file)

    @files.api_route("/packages/{token}/{name}", methods=READ, summary="All files of a dataset")
    async def get_package(request: Request, token: str, name: str) -> Response:
        members = await to_thread.run_sync(links.open_package, token)
        return await _package(request, members, name)

    return files


async def _package(request: Request, members: Sequence[TarMember], name: str) -> Response:
    now_s = time.time()
    headers = {
        "Cache-Control": "private",
        "Content-Disposition": _disposition(name),
        "Content-Length": str(tar_size(members, now_s)),
    }
    if request.method == "HEAD":
        return Response(headers=headers, media_type=TAR)
    return await stream(
        request, lambda: tar_pieces(members, now_s), media_type=TAR, headers=headers
    )


async def _answer_from_elsewhere(
    request: Request, download: Download, file: RemoteFile
) -> Response:
    """Sent on as it comes. Of several ranges the whole is sent (RFC 9110, section 14.2)."""
    etag, modified = f'"{file.facts.mark}"', formatdate(file.modified_s, usegmt=True)
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private",
        "Content-Disposition": _disposition(download.name),
        "ETag": etag,
        **({"Last-Modified": modified} if file.modified_s else {}),
    }
    if is_fresh(request, etag=etag, modified=modified):
        return Response(status_code=304, headers=headers)
    size = file.size_bytes
    asked = find_range(request, size, etag=etag, modified=modified)
    start, stop = asked or (0, size)
    if start >= size > 0:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    if asked is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["Content-Length"] = str(stop - start)
    status = 200 if asked is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=download.media_type)
    answer = await stream(
        request,
        lambda: file.pieces(start, stop),
        media_type=download.media_type,
        headers=headers,
    )
    answer.status_code = status
    return answer


def _disposition(name: str) -> str:
    return f"attachment; filename*=UTF-8''{quote(name)}"


def _answer(request: Request, download: Download, file: PublishedFile) -> Response:
    state = {} if download.build_state is None else {STATE_HEADER: download.build_state}
    response = _File(
        file.path,
        media_type=download.media_type,
        filename=download.name,
        stat_result=file.facts,
        headers={"Cache-Control": "private", **state},
    )
    etag, modified = response.headers["etag"], response.headers["last-modified"]
    if is_fresh(request, etag=etag, modified=modified):
        kept = {name: response.headers[name] for name in NOT_MODIFIED_HEADERS}
        return Response(status_code=304, headers=kept)
    return response
