"""Files as answers (RFC 9110: conditional requests and ranges), wherever they lie: sent, sent on,
or fetched from their storage by the client itself."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from app.http.conditional import find_range, is_fresh
from app.http.streaming import stream
from app.services.links import Download
from app.stores.files import PublishedFile, RemoteFile

STATE_HEADER: Final = "X-Skyloom-Build-State"
"""Whether what is sent is stale (``build_state`` in ObsCore)."""
NOT_MODIFIED_HEADERS: Final = ("etag", "last-modified", "cache-control")
_NOTHING: Final[Mapping[str, str]] = {}


class _File(FileResponse):
    """Pieces are read by a thread: of small ones the change of threads is most of the time."""

    chunk_size = 1 << 20


async def answer_file(
    request: Request, download: Download, more: Mapping[str, str] = _NOTHING
) -> Response:
    """The file, with ``more`` headers; or the way to it (307): its address there is good for one
    method, GET, and for a while."""
    if isinstance(download.file, PublishedFile):
        return _answer(request, download, download.file, more)
    if download.moved is not None and request.method != "HEAD":
        headers = {"Cache-Control": "private, no-store", **more}
        status = 307 if request.method == "GET" else 303
        return RedirectResponse(download.moved, status_code=status, headers=headers)
    return await _answer_from_elsewhere(request, download, download.file, more)


async def _answer_from_elsewhere(
    request: Request, download: Download, file: RemoteFile, more: Mapping[str, str]
) -> Response:
    """Sent on as it comes. Of several ranges the whole is sent (RFC 9110, section 14.2)."""
    etag, modified = f'"{file.facts.mark}"', formatdate(file.modified_s, usegmt=True)
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private",
        **_named(download),
        "ETag": etag,
        **({"Last-Modified": modified} if file.modified_s else {}),
        **_state(download),
        **more,
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
        return Response(status_code=status, headers={**headers, **_typed(download)})
    answer = await stream(
        request,
        lambda: file.pieces(start, stop),
        media_type=download.media_type,
        headers=headers,
    )
    answer.status_code = status
    return answer


def _named(download: Download) -> dict[str, str]:
    return {} if download.name is None else {"Content-Disposition": disposition(download.name)}


def _typed(download: Download) -> dict[str, str]:
    """Given as a header the type stays as it is; as media_type texts would get a charset."""
    return {"Content-Type": download.media_type}


def _state(download: Download) -> dict[str, str]:
    return {} if download.build_state is None else {STATE_HEADER: download.build_state}


def disposition(name: str) -> str:
    """That a file is to be kept under a name."""
    return f"attachment; filename*=UTF-8''{quote(name)}"


def _answer(
    request: Request, download: Download, file: PublishedFile, more: Mapping[str, str]
) -> Response:
    response = _File(
        file.path,
        filename=download.name,
        stat_result=file.facts,
        headers={"Cache-Control": "private", **_typed(download), **_state(download), **more},
    )
    etag, modified = response.headers["etag"], response.headers["last-modified"]
    if is_fresh(request, etag=etag, modified=modified):
        kept = {name: response.headers[name] for name in NOT_MODIFIED_HEADERS}
        return Response(status_code=304, headers=kept)
    return response
