"""Commands that build: the services at work without a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app.config import Config
from app.errors import ComputationError
from app.recipes.recipe import BuildKind
from app.schema.access import OPERATOR
from app.services.batches import DifferenceBatch, TemplateBatch
from app.uws.job import ACTIVE, Job, Phase
from app.wiring import Services, build_services
from app.wiring_database import initialise
from app.wiring_images import make_skymap

BuildParameters = tuple[tuple[str, str], ...]


def run_build(config: Config, kind: BuildKind, parameters: BuildParameters) -> tuple[str, str]:
    """Run one build to its end; returns the product's identifier and where its file is.

    Raises what the build raises: a UsageError for a wrong request, ComputationError with the
    job's own message when it failed.
    """
    (product,) = run_builds(config, [(kind, parameters)])
    return product


def run_builds(
    config: Config, requests: Sequence[tuple[BuildKind, BuildParameters]]
) -> Iterator[tuple[str, str]]:
    """Run one build after the other, as :func:`run_build` does."""
    with running(config) as services:
        for kind, parameters in requests:
            services.builds.prepare(kind, parameters, OPERATOR)
            job = services.jobs.create(kind, parameters, identity=OPERATOR, service_url="")
            services.jobs.start(job.job_id)
            done = _ended(services, job.job_id)
            row = services.stores.datasets.get(str(done.results[0].dataset_id))
            yield row.dataset_id, row.file_path


@contextmanager
def running(config: Config) -> Iterator[Services]:
    """The services at work over a database that is made when missing."""
    initialise(config)
    services = build_services(config)
    services.start()
    try:
        yield services
    finally:
        services.close()


@contextmanager
def open_template_batch(config: Config) -> Iterator[TemplateBatch]:
    """What builds the templates of many patches."""
    with running(config) as services:
        yield TemplateBatch(
            skymap=make_skymap(config),
            patches=services.skymap,
            builds=services.builds,
            jobs=services.jobs,
            in_flight=2 * config.workers,
        )


@contextmanager
def open_difference_batch(config: Config) -> Iterator[DifferenceBatch]:
    """What builds the differences of many exposures."""
    with running(config) as services:
        yield DifferenceBatch(
            finder=services.finder,
            builds=services.builds,
            jobs=services.jobs,
            in_flight=2 * config.workers,
        )


def _ended(services: Services, job_id: str) -> Job:
    """The job once it is COMPLETED, however long that takes. Raises ComputationError if it
    failed."""
    while (job := services.jobs.wait(job_id, timeout_s=60.0)).phase in ACTIVE:
        pass
    if job.phase is not Phase.COMPLETED:
        raise ComputationError(job.error.message if job.error else f"the job is {job.phase}")
    return job
