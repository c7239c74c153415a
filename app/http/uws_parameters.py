"""What requests to job lists and jobs say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from app.errors import ParameterError, quoted
from app.http.parameters import ParameterSet
from app.uws.job import Job, Phase

MAX_WAIT_S: Final = 60.0
"""How long WAIT may hold a request; clients that want more ask again."""
CONTROLS: Final = ("PHASE", "RUNID", "EXECUTIONDURATION", "DESTRUCTION", "ACTION", "PLAN")
"""Parameters that steer a job instead of describing its work."""


def refuse_control(name: str) -> None:
    """What steers a job is no parameter of its work."""
    if name.upper() in CONTROLS and name.upper() != "RUNID":
        raise ParameterError(name, "it steers the job: POST it to the job itself")


def values_of(job: Job, name: str) -> tuple[str, ...]:
    """What a job was given under a name."""
    return ParameterSet(job.parameters).all(name)


def parse_phase(text: str) -> Phase:
    """A phase by name, in any case."""
    try:
        return Phase(text.strip().upper())
    except ValueError:
        raise ParameterError("PHASE", f"one of {', '.join(Phase)}, got {quoted(text)}") from None


def parse_instant(name: str, text: str) -> datetime:
    """An ISO 8601 time; without a zone it is UTC (DALI 1.1, section 3.3.3)."""
    try:
        instant = datetime.fromisoformat(text.strip())
        return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ParameterError(
            name, f"a time such as 2026-01-02T03:04:05Z, got {quoted(text)}"
        ) from None


def wait_seconds(parameters: ParameterSet) -> float:
    """WAIT in seconds; -1 is as long as the server allows (UWS 1.1, section 2.2.1.1)."""
    asked = parameters.integer("WAIT")
    if asked is None:
        return 0.0
    return MAX_WAIT_S if asked < 0 else min(float(asked), MAX_WAIT_S)
