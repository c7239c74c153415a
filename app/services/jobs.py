"""The life of jobs as their users steer it (UWS 1.1); running them is the dispatcher's."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from app import traces
from app.errors import EngineBusyError, JobNotFoundError, ParameterError, PhaseError
from app.schema.access import ANYBODY, Identity, require_build, require_use
from app.schema.allowances import NO_ALLOWANCES, Allowances
from app.services.parameters import ParameterSet
from app.stores.jobs import JobStore
from app.stores.results import ResultStore
from app.uws.job import ACTIVE, Job, JobKind, Phase
from app.uws.transitions import step

log = logging.getLogger(__name__)

WAITING: Final = frozenset({Phase.PENDING, Phase.QUEUED, Phase.EXECUTING})
"""Phases in which WAIT blocks (UWS 1.1, section 2.2.1.1)."""
ENDED: Final = frozenset({Phase.COMPLETED, Phase.ERROR, Phase.ABORTED, Phase.ARCHIVED})
MAX_LISTED: Final = 1000
"""Longest job list; older jobs are reached with AFTER and PHASE."""
LONGEST_DURATION_S: Final = 2**31 - 1
"""The largest execution duration a job document can hold (xs:int)."""
BUILDS: Final = frozenset({"template", "difference"})
_TRIES: Final = 10
_LOOK_S: Final = 1.0
"""How often who waits looks whether another server changed the job."""


def _nobody_listens(_job: Job) -> None:
    """The default of ``on_change``."""


def _as_stored(job: Job) -> datetime | None:
    """The default of ``quote``."""
    return job.quote


class JobService:
    """Creates, starts, changes, aborts and deletes jobs of any kind.

    ``lifetime_s`` is the time from creation to destruction, and the most a user may set.
    ``execution_limits_s`` holds, per kind, the execution duration of new jobs and the most a user
    may set; a kind that is missing has no limit. ``archive_s`` is how long an ended job is kept as
    ARCHIVED, without its results, after its destruction time; 0: not at all. ``allowances`` say
    how many of one account may not have ended and what all hold. ``quote`` says when a job will be
    done. ``on_change`` is called with every job that was queued, aborted or given another
    destruction time, so that a dispatcher need not wait for its next poll.
    """

    def __init__(
        self,
        *,
        jobs: JobStore,
        results: ResultStore,
        clock: Callable[[], datetime],
        lifetime_s: int,
        execution_limits_s: Mapping[JobKind, int],
        archive_s: int = 0,
        allowances: Allowances = NO_ALLOWANCES,
        quote: Callable[[Job], datetime | None] = _as_stored,
        on_change: Callable[[Job], None] = _nobody_listens,
    ) -> None:
        self._jobs = jobs
        self._results = results
        self._clock = clock
        self._lifetime = timedelta(seconds=lifetime_s)
        self._limits_s = execution_limits_s
        self._archive = timedelta(seconds=archive_s)
        self._allowances = allowances
        self._quote = quote
        self._on_change = on_change

    def create(
        self,
        kind: JobKind,
        parameters: Iterable[tuple[str, str]],
        *,
        identity: Identity = ANYBODY,
        service_url: str | None = None,
        run_id: str | None = None,
        recipe_key: str | None = None,
        upload_bytes: int = 0,
    ) -> Job:
        """A new PENDING job of someone; ``recipe_key`` is that of its recipe, where it is known
        already, ``upload_bytes`` what will be kept for it. Raises AuthenticationError or
        ForbiddenError where they may not build, TooManyJobsError and StorageQuotaError."""
        if kind in BUILDS:
            require_build(identity)
        now = self._clock()
        job = Job(
            job_id=uuid.uuid4().hex,
            kind=kind,
            phase=Phase.PENDING,
            owner=identity.name,
            account=identity.account,
            run_id=run_id,
            traceparent=traces.carried(),
            service_url=service_url,
            parameters=tuple(parameters),
            upload_bytes=upload_bytes,
            recipe_key=recipe_key,
            creation_time=now,
            execution_duration_s=self._limits_s.get(kind, 0),
            destruction=now + self._lifetime,
        )
        self._jobs.add(job, self._allowances.of(identity))
        log.info("%s job created", kind, extra={"fields": {"job": job.job_id}})
        return job

    def get(
        self, job_id: str, kind: JobKind | None = None, identity: Identity | None = None
    ) -> Job:
        """The job; JobNotFoundError if there is none, or none of that ``kind``, and
        AuthenticationError or ForbiddenError if it is not for the one who asks."""
        job = self._jobs.get(job_id)
        if kind is not None and job.kind != kind:
            raise JobNotFoundError(job_id)
        if identity is not None:
            require_use(identity, job.owner, f"job {job_id}")
        return job

    def quoted(self, job: Job) -> Job:
        """The job with its quote (UWS 1.1, section 2.1.8) as of now."""
        return replace(job, quote=self._quote(job))

    def list_jobs(
        self,
        kind: JobKind,
        *,
        identity: Identity = ANYBODY,
        phases: Collection[Phase] | None = None,
        after: datetime | None = None,
        last: int | None = None,
    ) -> list[Job]:
        """Someone's jobs of a kind (an operator's are everybody's), newest first: those created
        after ``after``, at most ``last`` and never more than :data:`MAX_LISTED`."""
        limit = MAX_LISTED if last is None else min(last, MAX_LISTED)
        owners = None if identity.sees_all else (identity.name,)
        return self._jobs.list_jobs(
            kinds=(kind,), phases=phases, after=after, last=limit, owners=owners
        )

    def of_recipe(self, key: str, phases: Collection[Phase]) -> list[Job]:
        """See :meth:`JobStore.of_recipe`."""
        return self._jobs.of_recipe(key, phases)

    def start(self, job_id: str) -> Job:
        """PENDING (or HELD) -> QUEUED. A job that is under way stays as it is.

        Raises PhaseError when it has ended.
        """
        job = self._change(job_id, self._started)
        self._on_change(job)
        return job

    def abort(self, job_id: str) -> Job:
        """Stop a job for good. A job that has ended stays as it is."""
        job = self._change(job_id, self._aborted)
        self._on_change(job)
        return job

    def delete(self, job_id: str) -> None:
        """Stop a job and forget it, with its results."""
        self.destroy(self.abort(job_id))

    def destroy(self, job: Job) -> None:
        """Forget a job with its results; products it built stay published."""
        try:
            self._jobs.delete(job.job_id)
        finally:
            self.discard(job.job_id)

    def discard(self, job_id: str) -> None:
        """Remove the files of a job."""
        self._results.delete(job_id)

    def expire(self, job: Job) -> None:
        """What is due at a job's destruction time (UWS 1.1, sections 2.1.3 and 2.1.6): it is
        destroyed, or, if this service keeps an archive and the job ever ran, becomes ARCHIVED
        without its results until the archive's time is over."""
        if not self._archive or job.phase in {Phase.ARCHIVED, Phase.PENDING, Phase.HELD}:
            with suppress(JobNotFoundError):
                self.destroy(job)
            return
        self._change(job.job_id, self._archived)
        self.discard(job.job_id)

    def set_parameters(
        self,
        job_id: str,
        pairs: Iterable[tuple[str, str]],
        *,
        upload_bytes: int = 0,
        identity: Identity = ANYBODY,
    ) -> Job:
        """Give parameters of a PENDING job new values; RUNID is the job's run identifier,
        ``upload_bytes`` what will be kept for it beside what there is.

        Raises PhaseError in any other phase, StorageQuotaError where somebody may not add so much.
        """
        news = ParameterSet(pairs)
        run_id = news.single("RUNID")

        def change(job: Job) -> Job:
            if job.phase is not Phase.PENDING:
                raise PhaseError(job.phase.value, "new parameters")
            if upload_bytes:
                allowance = self._allowances.of(identity)
                self._jobs.require_room(job.account, allowance, upload_bytes, self._clock())
            kept = ParameterSet(job.parameters).replaced_by(news.without("RUNID"))
            return replace(
                job,
                parameters=kept.pairs,
                run_id=run_id or job.run_id,
                upload_bytes=job.upload_bytes + upload_bytes,
            )

        return self._change(job_id, change)

    def set_execution_duration(self, job_id: str, duration_s: int) -> Job:
        """Seconds the job may run; 0 asks for the most there is. Only before it runs."""
        if duration_s < 0:
            raise ParameterError("EXECUTIONDURATION", f"0 or more seconds, got {duration_s}")

        def change(job: Job) -> Job:
            if job.phase not in {Phase.PENDING, Phase.HELD, Phase.QUEUED}:
                raise PhaseError(job.phase.value, "a new execution duration")
            limit_s = self._limits_s.get(job.kind, 0)
            allowed = min(duration_s or limit_s, limit_s) if limit_s else duration_s
            return replace(job, execution_duration_s=min(allowed, LONGEST_DURATION_S))

        return self._change(job_id, change)

    def set_destruction(self, job_id: str, destruction: datetime) -> Job:
        """When the job is forgotten; brought into what the service allows. The past is refused:
        to forget a job now, delete it."""
        now = self._clock()
        if destruction <= now:
            raise ParameterError("DESTRUCTION", "a time to come is needed; DELETE removes the job")
        allowed = min(destruction, now + self._lifetime)
        job = self._change(job_id, lambda job: replace(job, destruction=allowed))
        self._on_change(job)
        return job

    def wait(self, job_id: str, *, timeout_s: float, phase: Phase | None = None) -> Job:
        """Block until the job leaves ``phase`` (default: until it has ended) or the time is up.

        Returns the job as it is then.
        """
        deadline_s = time.monotonic() + timeout_s
        changed = threading.Event()
        with self.listening(job_id, changed.set):
            while True:
                changed.clear()
                job = self._jobs.get(job_id)
                ended = job.phase in ENDED or (phase is not None and job.phase is not phase)
                left_s = deadline_s - time.monotonic()
                if ended or left_s <= 0:
                    return job
                changed.wait(min(left_s, _LOOK_S))

    def listening(self, job_id: str, listener: Callable[[], None]) -> AbstractContextManager[None]:
        """While it lasts ``listener`` is called, in any thread, whenever the job is written by
        this server."""
        return self._jobs.changes.listening(job_id, listener)

    def queued_before(self, job: Job) -> int:
        """How many jobs of its kind are run before a queued job."""
        return self._jobs.queued_before(job)

    def _started(self, job: Job) -> Job:
        if job.phase in {Phase.QUEUED, Phase.EXECUTING}:
            return job
        return step(job, "run", self._clock())

    def _aborted(self, job: Job) -> Job:
        return step(job, "abort", self._clock()) if job.phase in ACTIVE else job

    def _archived(self, job: Job) -> Job:
        if job.phase is Phase.ARCHIVED:
            return job
        archived = step(self._aborted(job), "archive", self._clock())
        return replace(archived, upload_bytes=0, destruction=job.destruction + self._archive)

    def _change(self, job_id: str, change: Callable[[Job], Job]) -> Job:
        """Read, change and write a job; again if its phase moved in between."""
        for _ in range(_TRIES):
            job = self._jobs.get(job_id)
            changed = change(job)
            if changed == job or self._jobs.replace(changed, old_phase=job.phase):
                return changed
        raise EngineBusyError(f"job {job_id} keeps changing; try again")
