"""Sync generators as response bodies: nothing is sent before the first piece is there, and a
client that hangs up closes the generator (Starlette leaves it open, with its connection)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping

import anyio
from anyio import to_thread
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send


async def stream(
    chunks: Iterator[bytes],
    *,
    media_type: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A response whose body is ``chunks``, each made in a thread.

    The first chunk is made before this returns: its errors are raised here, while the status can
    still tell them.
    """
    try:
        first = await to_thread.run_sync(next, chunks, b"")
    except BaseException:
        await _close(chunks)
        raise
    return _ClosingResponse(first, chunks, media_type=media_type, headers=headers)


class _ClosingResponse(StreamingResponse):
    def __init__(
        self,
        first: bytes,
        chunks: Iterator[bytes],
        *,
        media_type: str,
        headers: Mapping[str, str] | None,
    ) -> None:
        self._chunks = chunks
        # Given as a header, the type stays as it is; as media_type it would get a charset.
        super().__init__(
            _pieces(first, chunks), headers={**(headers or {}), "content-type": media_type}
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] == "HEAD":
                await self._send_head(send)
            else:
                await super().__call__(scope, receive, send)
        finally:
            await _close(self._chunks)

    async def _send_head(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": b""})


async def _pieces(first: bytes, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    piece: bytes | None = first
    while piece is not None:
        if piece:
            yield piece
        piece = await to_thread.run_sync(next, chunks, None)


async def _close(chunks: Iterator[bytes]) -> None:
    close = getattr(chunks, "close", None)
    if close is not None:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(close)
