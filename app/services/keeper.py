"""What a server does by itself, at long intervals."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from app.errors import ServiceError
from app.services.eviction import EvictionService
from app.stores.tables.datasets import DatasetStore

log = logging.getLogger(__name__)

EVERY_S: Final = 3600.0
FIRST_S: Final = 60.0
"""After the start, when there is more to do at once."""


class Keeper:
    """A thread that evicts products that nobody uses, and shows the sources of those that became
    public; several servers may do so side by side."""

    def __init__(
        self,
        eviction: EvictionService,
        datasets: DatasetStore,
        *,
        clock: Callable[[], datetime],
        every_s: float = EVERY_S,
        first_s: float = FIRST_S,
    ) -> None:
        self._eviction = eviction
        self._datasets = datasets
        self._clock = clock
        self._every_s = every_s
        self._first_s = first_s
        self._stopping = threading.Event()
        self._chores: Final[Mapping[str, Callable[[], None]]] = {
            "evicting products": self._evict,
            "showing sources of products": self._release,
        }

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._loop, name="keeper", daemon=True).start()

    def stop(self) -> None:
        """Do no more."""
        self._stopping.set()

    def _loop(self) -> None:
        wait_s = self._first_s
        while not self._stopping.wait(wait_s):
            wait_s = self._every_s
            for what, chore in self._chores.items():
                _attempt(what, chore)

    def _evict(self) -> None:
        if self._eviction.rule.limits:
            for each in self._eviction.run().evicted:
                log.info("evicted %s: %s", each.dataset_id, each.reason)

    def _release(self) -> None:
        count = self._datasets.release_sources(self._clock())
        if count:
            log.info("%d sources of differences are public from now on", count)


def _attempt(what: str, chore: Callable[[], None]) -> None:
    try:
        chore()
    except (ServiceError, OSError) as fault:
        log.warning("%s is put off: %s", what, fault)
    except Exception:
        log.exception("%s failed", what)
