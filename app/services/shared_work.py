"""Work that equal requests share: it is done once, and what came of it is kept for a while."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Final


class SharedWork:
    """Makes bytes by keys. Who asks while the same are being made waits for them; the latest are
    kept, ``max_bytes`` of them in all."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes: Final = max_bytes
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, Future[bytes]] = {}
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """What ``make`` gives, or gave to another one. Raises what it raises, to all who wait."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            others = self._under_way.get(key)
            if others is None:
                own = self._under_way[key] = Future[bytes]()
        return others.result() if others is not None else self._make(key, make, own)

    def _make(self, key: Hashable, make: Callable[[], bytes], future: Future[bytes]) -> bytes:
        try:
            made = make()
        except BaseException as fault:
            with self._lock:
                del self._under_way[key]
            future.set_exception(fault)
            raise
        with self._lock:
            del self._under_way[key]
            self._keep(key, made)
        future.set_result(made)
        return made

    def _keep(self, key: Hashable, made: bytes) -> None:
        self._kept[key] = made
        self._bytes += len(made)
        while self._bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest)
