"""What a server does by itself, at long intervals: products that nobody uses make room."""

from __future__ import annotations

import logging
import threading
from typing import Final

from app.errors import ServiceError
from app.services.eviction import EvictionService

log = logging.getLogger(__name__)

EVERY_S: Final = 3600.0
FIRST_S: Final = 60.0
"""After the start, when there is more to do at once."""


class Keeper:
    """A thread that evicts; several servers may do so side by side."""

    def __init__(
        self, eviction: EvictionService, *, every_s: float = EVERY_S, first_s: float = FIRST_S
    ) -> None:
        self._eviction = eviction
        self._every_s = every_s
        self._first_s = first_s
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin, where there is a rule to go by."""
        if self._eviction.rule.limits:
            threading.Thread(target=self._loop, name="keeper", daemon=True).start()

    def stop(self) -> None:
        """Do no more."""
        self._stopping.set()

    def _loop(self) -> None:
        wait_s = self._first_s
        while not self._stopping.wait(wait_s):
            wait_s = self._every_s
            try:
                report = self._eviction.run()
            except (ServiceError, OSError) as fault:
                log.warning("products are not evicted now: %s", fault)
            except Exception:
                log.exception("evicting products failed")
            else:
                for each in report.evicted:
                    log.info("evicted %s: %s", each.dataset_id, each.reason)
