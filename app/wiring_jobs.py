"""From settings to what runs jobs and says when they will be done."""

from __future__ import annotations

from dataclasses import dataclass

from app.config import Config
from app.http.faults import describe_plainly
from app.operations.metrics import Metrics
from app.schema.allowances import Allowances
from app.services.build_executor import BuildExecutor
from app.services.builds import BuildService
from app.services.cutout_jobs import CutoutExecutor
from app.services.dispatcher import Dispatcher
from app.services.executors import Executor
from app.services.identities import IdentityService
from app.services.jobs import JobService
from app.services.query import QueryService, TapExecutor
from app.services.quotes import BuildCosts, QueryCosts, QuoteService
from app.services.storage_quota import StorageQuota
from app.services.uploads import UploadService
from app.stores.metadata import MetadataStores
from app.stores.processes import is_gone, make_owner_name
from app.stores.results import ResultStore
from app.uws.job import Job, JobKind
from app.wiring_database import now
from app.wiring_images import Cutouts

QUERY_SLOTS = 4
"""TAP jobs that one server runs at a time."""
CUTOUT_SLOTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class JobMeans:
    """What jobs are kept in and run by."""

    config: Config
    stores: MetadataStores
    identities: IdentityService
    allowances: Allowances
    queries: QueryService
    uploads: UploadService
    builds: BuildService
    results: ResultStore
    quotes: QuoteService
    cutouts: Cutouts
    metrics: Metrics


def make_jobs(means: JobMeans) -> tuple[JobService, Dispatcher]:
    """The job service, and the dispatcher that it wakes when a job was queued or aborted."""
    config, store = means.config, means.stores.jobs

    def expire(job: Job) -> None:
        jobs.expire(job)

    dispatcher = Dispatcher(
        jobs=store,
        executors=_executors(means),
        slots=job_slots(config),
        clock=now,
        expire=expire,
        discard=means.results.delete,
        owner=make_owner_name(),
        is_gone=is_gone,
        lease_s=config.lease_s,
        max_attempts=config.max_attempts,
        on_end=means.metrics.job_ended,
    )
    jobs = JobService(
        jobs=store,
        results=means.results,
        clock=now,
        lifetime_s=config.job_lifetime_s,
        execution_limits_s={"tap": int(config.query_time_limit_s)},
        archive_s=config.job_archive_s,
        allowances=means.allowances,
        quote=means.quotes.quote,
        on_change=dispatcher.notify,
    )
    return jobs, dispatcher


def _executors(means: JobMeans) -> dict[JobKind, Executor]:
    """What runs the jobs of each kind."""
    identity_of = means.identities.of_owner
    quota = StorageQuota(
        jobs=means.stores.jobs, allowances=means.allowances, identity_of=identity_of, clock=now
    )
    builds = BuildExecutor(
        builds=means.builds, jobs=means.stores.jobs, clock=now, identity_of=identity_of
    )
    return {
        "tap": TapExecutor(
            queries=means.queries,
            uploads=means.uploads,
            results=means.results,
            default_service_url=means.config.base_url or "",
            identity_of=identity_of,
            meter=quota.meter,
        ),
        "template": builds,
        "difference": builds,
        "cutout": CutoutExecutor(
            cutouts=means.cutouts.service,
            writer=means.cutouts.writer,
            pictures=means.cutouts.pictures,
            results=means.results,
            describe_error=describe_plainly,
            identity_of=identity_of,
            meter=quota.meter,
        ),
    }


def job_slots(config: Config) -> dict[JobKind, int]:
    """How many jobs of each kind one server runs at a time."""
    return {
        "tap": QUERY_SLOTS,
        "template": config.workers,
        "difference": config.workers,
        "cutout": CUTOUT_SLOTS,
    }


def make_quotes(
    config: Config,
    stores: MetadataStores,
    queries: QueryService,
    uploads: UploadService,
    builds: BuildService,
) -> QuoteService:
    """What says when a job will be done."""
    return QuoteService(
        jobs=stores.jobs,
        costs={
            "tap": QueryCosts(queries, uploads, stores.jobs),
            "template": BuildCosts("template", builds, stores.datasets),
            "difference": BuildCosts("difference", builds, stores.datasets),
        },
        slots=job_slots(config),
        clock=now,
    )
