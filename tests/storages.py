"""Storages elsewhere, as real servers: HTTP with parts of files, which counts what it sends and can
misbehave, and S3 (moto's)."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import boto3
import pytest
from moto.server import ThreadedMotoServer

from app.stores.remote.files import RemoteFiles
from app.stores.remote.settings import RemoteSettings

Fault = Literal[
    "no ranges", "status 500", "status 403", "status 418", "silent", "truncated", "no validators"
]
BUCKET = "survey"


@dataclass
class HttpStorage:
    """A folder behind an address. ``fault``: what is wrong with all requests; a gate that is not
    set keeps them waiting; ``redirect`` is where they are sent instead; ``latency_s`` passes before
    each answer."""

    folder: Path
    url: str = ""
    fault: Fault | None = None
    redirect: str | None = None
    latency_s: float = 0.0
    gate: threading.Event = field(default_factory=threading.Event)
    sent_bytes: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, handler: BaseHTTPRequestHandler) -> None:
        """Note a request."""
        with self.lock:
            self.requests[handler.command] += 1
            self.headers.append({key.lower(): text for key, text in handler.headers.items()})

    def forget(self) -> None:
        """Count from 0 again."""
        with self.lock:
            self.sent_bytes = 0
            self.requests.clear()
            self.headers.clear()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    storage: HttpStorage

    def log_message(self, *_args: Any) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        storage = self.storage
        storage.count(self)
        storage.gate.wait()
        threading.Event().wait(storage.latency_s)
        path = storage.folder / unquote(self.path).lstrip("/")
        if storage.redirect is not None:
            self._end(302, {"Location": storage.redirect + self.path})
        elif storage.fault == "silent":
            self.close_connection = True
        elif storage.fault is not None and storage.fault.startswith("status"):
            self._end(int(storage.fault.split()[1]), {})
        elif not path.is_file():
            self._end(404, {})
        else:
            self._send_file(path)

    def _send_file(self, path: Path) -> None:
        facts, headers = path.stat(), {}
        if self.storage.fault != "no validators":
            digest = _digest(path, facts.st_ino, facts.st_size, facts.st_mtime_ns)
            headers["ETag"] = f'"{digest}"'
        status, start, stop = 200, 0, facts.st_size
        asked = self.headers.get("range")
        if asked is not None and self.storage.fault != "no ranges":
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last or stop) + 1, stop)
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{facts.st_size}"
            status = 206
        with path.open("rb") as file:
            file.seek(start)
            self._end(status, headers, file.read(max(0, stop - start)))

    def _end(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        for name, text in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.storage.fault == "truncated":
            content, self.close_connection = content[: len(content) // 2], True
        with self.storage.lock:
            self.storage.sent_bytes += len(content)
        self.wfile.write(content)


@lru_cache
def _digest(path: Path, *_facts: int) -> str:
    """Of the content of a file, while it is the same."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@contextmanager
def http_storage(folder: Path) -> Iterator[HttpStorage]:
    """A folder served on this machine."""
    storage = HttpStorage(folder)
    storage.gate.set()
    handler = type("Handler", (_Handler,), {"storage": storage})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    storage.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield storage
    finally:
        storage.gate.set()
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class S3Storage:
    """A bucket behind an S3 endpoint."""

    endpoint: str
    client: Any

    def put(self, key: str, content: bytes) -> str:
        """Store an object; gives its address."""
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)
        return f"s3://{BUCKET}/{key}"


@contextmanager
def s3_storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Storage]:
    """An S3-compatible server whose keys are in the environment."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASKYLOOMTEST")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-to-be-told")
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield S3Storage(endpoint, client)
    finally:
        server.stop()


def make_files(folder: Path, **settings: Any) -> RemoteFiles:
    """Remote files that do not wait long for storages and ask them each time."""
    told = {"timeout_s": 2.0, "retries": 1, "fresh_s": 0.0, **settings}
    return RemoteFiles(folder=folder, settings=RemoteSettings(**told))
