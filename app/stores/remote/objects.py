"""Requests to storages elsewhere: what a file is, some of its bytes, which files there are; and, of
S3, to write, delete and sign.

What goes wrong there is told without addresses, hosts and the answers of servers, which may repeat
the names of keys.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

import obstore
from obstore import exceptions
from obstore.store import HTTPStore, S3Store

from app.errors import ImageFormatError, RemoteUnavailableError
from app.stores.remote.addresses import Address
from app.stores.remote.settings import RemoteSettings

REPLACED: Final = "it was replaced while it was read; ask again"
STORES: Final = 64
"""Hosts and buckets whose connections are kept."""
PIECE_BYTES: Final = 1 << 20
PART_BYTES: Final = 8 << 20
"""What is sent at once of a longer file; S3 takes at most 10,000 parts of one."""
PARTS_AT_ONCE: Final = 4
_SECOND_NS: Final = 10**9
_STATUS: Final = re.compile(r"status code: (\d{3})")
_GONE: Final = (404, 410)
_NO_SUCH_RANGE: Final = 416
_LATER: Final = frozenset((408, 425, 429))
_CONNECT_SHARE: Final = 0.3
"""Of the time for a request, to find and connect to the server."""


@dataclass(frozen=True, slots=True)
class RemoteFacts:
    """What a storage tells of a file: its length (bytes), its ETag and when it was last changed
    (Unix time, s; 0 if it does not say). One of the two is there."""

    size_bytes: int
    etag: str | None
    modified_s: int

    @property
    def identity(self) -> tuple[int, int, int]:
        """What tells a file from the one that replaces it: its ETag and length, without an ETag
        the time of the last change."""
        if self.etag is None:
            return 0, self.size_bytes, self.modified_s
        return self._digest(), self.size_bytes, 0

    @property
    def mtime_ns(self) -> int:
        """When it was last changed. Storages know that to the second: what is below tells apart
        files of different ETags."""
        below = 0 if self.etag is None else self._digest() % _SECOND_NS
        return self.modified_s * _SECOND_NS + below

    @property
    def mark(self) -> str:
        """A name of this version of the file."""
        return hashlib.sha256(repr(self.identity).encode()).hexdigest()[:32]

    def _digest(self) -> int:
        told = (self.etag or "").removeprefix("W/").encode()
        return int.from_bytes(hashlib.sha256(told).digest()[:7], "big")


class Objects:
    """Speaks to storages. Threads may share it."""

    def __init__(self, settings: RemoteSettings) -> None:
        self._settings = settings
        self._store = lru_cache(maxsize=STORES)(self._open_store)

    def head(self, address: Address) -> RemoteFacts:
        """What there is. Raises FileNotFoundError, PermissionError, RemoteUnavailableError, and
        ImageFormatError for a file of which nothing tells when it is replaced."""
        with _faults(address.name):
            return _facts(address.name, self._store(address.base).head(address.key))

    def read(self, address: Address, start: int, stop: int) -> tuple[RemoteFacts, Any]:
        """The bytes ``start <= place < stop`` (a buffer), and of which file they are.

        Raises as :meth:`head` does, and ImageFormatError where servers do not send parts.
        """
        with _faults(address.name):
            options: Any = {"range": (start, stop)}
            found = obstore.get(self._store(address.base), address.key, options=options)
            return _facts(address.name, found.meta), found.bytes()

    def stream(
        self, address: Address, start: int, stop: int, identity: tuple[int, int, int]
    ) -> Iterator[bytes]:
        """The same bytes as they come, about :data:`PIECE_BYTES` at a time.

        Raises ImageFormatError also for a file that is not the one of ``identity``.
        """
        with _faults(address.name):
            options: Any = {"range": (start, stop)}
            found = obstore.get(self._store(address.base), address.key, options=options)
            if _facts(address.name, found.meta).identity != identity:
                raise ImageFormatError(address.name, REPLACED)
            for piece in found.stream(min_chunk_size=PIECE_BYTES):
                yield bytes(piece)

    def list(self, address: Address) -> Iterator[tuple[Address, RemoteFacts]]:
        """The files below a prefix of a bucket ('/' ends it), in the order of the store.

        Raises as :meth:`head` does.
        """
        with _faults(address.name or address.base):
            for some in obstore.list(self._store(address.base), prefix=address.key or None):
                for meta in some:
                    found = address.beside(str(meta["path"]))
                    yield found, _facts(found.name, meta)

    def put(self, address: Address, pieces: Iterable[bytes | memoryview]) -> None:
        """Store a file in S3: nobody sees anything of it before it is whole.

        Whatever ``pieces`` raises is raised, and nothing is left behind. Raises as :meth:`head`
        does; FileNotFoundError where there is no bucket.
        """
        store = self._store(address.base)
        raised: list[BaseException] = []

        def watched() -> Iterator[bytes | memoryview]:
            try:
                yield from pieces
            except BaseException as fault:
                raised.append(fault)
                raise

        try:
            with _faults(address.name):
                obstore.put(
                    store,
                    address.key,
                    watched(),
                    chunk_size=PART_BYTES,
                    max_concurrency=PARTS_AT_ONCE,
                )
        except Exception:
            if raised:
                raise raised[0] from None
            raise

    def delete(self, address: Address) -> None:
        """Delete a file of S3, if there is one. Raises as :meth:`head` does."""
        with _faults(address.name), suppress(FileNotFoundError):
            obstore.delete(self._store(address.base), address.key)

    def sign(self, address: Address, lifetime_s: float) -> str:
        """An address at which everybody may read a file of S3 for a while."""
        with _faults(address.name):
            store = self._store(address.base)
            return obstore.sign(store, "GET", address.key, timedelta(seconds=lifetime_s))

    def _open_store(self, base: str) -> Any:
        told = self._settings
        common: dict[str, Any] = {
            "client_options": {
                "timeout": timedelta(seconds=told.timeout_s),
                "connect_timeout": timedelta(seconds=told.timeout_s * _CONNECT_SHARE),
                "allow_http": True,
                "user_agent": "Skyloom",
            },
            "retry_config": {
                "max_retries": told.retries,
                "retry_timeout": timedelta(seconds=told.timeout_s * (told.retries + 1)),
            },
        }
        if not base.startswith("s3:"):
            return HTTPStore.from_url(base, **common)
        chosen: dict[str, Any] = {
            "endpoint": told.s3_endpoint or os.environ.get("AWS_ENDPOINT_URL_S3"),
            "region": told.s3_region,
            "skip_signature": told.s3_anonymous or None,
        }
        given = {name: value for name, value in chosen.items() if value is not None}
        return S3Store(base.removeprefix("s3://"), **given, **common)


def _facts(name: str, meta: Any) -> RemoteFacts:
    etag, modified_s = meta["e_tag"], int(meta["last_modified"].timestamp())
    if not etag and modified_s == 0:
        reason = "its server gives neither ETag nor Last-Modified: a change could not be noticed"
        raise ImageFormatError(name, reason)
    return RemoteFacts(int(meta["size"]), etag or None, modified_s)


@contextmanager
def _faults(name: str) -> Iterator[None]:
    """Faults of the client as those of files or of storages that do not answer."""
    try:
        yield
    except FileNotFoundError:
        raise _no_file(name) from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError):
        raise PermissionError(errno.EACCES, "the file may not be read", name) from None
    except exceptions.NotSupportedError:
        reason = "its server does not send parts of files (HTTP ranges)"
        raise ImageFormatError(name, reason) from None
    except exceptions.BaseError as fault:
        raise _fault_of(name, str(fault)) from None


def _fault_of(name: str, text: str) -> Exception:
    found = _STATUS.search(text)
    status = None if found is None else int(found[1])
    if status is None:
        slow = "kind: Timeout" in text or "TimedOut" in text
        return RemoteUnavailableError(name, "it took too long" if slow else "no answer")
    if status in _GONE:
        return _no_file(name)
    if status == _NO_SUCH_RANGE:
        return ImageFormatError(name, REPLACED)
    if status < 500 and status not in _LATER:
        return ImageFormatError(name, f"its server answers with status {status}")
    return RemoteUnavailableError(name, f"status {status}")


def _no_file(name: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "the file does not exist", name)
