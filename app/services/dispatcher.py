"""Runs queued jobs: claims them with a lease, keeps the lease alive, settles how they end.

Any number of servers may share one job store. A job belongs to the dispatcher whose lease it
carries; when a server dies its leases run out, or are ended by the next one that starts on the
machine, and the jobs are claimed and run again, at most ``max_attempts`` times.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

from app import traces
from app.errors import (
    EngineBusyError,
    JobNotFoundError,
    ServiceError,
    StoppedError,
    StoreUnavailableError,
    TimeLimitError,
    TransientError,
    told,
)
from app.logs import about
from app.services.executors import Executor
from app.services.running import JobEnd, RunningJob
from app.stores.jobs import JobStore
from app.uws.job import ACTIVE, Job, JobError, JobKind, JobResult, Phase
from app.uws.transitions import step

log = logging.getLogger(__name__)

BEAT_S = 1.0
"""How often leases are renewed, which is also how soon an abort is noticed."""
_SHORTEST_SWEEP_S = 0.2
WORTH_RETRYING = (EngineBusyError, StoreUnavailableError)
"""What another attempt may cure without anybody's help; a full disk is not among them."""


def _nobody_is_gone(_owner: str) -> bool:
    """The default of ``is_gone``."""
    return False


def _tell_nobody(_end: JobEnd) -> None:
    """The default of ``on_end``."""


