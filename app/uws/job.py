"""The job record: a frozen row; it changes only through :mod:`app.uws.transitions`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

JobKind = Literal["tap", "template", "difference", "cutout"]


class Phase(StrEnum):
    """Execution phases of UWS 1.1, section 2.1.3."""

    PENDING = "PENDING"
    QUEUED = "QUEUED"
    EXECUTING = "EXECUTING"
    COMPLETED = "COMPLETED"
    ERROR = "ERROR"
    ABORTED = "ABORTED"
    HELD = "HELD"
    SUSPENDED = "SUSPENDED"
    ARCHIVED = "ARCHIVED"
    UNKNOWN = "UNKNOWN"


ACTIVE = frozenset({Phase.PENDING, Phase.QUEUED, Phase.EXECUTING, Phase.HELD, Phase.SUSPENDED})
"""Phases a job can still leave; WAIT blocks only in PENDING, QUEUED and EXECUTING."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """One result: a file in the results store, or a published product.

    ``path`` is a file below the data folder (``results/<job>/…``), ``dataset_id`` the
    obs_publisher_did of a product; exactly one of them is set.
    """

    result_id: str
    media_type: str
    path: str | None = None
    dataset_id: str | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """Why a job ended in ERROR. ``transient`` maps to UWS error type; ``message`` is for people."""

    message: str
    transient: bool
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One UWS job. All times are timezone-aware UTC."""

    job_id: str
    kind: JobKind
    phase: Phase
    owner: str | None = None
    account: str = ""
    """Whose turn and share of the service it takes: its owner's, else an anonymous client's."""
    run_id: str | None = None
    traceparent: str | None = None
    """The trace of the request that made it (W3C Trace Context), where traces are made."""
    service_url: str | None = None
    """Public address through which the job was created; links in its results start with it."""
    parameters: tuple[tuple[str, str], ...] = ()
    """As the user gave them, names as given; repeated names are allowed."""
    upload_bytes: int = 0
    """What the files take that came with it."""
    creation_time: datetime
    start_time: datetime | None = None
    end_time: datetime | None = None
    quote: datetime | None = None
    execution_duration_s: int = 0
    destruction: datetime
    results: tuple[JobResult, ...] = ()
    error: JobError | None = None
    recipe_key: str | None = None
    """Content hash of what is built; two jobs with one key share one build."""
    progress: Mapping[str, float | str] = field(default_factory=dict)
    """``{"stage": "warp", "done": 3, "total": 10}`` while EXECUTING."""
    attempts: int = 0
    lease_owner: str | None = None
    lease_until: datetime | None = None

    @property
    def held_bytes(self) -> int:
        """What its files and results take; a product counts for every job whose result it is."""
        return self.upload_bytes + sum(each.size_bytes or 0 for each in self.results)
