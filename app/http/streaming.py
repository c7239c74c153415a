"""Sync generators as response bodies: nothing is sent before the first piece is there, a short
body leaves whole, and a client that hangs up stops the work and closes the generator (Starlette
leaves it open, with its connection)."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeVar

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.errors import StoppedError

PIECE_BYTES: Final = 1 << 18
"""Chunks are gathered to pieces of about this length."""
FIRST_PIECE_BYTES: Final = 1 << 21
"""And to the first piece up to this length: the whole of a short answer, made in one go."""
_GATHERING_S: Final = 0.02
"""What has come is sent on after this time, however little."""

HangUpHandler = Callable[[], object]
Piece = tuple[bytes, bool]
"""Bytes, and whether they are the last."""

T = TypeVar("T")


class Threads(Protocol):
    """Where the chunks are made."""

    async def run(self, work: Callable[[], T]) -> T:
        """Do ``work`` in a thread, to its end even when the waiting task is cancelled."""


class SharedThreads:
    """The threads that all handlers use."""

    async def run(self, work: Callable[[], T]) -> T:
        """See :class:`Threads`."""
        return await to_thread.run_sync(work)


class OwnThreads:
    """A few threads of one's own, for work that keeps a core busy: more at once would only wait
    for each other."""

    def __init__(self, count: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(self, work: Callable[[], T]) -> T:
        """See :class:`Threads`."""
        context = contextvars.copy_context()  # the log names the request in these threads too
        future = asyncio.get_running_loop().run_in_executor(self._threads, context.run, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise


def _nothing() -> None:
    """The default of what is to be called."""


async def stream(
    request: Request,
    make: Callable[[], Iterator[bytes]],
    *,
    media_type: str,
    threads: Threads | None = None,
    headers: Mapping[str, str] | None = None,
    on_hang_up: HangUpHandler = _nothing,
    on_end: Callable[[], None] = _nothing,
) -> Response:
    """A response whose body is what ``make`` gives, made in ``threads``.

    The first piece is made before this returns: its errors are raised here, while the status can
    still tell them. ``on_hang_up`` is called in a thread as soon as the client is gone, also
    while a chunk is being made; it is to make that work end. ``on_end`` is called when all is
    over, once. The body of the request must have been read.
    """
    body = _Body(make, threads or SharedThreads(), on_end)
    client = _Client(request, on_hang_up)
    try:
        first, is_last = await body.piece()
    except BaseException:
        client.leave()
        await body.close()
        raise
    # Given as a header, the type stays as it is; as media_type it would get a charset.
    all_headers = {**(headers or {}), "content-type": media_type}
    if is_last:
        client.leave()
        await body.close()
        return Response(first, headers=all_headers)
    return _StreamedResponse(first, body, client, all_headers)


class _Body:
    """Chunks on their way, gathered to pieces."""

    def __init__(
        self, make: Callable[[], Iterator[bytes]], threads: Threads, on_end: Callable[[], None]
    ) -> None:
        self._make = make
        self._threads = threads
        self._on_end = on_end
        self._chunks: Iterator[bytes] | None = None
        self._is_over = False

    async def piece(self) -> Piece:
        """The next piece."""
        return await self._threads.run(self._gather)

    def _gather(self) -> Piece:
        enough = PIECE_BYTES
        if self._chunks is None:
            self._chunks = self._make()
            enough = FIRST_PIECE_BYTES
        gathered: list[bytes] = []
        length = 0
        until_s = time.monotonic() + _GATHERING_S
        for chunk in self._chunks:
            gathered.append(chunk)
            length += len(chunk)
            if length >= enough or (length and time.monotonic() > until_s):
                return b"".join(gathered), False
        self._is_over = True
        return b"".join(gathered), True

    async def close(self) -> None:
        """Close the generator, if it has not come to its end."""
        close = getattr(self._chunks, "close", None)
        try:
            if close is not None and not self._is_over:
                await self._threads.run(close)
        finally:
            self._on_end()


class _Client:
    """Notices when the client hangs up."""

    def __init__(self, request: Request, on_hang_up: HangUpHandler) -> None:
        self.is_gone = False
        self._on_hang_up = on_hang_up
        self._watch = asyncio.create_task(self._wait(request.receive))

    async def _wait(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.is_gone = True
        await to_thread.run_sync(self._on_hang_up)

    def leave(self) -> None:
        """Watch no longer."""
        self._watch.cancel()


class _StreamedResponse(Response):
    def __init__(
        self, first: bytes, body: _Body, client: _Client, headers: Mapping[str, str]
    ) -> None:
        super().__init__(headers=headers)
        if "Content-Length" not in headers:
            del self.headers["content-length"]
        self._first = first
        self._pieces = body
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code}
        try:
            await send({**start, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                await self._send_pieces(send)
            await send({"type": "http.response.body", "body": b""})
        except StoppedError:
            if not self._client.is_gone:
                raise
        finally:
            self._client.leave()
            await self._pieces.close()

    async def _send_pieces(self, send: Send) -> None:
        """Each piece is sent while the next one is being made."""
        piece, is_last = self._first, False
        while not self._client.is_gone:
            coming = None if is_last else asyncio.create_task(self._pieces.piece())
            try:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            finally:
                if coming is not None:
                    await asyncio.wait([coming])
            if coming is None:
                return
            piece, is_last = coming.result()
