"""Whether this server takes requests: since when, until when, and how many it works on."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app.errors import UsageError
from app.stores.files_atomic import write_atomically

ANNOUNCEMENT = "announcement.json"
"""In the data folder, which all servers of one service share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """A stop that is planned: when it begins and ends (UTC), and why."""

    down_at: datetime | None = None
    back_at: datetime | None = None
    note: str = ""


class Announcements:
    """The announced stop of a service, kept in its data folder."""

    def __init__(self, *, data_dir: Path) -> None:
        self._path = data_dir.absolute() / ANNOUNCEMENT

    def read(self) -> Announcement:
        """What is announced; nothing when there is no file, or none that can be read."""
        try:
            told = json.loads(self._path.read_text())
            return Announcement(
                down_at=_moment(told.get("down_at")),
                back_at=_moment(told.get("back_at")),
                note=str(told.get("note", "")),
            )
        except (OSError, ValueError, AttributeError):
            return Announcement()

    def write(self, announcement: Announcement) -> None:
        """Announce. Raises UsageError for an end before the beginning."""
        down_at, back_at = announcement.down_at, announcement.back_at
        if down_at is not None and back_at is not None and back_at <= down_at:
            raise UsageError("--back-at: the service must be back after it went down (--down-at)")
        told = {
            "down_at": None if down_at is None else down_at.isoformat(),
            "back_at": None if back_at is None else back_at.isoformat(),
            "note": announcement.note,
        }
        write_atomically(self._path, json.dumps(told).encode())

    def clear(self) -> None:
        """Announce nothing any more."""
        self._path.unlink(missing_ok=True)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


class ServerState:
    """Requests under way in this server, and whether it stops."""

    def __init__(self, *, clock: Callable[[], datetime]) -> None:
        self.up_since = clock()
        self._in_flight = 0
        self._stopping = threading.Event()

    @property
    def is_stopping(self) -> bool:
        """True from the moment at which the server was told to stop: no request is begun."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Begin no request any more."""
        self._stopping.set()

    @property
    def in_flight(self) -> int:
        """Requests that are being answered."""
        return self._in_flight

    def enter(self) -> None:
        """A request has begun. Called, as :meth:`leave`, by the event loop alone."""
        self._in_flight += 1

    def leave(self) -> None:
        """It has ended."""
        self._in_flight -= 1
