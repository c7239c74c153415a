"""Requests that no client should send: wrong parameters, encodings, forms, sizes and framing."""

from __future__ import annotations

import random
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, quote_from_bytes

from tests.http.access_matrix import DECLARED, filled, job_kind_of

OFTEN: Final = (
    *("/tap/sync",) * 3,
    "/sia/query",
    "/soda/sync",
    "/datalink/links",
    "/stamps",
    "/moc",
)
STRANGE: Final = (
    "/tap/tables/nothing", "/files/x", "/files/..%2f..%2fetc%2fpasswd", "/tap/async/%00", "/%ff%fe",
    "/tap/async/..%2f..", "/static/../../../etc/passwd", "/static/..%2f..%2fpyproject.toml", "//",
    "/hips/demo_i/..%2f..%2f..%2fskyloom.sqlite3", "/hips/../../etc/passwd", "/hips/%2e%2e/%2e%2e",
    "/files/a.b.c/d", "/packages/9999999999.MA.00/x.tar", "/skymap/1/x", "/skymap/-1/0/r", "/./tap",
    "/tap/tables/%F0%9F%98%80", "/jobs/__proto__/x", "/" + "a/" * 3000, "/query/vocabulary/x",
    "*", "http://other.host/tap/sync", "/tap/sync;x=1", "/TAP/SYNC", "/tap//sync", "/tap/sync/",
)  # fmt: skip
ENDPOINTS: Final = (*DECLARED, *DECLARED, *OFTEN, *STRANGE)
"""Every route of the service (a test holds that none is missing there), and addresses that are
none."""
METHODS: Final = (*("GET",) * 12, *("POST",) * 5, "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS")
NAMES: Final = (
    "QUERY", "query", "LANG", "MAXREC", "RESPONSEFORMAT", "FORMAT", "REQUEST", "RUNID", "UPLOAD",
    "PHASE", "WAIT", "AFTER", "LAST", "DESTRUCTION", "EXECUTIONDURATION", "ACTION", "ID", "POS",
    "BAND", "TIME", "TRACT", "PATCH", "KERNEL_ORDER", "SIZE", "SR", "X", "Y",
    "detail", "FIX", "", "\u00e9", "a b", "x" * 3000, "TEMPLATE_IDS", "t1",
    "POL", "CALIB", "DPTYPE", "TARGET", "FOV", "CIRCLE", "POLYGON", "PIXELS", "EXT", "COMPRESS",
    "STRETCH", "SCALE", "LIMITS", "COLORMAP", "MARKER", "MASK", "Q", "LEVEL", "ROW", "COLUMN",
    "PLANES", "BUILD", "KIND", "BACKGROUND", "ORDER", "COLLECTION", "PLAN", "SYNTAX", "STATISTIC",
    "SINCE", "UNTIL", "SORT", "STATE", "MODEL_FWHM", "CANDIDATES", "BRIGHT_REGIONS", "INPUTS",
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
    "ivo://x/y?z", "ivo://skyloom.local/a\x7f", "{image}", "{image}", "{place}",
    "{place}", "{circle}", "png", "json", "0 9 0 9", "-1e9 1e9 -1e9 1e9", "0 1e300 0 1e300",
    "CIRCLE 0 90 180", "POLYGON 0 0 0 0 0 0", "1px", "RANGE 0 360 -90 90", "1 2 3 1 2 3 1 2 3",
    "gif", "true", "rice", "fits", "1e-320", "-0", "jpeg",
    "\ud83d\ude00", "x" * 100_000, "min", "max", "2",
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

    def is_misframed(self) -> bool:
        """Whether the server cannot tell where the request ends."""
        return self.length is not None or b"Transfer-Encoding" in dict(self.headers)

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


def requests(seed: int, count: int, known: Mapping[str, str]) -> Iterator[RawRequest]:
    """``count`` requests; the same seed gives the same ones. ``known``: what stands for the names
    in paths and values (``job_id``, ``image``, ``place`` …); a job of its kind, where one is known
    by the kind. It may change meanwhile."""
    rng = random.Random(seed)
    for _ in range(count):
        path = rng.choice(ENDPOINTS)
        method = rng.choice(METHODS)
        pairs = _pairs(rng, path, known)
        named = {**known, "job_id": known.get(job_kind_of(path), known.get("job_id", "x"))}
        target = filled(path, {k: quote(v, safe="") for k, v in named.items()}).encode()
        request = RawRequest(method, target)
        if method in {"POST", "PUT"} and rng.random() < 0.9:
            kind = rng.choice(TYPES)
            request.body = _body(rng, kind, pairs)
            request.headers.append((b"Content-Type", kind.encode()))
        elif pairs:
            request.target = target + b"?" + _urlencoded(rng, pairs)[:60_000]
        _spoil(rng, request)
        yield request


def _pairs(rng: random.Random, path: str, known: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    pairs = [_pair(rng, known) for _ in range(rng.choice((0, 0, 1, 2, 3, 6)))]
    endpoint = DECLARED.get(path)
    if endpoint is not None and rng.random() < 0.6 and not path.startswith("/builds"):
        sound = [(name, filled(value, known)) for name, value in endpoint.query]
        pairs += [(name.encode(), value.encode()) for name, value in sound]
    if path.startswith("/tap") and rng.random() < 0.5:
        pairs += [(b"QUERY", QUERY.encode()), (b"LANG", b"ADQL")]
    many = rng.random() < 0.005 and sum(len(value) for _, value in pairs) < 1000
    return pairs * (4000 if many else 1)


def _pair(rng: random.Random, known: Mapping[str, str]) -> tuple[bytes, bytes]:
    name = rng.choice(NAMES)
    text = rng.choice(("0", "1", "x")) if name == "WAIT" else rng.choice(VALUES)
    if re.fullmatch(r"\{\w+\}", text):
        text = filled(text, known)
    raw = text.encode("utf-8", "surrogatepass")
    spoilt = (raw, raw, raw, raw, b"\xff\xfe" + raw, raw + b"\xc3", raw[::-1])
    return name.encode("utf-8", "surrogatepass"), rng.choice(spoilt)


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
                    (b"Authorization", b"Bearer x"),
                    (b"Authorization", b"Basic !!!"),
                    (b"If-None-Match", b'"x", *'),
                    (b"If-Modified-Since", b"Mon, 99 Foo 99999 25:61:61 GMT"),
                    (b"If-Range", b"W/x"),
                    (b"Accept-Encoding", b"gzip;q=nan, br;q=-1"),
                    (b"X-Forwarded-Host", b"evil.example/\xff"),
                    (b"Origin", b"null"),
                    (b"Forwarded", b"host=x;proto=gopher"),
                )
            )
        )


@dataclass(frozen=True)
class Answer:
    """What came back, and how long it took. ``status`` is None when the server closed the
    connection or waits for more."""

    status: int | None
    content: bytes
    seconds: float


MOST_READ: Final = 4 * 2**20


def answer_of(port: int, request: RawRequest, *, timeout_s: float = 100.0) -> Answer:
    """The answer, or the first :data:`MOST_READ` bytes of it."""
    received = bytearray()
    start_s = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        with suppress(OSError):  # the server may have answered and closed before it read all
            connection.sendall(request.to_bytes())
            if request.is_misframed():  # the server waits for more; else it would be a hang-up
                connection.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            while len(received) < MOST_READ and (piece := connection.recv(65536)):
                received += piece
    status = int(received.split(b" ", 2)[1]) if received.startswith(b"HTTP/") else None
    return Answer(status, bytes(received), time.monotonic() - start_s)
