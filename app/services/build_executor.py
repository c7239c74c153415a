"""Build jobs: one recipe is built once, whoever asked first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from app.errors import ComputationError, NotFoundError, StoppedError, UsageError
from app.recipes.recipe import BuildKind, BuildPlan, Recipe
from app.schema.access import Identity
from app.schema.rows import DatasetRow
from app.services.access import anybody
from app.services.builds import BuildService, build_kind_of
from app.services.builds_rows import FITS_MEDIA_TYPE
from app.services.executors import StopSignal
from app.stores.jobs import JobStore
from app.uws.job import Job, JobResult, Phase
from app.uws.transitions import step
from app.workers.engine import Progress


class BuildExecutor:
    """Runs template and difference jobs (see :class:`app.services.executors.Executor`).
    ``identity_of`` tells who the owner of a job is."""

    def __init__(
        self,
        *,
        builds: BuildService,
        jobs: JobStore,
        clock: Callable[[], datetime],
        identity_of: Callable[[str | None], Identity] = anybody,
    ) -> None:
        self._identity_of = identity_of
        self._builds = builds
        self._jobs = jobs
        self._clock = clock

    def run(
        self, job: Job, should_stop: StopSignal, progress: Progress
    ) -> tuple[JobResult, ...] | None:
        """Build what the job asks for, or hand out the product that is there already."""
        recipe, plan = self._prepare(job, build_kind_of(job))
        product = self._builds.find_product(recipe.key())
        if product is not None:
            self._builds.mark_used(product)
            return (product_result(product),)
        self._builds.require_small(plan, self._identity_of(job.owner))
        if not self._own(job, recipe.key()):
            return None
        report = self._builds.build(job.job_id, plan, should_stop, progress)
        if should_stop():
            raise StoppedError()
        self._builds.publish(plan, report)
        return None

    def _prepare(self, job: Job, kind: BuildKind) -> tuple[Recipe, BuildPlan]:
        """The recipe and the plan of a job. One that has none any more is not of the recipe that
        it was created for: that did not fail."""
        try:
            return self._builds.prepare(kind, job.parameters, self._identity_of(job.owner))
        except (UsageError, NotFoundError, ComputationError):
            if job.recipe_key is not None:
                freed = replace(self._jobs.get(job.job_id), recipe_key=None)
                self._jobs.replace(freed, old_phase=Phase.EXECUTING, lease_owner=job.lease_owner)
            raise

    def _own(self, job: Job, key: str) -> bool:
        """Make this job the one that executes recipe ``key``.

        When another one does, this job goes back to the queue under that key: the product of the
        other completes it, and if the other fails it is claimed again.
        """
        current = self._jobs.get(job.job_id)
        keyed = replace(current, recipe_key=key)
        if current.recipe_key == key:
            return True
        if self._jobs.replace(keyed, old_phase=Phase.EXECUTING, lease_owner=job.lease_owner):
            return True
        waiting = replace(step(keyed, "retry", self._clock()), attempts=job.attempts - 1)
        self._jobs.replace(waiting, old_phase=Phase.EXECUTING, lease_owner=job.lease_owner)
        return False


def product_result(row: DatasetRow) -> JobResult:
    """The result of a job whose product is there."""
    return JobResult(
        result_id="result",
        media_type=FITS_MEDIA_TYPE,
        dataset_id=row.dataset_id,
        size_bytes=row.file_size,
    )
