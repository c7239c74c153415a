"""Jobs are claimed, kept alive, stopped, tried again and settled, on a real SQLite store."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from app.errors import (
    CoverageError,
    EngineBusyError,
    StoppedError,
    StorageFullError,
    StoreUnavailableError,
)
from app.services.dispatcher import Dispatcher
from app.services.executors import ShouldStop, StopSignal
from app.stores.jobs import JobStore
from app.stores.metadata import MetadataStores, open_stores
from app.uws.job import Job, JobKind, JobResult, Phase
from app.uws.transitions import step
from app.workers.engine import Progress
from tests.databases import database_at
from tests.waiting import PATIENCE_S, wait_for

Work = Callable[[Job, ShouldStop, Progress], tuple[JobResult, ...] | None]
RESULT = JobResult(result_id="result", media_type="text/plain", path="results/x/result")


class CallableExecutor:
    """An executor whose work is a function."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def run(
        self, job: Job, should_stop: ShouldStop, progress: Progress
    ) -> tuple[JobResult, ...] | None:
        """Do the work."""
        return self._work(job, should_stop, progress)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[MetadataStores]:
    """A fresh database."""
    opened = open_stores(database_at(tmp_path / "skyloom.sqlite3"))
    yield opened
    opened.close()


@contextmanager
def dispatching(
    jobs: JobStore,
    work: Work,
    *,
    slots: int = 2,
    lease_s: float = 300.0,
    owner: str = "here",
    discard: Callable[[str], None] = lambda _job_id: None,
    is_gone: Callable[[str], bool] = lambda _owner: False,
) -> Iterator[Dispatcher]:
    """A running dispatcher of template jobs."""
    dispatcher = Dispatcher(
        jobs=jobs,
        executors={"template": CallableExecutor(work)},
        slots={"template": slots},
        clock=lambda: datetime.now(UTC),
        expire=lambda job: jobs.delete(job.job_id),
        discard=discard,
        owner=owner,
        is_gone=is_gone,
        lease_s=lease_s,
        max_attempts=3,
        poll_s=0.05,
        sweep_s=0.05,
        retry_wait_s=0.01,
        beat_s=0.1,
    )
    dispatcher.start()
    yield dispatcher
    dispatcher.stop()


def add_job(
    jobs: JobStore,
    *,
    kind: JobKind = "template",
    recipe_key: str | None = None,
    execution_duration_s: int = 0,
    life_s: float = 3600.0,
) -> str:
    """A queued job; its identifier."""
    now = datetime.now(UTC)
    job = Job(
        job_id=uuid.uuid4().hex,
        kind=kind,
        phase=Phase.QUEUED,
        creation_time=now,
        destruction=now + timedelta(seconds=life_s),
        recipe_key=recipe_key,
        execution_duration_s=execution_duration_s,
    )
    jobs.add(job)
    return job.job_id


def ended(jobs: JobStore, job_id: str) -> Job:
    """The job once it ended."""
    over = {Phase.COMPLETED, Phase.ERROR, Phase.ABORTED}
    wait_for(lambda: jobs.get(job_id).phase in over)
    return jobs.get(job_id)


def until_stopped(job: Job, should_stop: ShouldStop, progress: Progress) -> None:
    """Work that ends only when it is told to."""
    wait_for(should_stop)
    raise StoppedError()


def test_a_job_runs_and_its_result_is_recorded(stores: MetadataStores) -> None:
    def work(job: Job, should_stop: ShouldStop, progress: Progress) -> tuple[JobResult, ...]:
        assert job.phase is Phase.EXECUTING and not should_stop()
        return (RESULT,)

    with dispatching(stores.jobs, work) as dispatcher:
        job_id = add_job(stores.jobs)
        dispatcher.notify(stores.jobs.get(job_id))
        job = ended(stores.jobs, job_id)
    assert job.phase is Phase.COMPLETED
    assert job.results == (RESULT,)
    assert job.attempts == 1 and job.lease_owner is None and job.end_time is not None


def test_no_more_jobs_than_slots_run_at_once(stores: MetadataStores) -> None:
    busy, most = [], []
    lock, company = threading.Lock(), threading.Barrier(2)

    def work(job: Job, should_stop: ShouldStop, progress: Progress) -> tuple[JobResult, ...]:
        with lock:
            busy.append(job.job_id)
            most.append(len(busy))
        company.wait(PATIENCE_S)
        time.sleep(0.05)
        with lock:
            busy.remove(job.job_id)
        return (RESULT,)

    ids = [add_job(stores.jobs) for _ in range(8)]
    with dispatching(stores.jobs, work, slots=2):
        assert all(ended(stores.jobs, i).phase is Phase.COMPLETED for i in ids)
    assert len(most) == 8 and max(most) == 2


