"""What a user may do to a job, and when."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.errors import JobNotFoundError, ParameterError, PhaseError, TooManyJobsError
from app.http.faults import fault_of, headers_of
from app.schema.access import OPERATOR, Identity
from app.schema.allowances import Allowance, Allowances
from app.services.jobs import JobService
from app.stores.metadata import MetadataStores, open_stores
from app.stores.results import ResultStore
from app.uws.job import JobError, Phase
from app.uws.transitions import step
from tests.databases import database_at
from tests.waiting import PATIENCE_S

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[MetadataStores]:
    url = database_at(tmp_path / "jobs.sqlite3")
    made = open_stores(url)
    yield made
    made.close()


@pytest.fixture
def changes() -> list[str]:
    return []


@pytest.fixture
def service(stores: MetadataStores, tmp_path: Path, changes: list[str]) -> JobService:
    return JobService(
        jobs=stores.jobs,
        results=ResultStore(data_dir=tmp_path),
        clock=lambda: NOW,
        lifetime_s=3600,
        execution_limits_s={"tap": 100},
        on_change=lambda job: changes.append(job.phase),
    )


def _end(stores: MetadataStores, job_id: str, phase: Phase) -> None:
    """Move a QUEUED job to an end."""
    running = step(stores.jobs.get(job_id), "start", NOW, lease_owner="x", lease_until=NOW)
    assert stores.jobs.replace(running, old_phase=Phase.QUEUED)
    if phase is Phase.COMPLETED:
        ended = step(running, "complete", NOW, results=())
    else:
        ended = step(running, "fail", NOW, error=JobError(message="m", transient=False, fault="f"))
    assert stores.jobs.replace(ended, old_phase=Phase.EXECUTING)


def test_a_new_job_waits_for_its_user(service: JobService, changes: list[str]) -> None:
    job = service.create(
        "tap", [("QUERY", "a"), ("query", "b")], run_id="r", service_url="http://x"
    )
    stored = service.get(job.job_id)
    assert stored == job
    assert stored.phase is Phase.PENDING
    assert stored.parameters == (("QUERY", "a"), ("query", "b"))
    assert (stored.run_id, stored.service_url) == ("r", "http://x")
    assert stored.execution_duration_s == 100
    assert stored.destruction == NOW + timedelta(hours=1)
    assert changes == []


def test_start_and_abort_tell_the_dispatcher_and_may_be_repeated(
    service: JobService, changes: list[str]
) -> None:
    job_id = service.create("tap", []).job_id
    assert service.start(job_id).phase is Phase.QUEUED
    assert service.start(job_id).phase is Phase.QUEUED
    assert changes
    assert service.abort(job_id).phase is Phase.ABORTED
    assert service.abort(job_id).phase is Phase.ABORTED
    with pytest.raises(PhaseError):
        service.start(job_id)


@pytest.mark.parametrize("end", [Phase.COMPLETED, Phase.ERROR])
def test_what_has_ended_stays(service: JobService, stores: MetadataStores, end: Phase) -> None:
    job_id = service.create("tap", []).job_id
    service.start(job_id)
    _end(stores, job_id, end)
    assert service.abort(job_id).phase is end
    with pytest.raises(PhaseError):
        service.start(job_id)
    with pytest.raises(PhaseError):
        service.set_parameters(job_id, [("QUERY", "x")])
    with pytest.raises(PhaseError):
        service.set_execution_duration(job_id, 1)


def test_parameters_change_while_pending(service: JobService) -> None:
    job_id = service.create("tap", [("LANG", "ADQL"), ("QUERY", "a")]).job_id
    service.set_parameters(job_id, [("query", "b"), ("runId", "second")])
    job = service.get(job_id)
    assert job.parameters == (("LANG", "ADQL"), ("query", "b"))
    assert job.run_id == "second"
    service.start(job_id)
    with pytest.raises(PhaseError):
        service.set_parameters(job_id, [("QUERY", "c")])


@pytest.mark.parametrize(("asked", "given"), [(5, 5), (100, 100), (101, 100), (0, 100)])
def test_execution_duration_is_brought_into_limits(
    service: JobService, asked: int, given: int
) -> None:
    job_id = service.create("tap", []).job_id
    assert service.set_execution_duration(job_id, asked).execution_duration_s == given


def test_kinds_without_a_limit(service: JobService) -> None:
    job_id = service.create("template", []).job_id
    assert service.set_execution_duration(job_id, 9999).execution_duration_s == 9999
    assert service.set_execution_duration(job_id, 0).execution_duration_s == 0
    with pytest.raises(ParameterError):
        service.set_execution_duration(job_id, -1)


def test_destruction_is_brought_into_limits_and_never_past(service: JobService) -> None:
    job_id = service.create("tap", []).job_id
    late = service.set_destruction(job_id, NOW + timedelta(days=99))
    assert late.destruction == NOW + timedelta(hours=1)
    early = service.set_destruction(job_id, NOW + timedelta(minutes=1))
    assert early.destruction == NOW + timedelta(minutes=1)
    with pytest.raises(ParameterError, match="DESTRUCTION"):
        service.set_destruction(job_id, NOW - timedelta(seconds=1))
    assert service.get(job_id).phase is Phase.PENDING


def test_delete_takes_the_results_along(service: JobService, tmp_path: Path) -> None:
    job_id = service.create("tap", []).job_id
    ResultStore(data_dir=tmp_path).write(job_id, "result", [b"x"])
    service.delete(job_id)
    with pytest.raises(JobNotFoundError):
        service.get(job_id)
    assert not (tmp_path / "results" / job_id).exists()
    with pytest.raises(JobNotFoundError):
        service.delete(job_id)


def test_lists_are_of_one_kind_and_bounded(service: JobService) -> None:
    taps = [service.create("tap", []).job_id for _ in range(3)]
    template = service.create("template", []).job_id
    assert {job.job_id for job in service.list_jobs("tap")} == set(taps)
    assert len(service.list_jobs("tap", last=2)) == 2
    assert service.list_jobs("tap", after=NOW) == []
    assert len(service.list_jobs("tap", after=NOW - timedelta(seconds=1))) == 3
    assert service.list_jobs("tap", phases=[Phase.COMPLETED]) == []
    with pytest.raises(JobNotFoundError):
        service.get(template, "tap")


def test_wait_returns_when_the_job_ends(service: JobService, stores: MetadataStores) -> None:
    job_id = service.create("tap", []).job_id
    assert service.wait(job_id, timeout_s=0.01).phase is Phase.PENDING
    service.start(job_id)
    threading.Timer(0.1, _end, (stores, job_id, Phase.COMPLETED)).start()
    assert service.wait(job_id, timeout_s=PATIENCE_S).phase is Phase.COMPLETED
    assert service.wait(job_id, timeout_s=PATIENCE_S, phase=Phase.PENDING).phase is Phase.COMPLETED


def test_how_many_jobs_one_client_may_have(stores: MetadataStores, tmp_path: Path) -> None:
    service = JobService(
        jobs=stores.jobs,
        results=ResultStore(data_dir=tmp_path),
        clock=lambda: NOW,
        lifetime_s=3600,
        execution_limits_s={},
        allowances=Allowances(anonymous=Allowance(jobs=2), users=Allowance(jobs=3)),
    )
    here, there = Identity(client="@192.0.2.1"), Identity(client="@192.0.2.2")
    first, _ = [service.create("tap", (), identity=here) for _ in range(2)]
    with pytest.raises(TooManyJobsError, match="have not ended is 2;") as refused:
        service.create("tap", (), identity=here)
    assert fault_of(type(refused.value)).status == 503
    assert "Retry-After" in headers_of(refused.value)
    service.create("tap", (), identity=there)
    for who, count in ((Identity(name="ada"), 3), (OPERATOR, 5)):
        for _ in range(count):
            service.create("tap", (), identity=who)
    with pytest.raises(TooManyJobsError):
        service.create("tap", (), identity=Identity(name="ada"))
    service.abort(first.job_id)
    service.create("tap", (), identity=here)