class Dispatcher:
    """Claims and runs jobs in a pool of threads, ``slots`` of each kind at a time.

    ``expire`` does what is due to a job past its destruction time; ``discard`` removes the files
    of a job that was deleted while it ran.
    ``owner`` names this dispatcher in leases and must be unique among those that share the store;
    ``is_gone`` says of an owner that its process has ended for certain.
    """

    def __init__(
        self,
        *,
        jobs: JobStore,
        executors: Mapping[JobKind, Executor],
        slots: Mapping[JobKind, int],
        clock: Callable[[], datetime],
        expire: Callable[[Job], None],
        discard: Callable[[str], None],
        owner: str,
        lease_s: float,
        max_attempts: int,
        is_gone: Callable[[str], bool] = _nobody_is_gone,
        on_end: Callable[[JobEnd], None] = _tell_nobody,
        poll_s: float = 1.0,
        sweep_s: float = 30.0,
        retry_wait_s: float = 1.0,
        beat_s: float = BEAT_S,
    ) -> None:
        self._jobs = jobs
        self._executors = executors
        self._slots = {kind: slots.get(kind, 1) for kind in executors}
        self._clock = clock
        self._expire = expire
        self._discard = discard
        self._owner = owner
        self._lease_s = lease_s
        self._max_attempts = max_attempts
        self._is_gone = is_gone
        self._on_end = on_end
        self._poll_s = poll_s
        self._sweep_s = sweep_s
        self._retry_wait_s = retry_wait_s
        self._beat_s = min(beat_s, lease_s / 3)
        self._running: dict[str, RunningJob] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._queued = threading.Event()
        self._beat = threading.Event()
        self._sweep_now = threading.Event()
        self._next_sweep: datetime | None = None
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._pool: ThreadPoolExecutor | None = None

    def start(self) -> None:
        """Begin to claim jobs, in threads of its own."""
        self._stopping.clear()
        self._pool = ThreadPoolExecutor(sum(self._slots.values()), thread_name_prefix="job")
        self._threads = [
            threading.Thread(target=target, name=f"dispatcher-{name}", daemon=True)
            for name, target in (
                ("claim", self._claim_loop),
                ("beat", self._beat_loop),
                ("sweep", self._sweep_loop),
            )
        ]
        for thread in self._threads:
            thread.start()

    def notify(self, job: Job) -> None:
        """A job was queued, ended or is to be destroyed at another time: act now, without
        waiting for the next poll or beat."""
        if job.phase is Phase.QUEUED:
            self._queued.set()
            self._wake.set()
        elif job.phase not in ACTIVE:
            with self._lock:
                running = self._running.get(job.job_id)
            if running is not None:
                running.stop()
        if self._next_sweep is None or job.destruction < self._next_sweep:
            self._sweep_now.set()

    def stop(self, *, timeout_s: float = 20.0) -> None:
        """Stop claiming, stop what runs and put it back into the queue for another server."""
        self._stopping.set()
        for event in (self._wake, self._beat, self._sweep_now):
            event.set()
        for running in self._snapshot():
            running.stop()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        deadline = time.monotonic() + timeout_s
        while self._snapshot() and time.monotonic() < deadline:
            time.sleep(0.05)
        for thread in self._threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        self._threads = []

    def is_alive(self) -> bool:
        """Whether jobs are claimed and their leases renewed."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    def running_jobs(self) -> tuple[str, ...]:
        """Identifiers of the jobs this dispatcher runs now."""
        return tuple(running.job.job_id for running in self._snapshot())

    # -- claiming ---------------------------------------------------------------------------

    def _claim_loop(self) -> None:
        self._take_over()
        while not self._stopping.is_set():
            self._wake.clear()
            queued = self._queued.is_set()
            self._queued.clear()
            try:
                while not self._stopping.is_set() and self._claim_one(expected=queued):
                    queued = False
            except ServiceError as fault:
                log.warning("jobs cannot be claimed now: %s", fault)
            except Exception:
                log.exception("claiming a job failed")
            self._wake.wait(self._poll_s)

    def _take_over(self) -> None:
        """What a server that was killed here has left is run without waiting for its lease."""
        try:
            self._jobs.end_leases(self._is_gone, self._clock())
        except ServiceError as fault:
            log.warning("jobs of servers that were killed wait for their leases: %s", fault)

    def _claim_one(self, *, expected: bool) -> bool:
        """Claim one job of a kind that has a free slot and hand it to the pool."""
        kinds = self._free_kinds()
        if not kinds or self._pool is None:
            return False
        job = self._jobs.claim(
            kinds=kinds,
            owner=self._owner,
            now=self._clock(),
            lease_s=self._lease_s,
            max_attempts=self._max_attempts,
            expected=expected,
        )
        if job is None:
            return False
        running = RunningJob(job)
        with self._lock:
            if job.job_id in self._running:
                return True  # our own lease had run out on a machine too busy: it is ours again
            self._running[job.job_id] = running
        self._pool.submit(self._run, running)
        return True

    def _free_kinds(self) -> tuple[JobKind, ...]:
        taken = [running.job.kind for running in self._snapshot()]
        return tuple(kind for kind, slots in self._slots.items() if taken.count(kind) < slots)

    def _snapshot(self) -> list[RunningJob]:
        with self._lock:
            return list(self._running.values())

    # -- running ----------------------------------------------------------------------------

    def _run(self, running: RunningJob) -> None:
        job = running.job
        with (
            about(job=job.job_id),
            traces.span(
                f"{job.kind} job",
                parent=job.traceparent,
                kind="consumer",
                skyloom_job=job.job_id,
                skyloom_attempt=job.attempts,
            ) as span,
        ):
            log.info("%s job: attempt %d", running.job.kind, running.job.attempts)
            end = running.end(self._run_to_its_end(running))
            if span is not None and end.outcome == "failed":
                traces.mark_failed(span, end.outcome)
            times = {stage: round(seconds, 2) for stage, seconds in end.stages.items()}
            log.info("%s job: %s after %.2f s %s", end.kind, end.outcome, end.seconds, times or "")
            self._on_end(end)

    def _run_to_its_end(self, running: RunningJob) -> str:
        """Run a job and write how it ended; one word on that."""
        job = running.job
        try:
            executor = self._executors[job.kind]
            results = executor.run(job, running.should_stop, running.report)
            if results is None:
                self._jobs.changes.announce(job.job_id)  # somebody else wrote its end
            else:
                self._settle(job, lambda now_job: self._completed(now_job, results))
            return "completed"
        except Exception as fault:
            self._settle_fault(running, fault)
            return "stopped" if isinstance(fault, StoppedError) else "failed"
        finally:
            with self._lock:
                self._running.pop(job.job_id, None)
            self._wake.set()

    def _is_deleted(self, job: Job) -> bool:
        """Whether it is no fault that its files are gone."""
        try:
            self._jobs.get(job.job_id)
        except JobNotFoundError:
            return True
        except ServiceError:
            return False  # nobody can tell
        return False

    def _settle_fault(self, running: RunningJob, fault: Exception) -> None:
        job = running.job
        if not isinstance(fault, ServiceError) and not self._is_deleted(job):
            log.error("job %s (%s) failed", job.job_id, job.kind, exc_info=fault)
        if isinstance(fault, StoppedError) and self._stopping.is_set():
            self._settle(job, lambda current: self._requeued(current, attempts=job.attempts - 1))
        elif isinstance(fault, StoppedError) and running.overdue():
            late = TimeLimitError("The job", job.execution_duration_s)
            self._settle(job, lambda current: self._failed(current, late))
        elif isinstance(fault, StoppedError):
            return  # aborted, deleted or taken over: the row already says so
        elif isinstance(fault, WORTH_RETRYING) and job.attempts < self._max_attempts:
            log.warning("job %s will be tried again: %s", job.job_id, fault)
            self._stopping.wait(self._retry_wait_s * job.attempts)
            self._settle(job, lambda current: self._requeued(current, attempts=job.attempts))
        else:
            if isinstance(fault, StoreUnavailableError):
                log.warning("job %s failed: %s", job.job_id, fault)
            self._settle(job, lambda current: self._failed(current, fault))

    def _settle(self, job: Job, change: Callable[[Job], Job]) -> None:
        """Write how the job ended, if it is still ours. A lost write leaves it to its lease."""
        for wait_s in (0.0, 0.5, 2.0):
            self._stopping.wait(wait_s)
            try:
                current = self._jobs.get(job.job_id)
                if current.phase is Phase.EXECUTING and current.lease_owner == self._owner:
                    changed = change(current)
                    self._jobs.replace(changed, old_phase=Phase.EXECUTING, lease_owner=self._owner)
            except StoreUnavailableError as fault:
                log.warning("the end of job %s is not written yet: %s", job.job_id, fault)
            except JobNotFoundError:
                self._discard(job.job_id)  # deleted while it ran: its result came too late
                return
            except ServiceError as fault:
                log.warning("the end of job %s cannot be written: %s", job.job_id, fault)
                return
            else:
                return

    def _completed(self, job: Job, results: tuple[JobResult, ...]) -> Job:
        return step(job, "complete", self._clock(), results=results)

    def _failed(self, job: Job, fault: Exception) -> Job:
        known = fault if isinstance(fault, ServiceError) else None
        error = JobError(
            message=told(known) if known else "An internal error stopped the job",
            transient=isinstance(fault, TransientError),
            fault=type(known or ServiceError()).__name__,
        )
        return step(job, "fail", self._clock(), error=error)

    def _requeued(self, job: Job, *, attempts: int) -> Job:
        return replace(step(job, "retry", self._clock()), attempts=attempts)

    # -- leases and destruction ---------------------------------------------------------------

    def _beat_loop(self) -> None:
        """Until stopped, and then for as long as something still runs."""
        while not self._stopping.is_set() or self._snapshot():
            self._beat.wait(self._until_next_beat())
            self._beat.clear()
            for running in self._snapshot():
                if running.overdue():
                    running.stop()
                self._renew(running)

    def _until_next_beat(self) -> float:
        """Seconds to the next beat, or to the end of the time of a job if that comes earlier."""
        ends = [each.left_s() for each in self._snapshot() if not each.should_stop()]
        return min([self._beat_s, *(max(0.0, end) + 0.01 for end in ends if end is not None)])

    def _renew(self, running: RunningJob) -> None:
        until = self._clock() + timedelta(seconds=self._lease_s)
        try:
            ours = self._jobs.renew(running.job.job_id, self._owner, until, running.progress)
        except ServiceError as fault:
            log.warning("the lease of job %s is not renewed: %s", running.job.job_id, fault)
        else:
            if not ours:
                running.stop()

    def _sweep_loop(self) -> None:
        while not self._stopping.is_set():
            self._sweep_now.clear()
            wait_s = self._sweep_s
            try:
                wait_s = self._sweep()
            except ServiceError as fault:
                log.warning("old jobs are not removed now: %s", fault)
            except Exception:
                log.exception("removing old jobs failed")
            self._sweep_now.wait(wait_s)

    def _sweep(self) -> float:
        """End the life of what is past its destruction time (UWS 1.1, section 2.1.6). Returns
        the seconds until there is something to do again."""
        for job in self._jobs.expired(self._clock()):
            running = self._running.get(job.job_id)
            if running is not None:
                running.stop()
            self._expire(job)
        now = self._clock()
        upcoming = self._jobs.next_destruction() or now + timedelta(seconds=self._sweep_s)
        wait_s = min(self._sweep_s, max(_SHORTEST_SWEEP_S, (upcoming - now).total_seconds()))
        self._next_sweep = now + timedelta(seconds=wait_s)
        return wait_s