def test_progress_is_written(stores: MetadataStores) -> None:
    done = threading.Event()

    def work(job: Job, should_stop: ShouldStop, progress: Progress) -> tuple[JobResult, ...]:
        progress("warp", 3, 10)
        done.wait(PATIENCE_S)
        return (RESULT,)

    job_id = add_job(stores.jobs)
    with dispatching(stores.jobs, work):
        wait_for(lambda: stores.jobs.get(job_id).progress.get("stage") == "warp")
        assert stores.jobs.get(job_id).progress == {
            "stage": "warp",
            "done": 3,
            "total": 10,
            "fraction": 0.3,
        }
        done.set()
        ended(stores.jobs, job_id)


def test_an_abort_stops_the_work(stores: MetadataStores) -> None:
    stopped = threading.Event()

    def work(job: Job, should_stop: ShouldStop, progress: Progress) -> None:
        try:
            until_stopped(job, should_stop, progress)
        finally:
            stopped.set()

    job_id = add_job(stores.jobs)
    with dispatching(stores.jobs, work) as dispatcher:
        wait_for(lambda: stores.jobs.get(job_id).phase is Phase.EXECUTING)
        job = stores.jobs.get(job_id)
        assert stores.jobs.replace(step(job, "abort", datetime.now(UTC)), old_phase=Phase.EXECUTING)
        assert stopped.wait(PATIENCE_S)
        wait_for(lambda: not dispatcher.running_jobs())
    assert stores.jobs.get(job_id).phase is Phase.ABORTED


def test_a_deleted_job_stops(stores: MetadataStores) -> None:
    job_id = add_job(stores.jobs)
    with dispatching(stores.jobs, until_stopped) as dispatcher:
        wait_for(lambda: dispatcher.running_jobs() == (job_id,))
        stores.jobs.delete(job_id)
        wait_for(lambda: not dispatcher.running_jobs())


def test_the_result_of_a_job_that_was_deleted_meanwhile_is_removed(
    stores: MetadataStores,
) -> None:
    discarded: list[str] = []

    def work(job: Job, should_stop: ShouldStop, progress: Progress) -> tuple[JobResult, ...]:
        stores.jobs.delete(job.job_id)
        return (RESULT,)

    job_id = add_job(stores.jobs)
    with dispatching(stores.jobs, work, discard=discarded.append):
        wait_for(lambda: discarded == [job_id])


@pytest.mark.parametrize("deleted", [True, False])
def test_a_job_whose_folder_was_deleted_with_it_is_no_fault(
    stores: MetadataStores, caplog: pytest.LogCaptureFixture, *, deleted: bool
) -> None:
    discarded: list[str] = []

    def work(job: Job, should_stop: ShouldStop, progress: Progress) -> None:
        if deleted:
            stores.jobs.delete(job.job_id)
        raise FileNotFoundError(job.job_id)

    job_id = add_job(stores.jobs)
    with dispatching(stores.jobs, work, discard=discarded.append):
        wait_for(lambda: discarded == [job_id]) if deleted else ended(stores.jobs, job_id)
    assert (f"job {job_id} (template) failed" in caplog.text) is not deleted


def test_a_stop_interrupts_what_does_not_ask(stores: MetadataStores) -> None:
    def work(job: Job, should_stop: StopSignal, progress: Progress) -> None:
        interrupted = threading.Event()
        should_stop.then(interrupted.set)
        assert interrupted.wait(PATIENCE_S)
        raise StoppedError

    job_id = add_job(stores.jobs, execution_duration_s=1)
    with dispatching(stores.jobs, work):
        assert ended(stores.jobs, job_id).phase is Phase.ERROR


def test_lost_workers_are_tried_again_up_to_the_limit(stores: MetadataStores) -> None:
    tries: list[str] = []

    def work(job: Job, should_stop: ShouldStop, progress: Progress) -> tuple[JobResult, ...]:
        tries.append(job.job_id)
        if tries.count(job.job_id) == 1 or job.run_id == "never" or job.job_id == hopeless:
            raise EngineBusyError("the worker was killed")
        return (RESULT,)

    hopeless = ""
    with dispatching(stores.jobs, work):
        lucky = add_job(stores.jobs)
        assert ended(stores.jobs, lucky).phase is Phase.COMPLETED
        assert stores.jobs.get(lucky).attempts == 2
    hopeless = add_job(stores.jobs)
    with dispatching(stores.jobs, work):
        job = ended(stores.jobs, hopeless)
    assert job.phase is Phase.ERROR and job.attempts == 3
    assert tries.count(hopeless) == 3
    assert job.error is not None and job.error.transient
    assert job.error.fault == "EngineBusyError" and "killed" in job.error.message


