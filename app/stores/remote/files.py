"""Files elsewhere as descriptors: what is needed of them is fetched into sparse files first."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from app.errors import ImageFormatError
from app.stores.cache_files import trim_folder
from app.stores.remote.addresses import Address
from app.stores.remote.block_file import BlockFile, Span
from app.stores.remote.objects import REPLACED, Objects, RemoteFacts
from app.stores.remote.settings import RemoteSettings

REMEMBERED: Final = 8192
"""Files of which it is remembered what their storages told."""
_SPARE: Final = 10
"""A full folder is emptied by a tenth: it is not looked through at each request."""
_SHARERS: Final = 4
"""Processes that may fill the folder at the same time without knowing of each other."""


class RemoteFiles:
    """Files by their addresses; what was fetched lies in ``folder``, bounded: what was not used
    for longest goes first, what is open stays.

    Threads and processes may share a folder. It can be pickled, into a process that sees it.
    """

    def __init__(self, *, folder: Path, settings: RemoteSettings) -> None:
        self._folder = folder
        self._settings = settings
        self.objects: Final = Objects(settings)
        self._threads = ThreadPoolExecutor(settings.connections, thread_name_prefix="remote")
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[RemoteFacts, float]] = OrderedDict()
        self._open: dict[tuple[str, Any], OpenRemote] = {}
        self._room = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return open_remote_files, (self._folder, self._settings)

    def facts(self, path: str) -> RemoteFacts:
        """What the storage told of a file, not longer ago than the settings allow.

        Raises FileNotFoundError, PermissionError, RemoteUnavailableError, ImageFormatError.
        """
        with self._lock:
            known = self._known.get(path)
        if known is not None and time.monotonic() - known[1] < self._settings.fresh_s:
            return known[0]
        self.forget(path)
        found = self.objects.head(Address.of(path))
        self.remember(path, found)
        return found

    def remember(self, path: str, facts: RemoteFacts) -> None:
        """Take what a storage has just told."""
        with self._lock:
            self._known[path] = facts, time.monotonic()
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)

    def forget(self, path: str) -> None:
        """Ask the storage anew when the file is needed next."""
        with self._lock:
            self._known.pop(path, None)

    @contextmanager
    def open(self, path: str) -> Iterator[OpenRemote]:
        """A file. Raises what :meth:`facts` raises, and StorageFullError."""
        facts = self.facts(path)
        key = path, facts.identity
        with self._lock:
            opened = self._open.get(key)
            if opened is None:
                opened = self._open[key] = OpenRemote(self, path, facts, self._place(key))
            opened.users += 1
        try:
            yield opened
        finally:
            with self._lock:
                opened.users -= 1
                if opened.users == 0:
                    del self._open[key]
                    opened.blocks.close()
            self._trim()

    def stream(self, path: str, facts: RemoteFacts, start: int, stop: int) -> Iterator[bytes]:
        """Bytes of a file as they come; nothing is kept of them. Raises as :meth:`facts` does."""
        return self.objects.stream(Address.of(path), start, stop, facts.identity)

    def write(self, path: str, pieces: Iterable[bytes | memoryview]) -> RemoteFacts:
        """Store a file, of which nothing is seen before it is whole; what the storage then tells of
        it. Raises what ``pieces`` raises, and as :meth:`facts` does."""
        address = Address.of(path)
        self.objects.put(address, pieces)
        found = self.objects.head(address)
        self.remember(path, found)
        return found

    def remove(self, path: str) -> None:
        """Delete a file, if there is one. Raises as :meth:`facts` does."""
        self.forget(path)
        self.objects.delete(Address.of(path))

    def fetch(self, opened: OpenRemote, spans: Sequence[Span]) -> None:
        """Fetch parts of an open file, several at the same time. Raises ImageFormatError for a file
        that was replaced meanwhile."""
        address = Address.of(opened.path)

        def fetch_one(span: Span) -> None:
            facts, content = self.objects.read(address, *span)
            if facts.identity != opened.identity or len(content) != span[1] - span[0]:
                self.forget(opened.path)
                raise ImageFormatError(address.name, REPLACED)
            opened.blocks.put(span[0], content)

        for _ in self._threads.map(fetch_one, spans):
            pass
        opened.blocks.confirm(spans)
        with self._lock:
            self._room -= sum(stop - start for start, stop in spans)

    def missing(self, opened: OpenRemote, spans: Sequence[Span]) -> list[Span]:
        """What of an open file must be fetched."""
        return opened.blocks.missing(spans, self._settings.gap_bytes)

    def _place(self, key: tuple[str, Any]) -> Path:
        return self._folder / hashlib.sha256(repr(key).encode()).hexdigest()[:32]

    def _trim(self) -> None:
        with self._lock:
            if self._room >= 0:
                return
            limit = self._settings.cache_bytes
            total = trim_folder(self._folder, limit - limit // _SPARE)
            self._room = (limit - total) // _SHARERS


class OpenRemote:
    """A file that is open in this process: ``descriptor`` has the bytes that :meth:`need` was
    called for, at their places."""

    def __init__(self, files: RemoteFiles, path: str, facts: RemoteFacts, place: Path) -> None:
        self._files = files
        self.path: Final = path
        self.identity: Final = facts.identity
        self.size_bytes: Final = facts.size_bytes
        self.blocks: Final = BlockFile(place, facts.size_bytes)
        self.users = 0
        self._changed = threading.Condition()
        self._under_way: list[Span] = []

    @property
    def descriptor(self) -> int:
        """Open for reading."""
        return self.blocks.descriptor

    def need(self, spans: Iterable[Span]) -> None:
        """Fetch what is not here yet of some spans, as far as the file reaches.

        What another thread is fetching is waited for. Raises as :meth:`RemoteFiles.facts` does,
        and ImageFormatError for a file that was replaced meanwhile.
        """
        asked = [(start, min(stop, self.size_bytes)) for start, stop in spans]
        asked = [span for span in asked if span[0] < span[1]]
        while asked and (missing := self._files.missing(self, asked)):
            whole = missing[0][0], missing[-1][1]
            if not self._begin(whole):
                continue
            try:
                self._files.fetch(self, missing)
                return
            finally:
                self._end(whole)

    def _begin(self, whole: Span) -> bool:
        """False after a wait for a thread that was fetching parts within the same bounds."""
        with self._changed:
            if not any(start < whole[1] and whole[0] < stop for start, stop in self._under_way):
                self._under_way.append(whole)
                return True
            self._changed.wait()
            return False

    def _end(self, whole: Span) -> None:
        with self._changed:
            self._under_way.remove(whole)
            self._changed.notify_all()


@lru_cache(maxsize=8)
def open_remote_files(folder: Path, settings: RemoteSettings) -> RemoteFiles:
    """The files of this process that are kept in a folder: connections are shared."""
    return RemoteFiles(folder=folder, settings=settings)
