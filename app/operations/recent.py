"""What an operator looks for when users complain: slow queries and faults of late, a bounded number
of each, of this server since its start."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from app.errors import shortened
from app.logs import facts, note
from app.services.query_end import QueryEnd

KEPT: Final = 50
_SHOWN: Final = 500
"""Characters of a message or a query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowQuery:
    """A query that took long: ``first_s`` to its first rows, ``seconds`` until all were sent."""

    ended: datetime
    seconds: float
    first_s: float | None
    rows: int
    text: str
    fault: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedFault:
    """A warning or an error of the log."""

    time: datetime
    level: str
    message: str
    about: str


class SlowQueries:
    """The latest queries that took ``slow_s`` or longer."""

    def __init__(self, *, slow_s: float) -> None:
        self.slow_s = slow_s
        self._kept: deque[SlowQuery] = deque(maxlen=KEPT)

    def note(self, end: QueryEnd) -> None:
        """Keep a query if it was slow."""
        if end.seconds < self.slow_s:
            return
        self._kept.append(
            SlowQuery(
                ended=datetime.now(UTC),
                seconds=end.seconds,
                first_s=end.first_s,
                rows=end.rows,
                text=end.text[:_SHOWN],
                fault=end.fault,
            )
        )

    def latest(self) -> list[SlowQuery]:
        """The latest first."""
        return list(self._kept)[::-1]


class RecentFaults(logging.Handler):
    """Keeps the latest warnings and errors of the log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.addFilter(note)
        self._kept: deque[LoggedFault] = deque(maxlen=KEPT)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        told = ", ".join(f"{name} {shortened(value)}" for name, value in facts(record).items())
        message = record.getMessage()[:_SHOWN]
        if record.exc_info and record.exc_info[1] is not None:
            message += f" ({type(record.exc_info[1]).__name__})"
        self._kept.append(
            LoggedFault(
                time=datetime.fromtimestamp(record.created, UTC),
                level=record.levelname.lower(),
                message=message,
                about=told,
            )
        )

    def latest(self) -> list[LoggedFault]:
        """The latest first."""
        return list(self._kept)[::-1]
