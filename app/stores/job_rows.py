"""Job <-> database row. Instants are ISO 8601 UTC text of one width, so that text order is time
order; tuples and mappings are JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final, get_args

import sqlalchemy as sa

from app.uws.job import Job, JobError, JobKind, JobResult, Phase

_KINDS: Final[Mapping[str, JobKind]] = {kind: kind for kind in get_args(JobKind)}


def instant_text(instant: datetime) -> str:
    """``2026-01-02T03:04:05.000006Z``. Raises ValueError for a naive datetime."""
    if instant.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    utc = instant.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(timespec="microseconds") + "Z"


def parse_instant(text: str) -> datetime:
    """Undo :func:`instant_text`."""
    return datetime.fromisoformat(text)


def results_text(results: Sequence[JobResult]) -> str:
    """JSON of results."""
    return json.dumps([asdict(result) for result in results])


def to_row(job: Job) -> dict[str, Any]:
    """Column -> value."""
    return {
        "job_id": job.job_id,
        "kind": job.kind,
        "phase": job.phase.value,
        "owner": job.owner,
        "account": job.account,
        "run_id": job.run_id,
        "traceparent": job.traceparent,
        "service_url": job.service_url,
        "parameters": json.dumps(job.parameters),
        "creation_time": instant_text(job.creation_time),
        "start_time": _optional_text(job.start_time),
        "end_time": _optional_text(job.end_time),
        "quote": _optional_text(job.quote),
        "execution_duration_s": job.execution_duration_s,
        "destruction": instant_text(job.destruction),
        "results": results_text(job.results),
        "upload_bytes": job.upload_bytes,
        "held_bytes": job.held_bytes,
        "error": None if job.error is None else json.dumps(asdict(job.error)),
        "recipe_key": job.recipe_key,
        "progress": json.dumps(dict(job.progress)),
        "attempts": job.attempts,
        "lease_owner": job.lease_owner,
        "lease_until": _optional_text(job.lease_until),
    }


def from_row(row: sa.RowMapping) -> Job:
    """The Job of a database row."""
    return Job(
        job_id=row["job_id"],
        kind=_KINDS[row["kind"]],
        phase=Phase(row["phase"]),
        owner=row["owner"],
        account=row["account"],
        run_id=row["run_id"],
        traceparent=row["traceparent"],
        service_url=row["service_url"],
        parameters=tuple((name, value) for name, value in json.loads(row["parameters"])),
        creation_time=parse_instant(row["creation_time"]),
        start_time=_optional_instant(row["start_time"]),
        end_time=_optional_instant(row["end_time"]),
        quote=_optional_instant(row["quote"]),
        execution_duration_s=row["execution_duration_s"],
        destruction=parse_instant(row["destruction"]),
        results=tuple(JobResult(**result) for result in json.loads(row["results"])),
        upload_bytes=row["upload_bytes"],
        error=None if row["error"] is None else JobError(**json.loads(row["error"])),
        recipe_key=row["recipe_key"],
        progress=json.loads(row["progress"]),
        attempts=row["attempts"],
        lease_owner=row["lease_owner"],
        lease_until=_optional_instant(row["lease_until"]),
    )


def _optional_text(instant: datetime | None) -> str | None:
    return None if instant is None else instant_text(instant)


def _optional_instant(text: str | None) -> datetime | None:
    return None if text is None else parse_instant(text)
