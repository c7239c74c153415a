"""Files behind signed links, one by one and as packages: the token decides, never a path."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.http.description import FILE_ANSWERS, described
from app.http.faults import FaultStyle, answers_in
from app.http.sent_files import answer_file, disposition
from app.http.streaming import stream
from app.services.links import LinkService
from app.stores.tar_pieces import TarMember, tar_pieces, tar_size

TAR: Final = "application/x-tar"
READ: Final = ["GET", "HEAD"]


def router(*, links: LinkService) -> APIRouter:
    """``/files/{token}/{name}`` and ``/packages/{token}/{name}``."""
    files = APIRouter(tags=["Files"], dependencies=[answers_in(FaultStyle.TEXT)])

    @files.api_route(
        "/files/{token}/{name}",
        methods=READ,
        summary="A file by its signed link",
        **described(answers=FILE_ANSWERS),
    )
    async def get_file(request: Request, token: str, name: str) -> Response:
        download = await to_thread.run_sync(links.open_file, token, name)
        return await answer_file(request, download)

    @files.api_route(
        "/packages/{token}/{name}",
        methods=READ,
        summary="All files of a dataset",
        **described(answers={200: (TAR,)}),
    )
    async def get_package(request: Request, token: str, name: str) -> Response:
        members = await to_thread.run_sync(links.open_package, token)
        return await _package(request, members, name)

    return files


async def _package(request: Request, members: Sequence[TarMember], name: str) -> Response:
    now_s = time.time()
    headers = {
        "Cache-Control": "private",
        "Content-Disposition": disposition(name),
        "Content-Length": str(tar_size(members, now_s)),
    }
    if request.method == "HEAD":
        return Response(headers=headers, media_type=TAR)
    return await stream(
        request, lambda: tar_pieces(members, now_s), media_type=TAR, headers=headers
    )
