"""A body made by a sync generator: errors before the first byte, and clients that hang up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from app.errors import StoreUnavailableError
from app.http.faults import FaultStyle, answers_in, install_fault_handlers
from app.http.streaming import FIRST_PIECE_BYTES, stream
from tests.http.archive import serving
from tests.waiting import PATIENCE_S, web

CHUNK_BYTES = 65536


class Source:
    """An endless body, or one that fails at a given piece; tells when it was closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.fail_at = -1

    def chunks(self) -> Iterator[bytes]:
        self.closed.clear()
        try:
            number = 0
            while True:
                if number == self.fail_at:
                    raise StoreUnavailableError("gone")
                yield b"x" * CHUNK_BYTES
                number += 1
        finally:
            self.closed.set()


@pytest.fixture(scope="module")
def source() -> Source:
    return Source()


@pytest.fixture(scope="module")
def url(source: Source) -> Iterator[str]:
    app = FastAPI()
    install_fault_handlers(app)

    @app.api_route("/body", methods=["GET", "HEAD"], dependencies=[answers_in(FaultStyle.VOTABLE)])
    async def body(request: Request) -> Response:
        return await stream(request, source.chunks, media_type="text/csv;header=present")

    @app.get("/short")
    async def short(request: Request) -> Response:
        return await stream(request, lambda: iter((b"one,", b"two,")), media_type="text/csv")

    @app.get("/middling")
    async def middling(request: Request) -> Response:
        chunks = (b"x" * 600_000, b"y")
        return await stream(request, lambda: iter(chunks), media_type="text/csv")

    with serving(app) as address:
        yield address


def test_a_hang_up_closes_the_source(url: str, source: Source) -> None:
    source.fail_at = -1
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port)) as client:
        client.sendall(b"GET /body HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        assert not source.closed.is_set()
    assert source.closed.wait(PATIENCE_S)


def test_an_error_before_the_first_piece_is_an_answer(url: str, source: Source) -> None:
    source.fail_at = 0
    answer = web.get(f"{url}/body")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert "TransientFault: The database does not answer now" in answer.text
    assert source.closed.is_set()


def test_an_error_later_breaks_the_connection(url: str, source: Source) -> None:
    source.fail_at = FIRST_PIECE_BYTES // CHUNK_BYTES + 5
    with pytest.raises(httpx.RemoteProtocolError):
        web.get(f"{url}/body")
    assert source.closed.is_set()


def test_head_sends_no_body(url: str, source: Source) -> None:
    source.fail_at = -1
    answer = web.head(f"{url}/body")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv;header=present"
    assert "content-length" not in answer.headers
    assert source.closed.wait(PATIENCE_S)


def test_an_error_within_the_first_piece_is_an_answer(url: str, source: Source) -> None:
    source.fail_at = 2
    assert web.get(f"{url}/body").status_code == 503


def test_a_short_body_leaves_whole(url: str) -> None:
    answer = web.get(f"{url}/short")
    assert (answer.text, answer.headers["content-length"]) == ("one,two,", "8")


def test_an_answer_of_one_batch_has_a_length(url: str) -> None:
    answer = web.get(f"{url}/middling")
    assert (len(answer.content), answer.headers["content-length"]) == (600_001, "600001")