@pytest.mark.parametrize(
    ("fault", "transient", "words"),
    [
        (CoverageError("exposures", 1, 2), False, "exposures"),
        (StorageFullError("products"), True, "No space is left"),
        (RuntimeError("secret detail"), False, "internal error"),
        (StoreUnavailableError("host secret.example refused"), True, "does not answer now"),
    ],
)
def test_faults_end_the_job_with_their_words(
    stores: MetadataStores, fault: Exception, transient: bool, words: str
) -> None:
    def work(job: Job, should_stop: ShouldStop, progress: Progress) -> None:
        raise fault

    job_id = add_job(stores.jobs)
    with dispatching(stores.jobs, work):
        job = ended(stores.jobs, job_id)
    assert job.phase is Phase.ERROR
    assert job.attempts == (3 if isinstance(fault, StoreUnavailableError) else 1)
    assert job.error is not None and job.error.transient is transient
    assert words in job.error.message and "secret" not in job.error.message


def test_the_execution_duration_is_a_limit(stores: MetadataStores) -> None:
    job_id = add_job(stores.jobs, execution_duration_s=1)
    with dispatching(stores.jobs, until_stopped):
        job = ended(stores.jobs, job_id)
    assert job.phase is Phase.ERROR
    assert job.error is not None and job.error.fault == "TimeLimitError"


def test_stopping_the_server_puts_its_jobs_back(stores: MetadataStores) -> None:
    job_id = add_job(stores.jobs)
    with dispatching(stores.jobs, until_stopped) as dispatcher:
        wait_for(lambda: dispatcher.running_jobs() == (job_id,))
    job = stores.jobs.get(job_id)
    assert job.phase is Phase.QUEUED and job.attempts == 0 and job.lease_owner is None
    with dispatching(stores.jobs, lambda *_: (RESULT,)):
        assert ended(stores.jobs, job_id).phase is Phase.COMPLETED


def test_a_job_of_a_killed_server_is_run_again_after_its_lease(stores: MetadataStores) -> None:
    job_id = add_job(stores.jobs)
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    claimed = stores.jobs.claim(
        kinds=["template"], owner="dead", now=long_ago, lease_s=30, max_attempts=3
    )
    assert claimed is not None and claimed.job_id == job_id
    with dispatching(stores.jobs, lambda *_: (RESULT,)):
        job = ended(stores.jobs, job_id)
    assert job.phase is Phase.COMPLETED and job.attempts == 2


def test_a_job_of_a_server_that_is_gone_for_certain_is_run_again_at_once(
    stores: MetadataStores,
) -> None:
    jobs = {}
    for owner in ("dead", "elsewhere"):
        jobs[owner] = add_job(stores.jobs)
        stores.jobs.claim(
            kinds=["template"], owner=owner, now=datetime.now(UTC), lease_s=3600, max_attempts=3
        )
    with dispatching(stores.jobs, lambda *_: (RESULT,), is_gone=lambda owner: owner == "dead"):
        job = ended(stores.jobs, jobs["dead"])
    assert job.phase is Phase.COMPLETED and job.attempts == 2
    left = stores.jobs.get(jobs["elsewhere"])
    assert (left.phase, left.lease_owner) == (Phase.EXECUTING, "elsewhere")


def test_a_lease_outlives_its_length_while_the_work_goes_on(stores: MetadataStores) -> None:
    go_on = threading.Event()

    def work(job: Job, should_stop: ShouldStop, progress: Progress) -> tuple[JobResult, ...]:
        assert go_on.wait(PATIENCE_S) and not should_stop()
        return (RESULT,)

    def lease_end() -> datetime:
        until = stores.jobs.get(job_id).lease_until
        assert until is not None
        return until

    job_id = add_job(stores.jobs)
    with dispatching(stores.jobs, work, owner="one"):
        wait_for(lambda: stores.jobs.get(job_id).phase is Phase.EXECUTING)
        first = lease_end()
        wait_for(lambda: lease_end() > first + timedelta(seconds=1))
        claim = partial(stores.jobs.claim, kinds=["template"], owner="two", max_attempts=3)
        assert claim(now=first + timedelta(seconds=0.5), lease_s=30) is None
        go_on.set()
        assert ended(stores.jobs, job_id).phase is Phase.COMPLETED
    assert stores.jobs.get(job_id).attempts == 1


def test_one_recipe_executes_once_at_a_time(stores: MetadataStores) -> None:
    busy: list[str] = []

    def work(job: Job, should_stop: ShouldStop, progress: Progress) -> tuple[JobResult, ...]:
        assert not busy
        busy.append(job.job_id)
        time.sleep(0.1)
        busy.remove(job.job_id)
        return (RESULT,)

    ids = [add_job(stores.jobs, recipe_key="k" * 32) for _ in range(3)]
    with dispatching(stores.jobs, work, slots=3):
        assert all(ended(stores.jobs, i).phase is Phase.COMPLETED for i in ids)


def test_jobs_past_their_destruction_are_destroyed(stores: MetadataStores) -> None:
    old = add_job(stores.jobs, life_s=-1.0)
    young = add_job(stores.jobs)
    with dispatching(stores.jobs, lambda *_: (RESULT,)):
        ended(stores.jobs, young)
        wait_for(lambda: old not in {j.job_id for j in stores.jobs.list_jobs(kinds=["template"])})
