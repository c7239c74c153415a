"""Requests that no client should send: wrong parameters, encodings, forms, sizes and framing."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote_from_bytes

ENDPOINTS: Final = (
    "/tap/sync", "/tap/sync", "/tap/sync", "/tap/async", "/tap/tables", "/tap/tables/ivoa.ObsCore",
    "/tap/tables/nothing", "/tap/capabilities", "/tap/availability", "/tap/examples",
    "/tap/validate", "/tap/async/{job}", "/tap/async/{job}/phase", "/tap/async/{job}/parameters",
    "/tap/async/{job}/parameters/QUERY", "/tap/async/{job}/executionduration",
    "/tap/async/{job}/destruction", "/tap/async/{job}/results/result", "/tap/async/{job}/error",
    "/datalink/links", "/builds/template/sync", "/builds/difference/async", "/", "/search",
    "/files/x", "/files/..%2f..%2fetc%2fpasswd", "/tap/async/%00", "/tap/async/..%2f..", "/%ff%fe",
    "/images", "/previews", "/query", "/sky", "/skymap", "/skymap/1/x", "/psf", "/jobs/tap/{job}",
    "/jobs/template", "/jobs/difference", "/builds/template/async", "/sia/query", "/sia/query",
    "/sia/capabilities", "/sia/availability", "/sia",
)  # fmt: skip
METHODS: Final = ("GET", "GET", "POST", "POST", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS")
NAMES: Final = (
    "QUERY", "query", "LANG", "MAXREC", "RESPONSEFORMAT", "FORMAT", "REQUEST", "RUNID", "UPLOAD",
    "PHASE", "WAIT", "AFTER", "LAST", "DESTRUCTION", "EXECUTIONDURATION", "ACTION", "ID", "POS",
    "BAND", "TIME", "TRACT", "PATCH", "KERNEL_ORDER", "SIZE", "SR", "X", "Y",
    "detail", "FIX", "", "\u00e9", "a b", "x" * 3000, "TEMPLATE_IDS", "t1",
    "POL", "CALIB", "DPTYPE", "TARGET", "FOV",
)  # fmt: skip
QUERY: Final = "SELECT TOP 1 table_name FROM TAP_SCHEMA.tables"
VALUES: Final = (
    QUERY, "SELECT TOP 2 s_region FROM ivoa.ObsCore", "ADQL", "ADQL-9", "", " ", "-1", "0", "1e3",
    "9" * 400, "9" * 5000, "NaN", "inf", "-Inf", "\u0663", "1_000", "0x10", "votable", "csv",
    "text/csv; a=b",
    "fits;;", "application/x-votable+xml;serialization=NONE", "a\r\nSet-Cookie: x=1", "\x00",
    "\x1b[31m", "'; DROP TABLE obscore; --", "%s%n", "{0}", "${jndi:x}", "../../etc/passwd",
    "t1,param:t1", "t1,param:nowhere", "t1,http://127.0.0.1:1/x", "t1,file:///etc/passwd", "t1",
    ";;", ",", "select,param:t1", "t1,param:t1;t1,param:t1", "RUN", "ABORT", "run", "JUMP",
    "COMPLETED", "2026-01-01", "9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+14:00",
    "2026-W01-1", "CIRCLE 1 2 3", "CIRCLE nan 0 0", "POLYGON 1", "RANGE -Inf +Inf 0 0",
    "ivo://x/y?z", "ivo://skyloom.local/a\x7f", "\ud83d\ude00", "x" * 100_000, "min", "max", "2",
)  # fmt: skip
TYPES: Final = (
    "application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=utf-7",
    "APPLICATION/X-WWW-FORM-URLENCODED", "multipart/form-data", "multipart/form-data; boundary=",
    "multipart/form-data; boundary=b", "application/json", "text/xml", "text/plain;charset=utf-16",
    "", "garbage", "multipart/form-data; boundary=" + "b" * 300,
)  # fmt: skip


@dataclass
class RawRequest:
    """One request as it goes over the wire."""

    method: str
    target: bytes
    body: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    length: bytes | None = None
    """Content-Length when it is not that of the body."""

    def to_bytes(self) -> bytes:
        """The request line, the headers and the body."""
        length = str(len(self.body)).encode() if self.length is None else self.length
        lines = [
            self.method.encode() + b" " + self.target + b" HTTP/1.1",
            b"Host: localhost",
            b"Connection: close",
            *(name + b": " + value for name, value in self.headers),
        ]
        if self.body or self.length is not None:
            lines.append(b"Content-Length: " + length)
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body


def requests(seed: int, count: int, job: str) -> Iterator[RawRequest]:
    """``count`` requests; the same seed gives the same ones. ``job`` is the name of a job."""
    rng = random.Random(seed)
    for _ in range(count):
        path = rng.choice(ENDPOINTS).replace("{job}", job)
        method = rng.choice(METHODS)
        pairs = _pairs(rng)
        target = path.encode()
        request = RawRequest(method, target)
        if method in {"POST", "PUT"} and rng.random() < 0.9:
            kind = rng.choice(TYPES)
            request.body = _body(rng, kind, pairs)
            request.headers.append((b"Content-Type", kind.encode()))
        elif pairs:
            request.target = target + b"?" + _urlencoded(rng, pairs)[:60_000]
        _spoil(rng, request)
        yield request


def _pairs(rng: random.Random) -> list[tuple[bytes, bytes]]:
    pairs = [
        (rng.choice(NAMES).encode("utf-8", "surrogatepass"), _value(rng))
        for _ in range(rng.choice((0, 1, 2, 3, 6)))
    ]
    if rng.random() < 0.5:
        pairs += [(b"QUERY", QUERY.encode()), (b"LANG", b"ADQL")]
    return pairs * (4000 if rng.random() < 0.01 else 1)


def _value(rng: random.Random) -> bytes:
    text = rng.choice(VALUES).encode("utf-8", "surrogatepass")
    return rng.choice((text, text, text, text, b"\xff\xfe" + text, text + b"\xc3", text[::-1]))


def _urlencoded(rng: random.Random, pairs: list[tuple[bytes, bytes]]) -> bytes:
    def escaped(raw: bytes) -> bytes:
        return rng.choice(
            (quote_from_bytes(raw).encode(), quote_from_bytes(raw).encode(), b"%zz%f", b"%ED%A0%80")
        )

    return rng.choice((b"&", b"&", b"&&", b";")).join(
        escaped(name) + rng.choice((b"=", b"=", b"==", b"")) + escaped(value)
        for name, value in pairs
    )


def _body(rng: random.Random, kind: str, pairs: list[tuple[bytes, bytes]]) -> bytes:
    if kind.startswith("multipart"):
        return _multipart(rng, pairs)
    if "json" in kind:
        return rng.choice(
            (b"[" * 50_000, b'{"QUERY": 1e999}', b'{"a": {"b": [1, {}]}}', b"\xff", b"null", b"{}",
             b'{"QUERY": "\\ud800"}', b'{"QUERY": "' + b"x" * 70_000 + b'"}', b"NaN", b"1")
        )  # fmt: skip
    if rng.random() < 0.05:
        return b"x" * 5_000_000
    return rng.choice((_urlencoded(rng, pairs), rng.randbytes(300), QUERY.encode("utf-16")))


def _multipart(rng: random.Random, pairs: list[tuple[bytes, bytes]]) -> bytes:
    boundary = rng.choice((b"b", b"b", b"b", b"c", b""))
    end = rng.choice((b"\r\n", b"\r\n", b"\n", b""))
    parts = []
    for name, value in pairs[:50]:
        disposition = rng.choice(
            (b'Content-Disposition: form-data; name="%s"', b"Content-Disposition: form-data",
             b'Content-Disposition: form-data; name="%s"; filename="t.xml"', b"X: y",
             b'content-disposition: attachment; name="%s"',
             b"Content-Disposition: form-data; name=")
        )  # fmt: skip
        head = disposition.replace(b"%s", name.replace(b"\r", b"").replace(b"\n", b""))
        content = rng.choice(
            (value, value, b"<VOTABLE>", b"<?xml version='1.0'?><a/>", b"\x1f\x8b")
        )
        parts.append(b"--" + boundary + end + head + end + end + content + end)
    closing = rng.choice((b"--" + boundary + b"--\r\n", b"", b"--"))
    return b"".join(parts) + closing


def _spoil(rng: random.Random, request: RawRequest) -> None:
    """Now and then a header that does not fit."""
    spoilt = rng.random()
    if spoilt < 0.05:
        request.length = rng.choice((b"-1", b"x", b"1", b"99999999999999999999"))
    elif spoilt < 0.08:
        request.headers.append((b"Transfer-Encoding", rng.choice((b"chunked", b"gzip", b"x"))))
    elif spoilt < 0.15:
        request.headers.append(
            rng.choice(
                (
                    (b"Accept", b"application/json"),
                    (b"Accept", b"\xff/*;q=z"),
                    (b"Range", b"bytes=9-1"),
                    (b"Expect", b"100-continue"),
                    (b"Cookie", b"=;=,"),
                    (b"Content-Encoding", b"gzip"),
                    (b"X", b"y" * 20_000),
                    (b"Host", b"a b"),
                )
            )
        )


def status_of(port: int, request: RawRequest, *, timeout_s: float = 30.0) -> int | None:
    """The status of the answer; None when the server closed the connection or waits for more."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        with suppress(OSError):  # the server may have answered and closed before it read all
            connection.sendall(request.to_bytes())
            connection.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            while b"\r\n" not in received and (piece := connection.recv(4096)):
                received += piece
    return int(received.split(b" ", 2)[1]) if received.startswith(b"HTTP/") else None
