"""Templates and difference images on demand: what is asked becomes a recipe, a plan, a product.

One recipe is built once. Its key is set on the job when the job is started; the job store lets
only one job with a key execute, and publishing the product completes every job with that key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from math import prod
from typing import Final

from app.errors import LimitError, RecipeError, ServiceError
from app.pixels.grid import Grid
from app.recipes.recipe import BuildKind, BuildPlan, BuildReport
from app.schema.access import OPERATOR, Identity
from app.schema.allowances import NO_ALLOWANCES, Allowances
from app.schema.rows import DatasetRow
from app.services.access import GATE, Gate
from app.services.build_planner import BuildPlanner, default_difference
from app.services.builds_quality import product_quality
from app.services.builds_rows import FITS_MEDIA_TYPE, product_inputs, product_row
from app.services.executors import ShouldStop
from app.stores.kept_files import THIS_MACHINE, KeptFiles
from app.stores.tables.datasets import DatasetStore
from app.uws.job import Job
from app.workers.engine import Engine, Progress

POLL_S = 0.1


class BuildService:
    """Prepares builds, runs them on an engine and makes their products known."""

    def __init__(
        self,
        *,
        datasets: DatasetStore,
        planner: BuildPlanner,
        engine: Engine,
        clock: Callable[[], datetime],
        gate: Gate = GATE,
        files: KeptFiles = THIS_MACHINE,
        allowances: Allowances = NO_ALLOWANCES,
    ) -> None:
        self._allowances = allowances
        self._gate = gate
        self._files = files
        self.prepare: Final = planner.prepare
        """See :meth:`BuildPlanner.prepare`."""
        self._datasets = datasets
        self._engine = engine
        self._clock = clock

    def find_product(self, key: str) -> DatasetRow | None:
        """The product of a recipe, if it was built and its file is there."""
        return find_product(self._datasets, key, self._files)

    def require_small(self, plan: BuildPlan, identity: Identity) -> None:
        """Raises LimitError for a build that is larger than somebody may ask for."""
        most, asked = self._allowances.of(identity).build_pixels, int(self.cost_of(plan))
        if most and asked > most:
            raise LimitError("pixels (target times images) of one build of yours", asked, most)

    def is_there(self, row: DatasetRow) -> bool:
        """Whether the file of a product is there. Raises RemoteUnavailableError."""
        return self._files.facts(row.file_path) is not None

    def mark_used(self, row: DatasetRow) -> None:
        """Note that a product is none that nobody uses."""
        self._files.mark_used(row.file_path)

    def get_product(self, dataset_id: str) -> DatasetRow:
        """The row of a product. Raises DatasetNotFoundError."""
        return self._datasets.get(dataset_id)

    def build(
        self, job_id: str, plan: BuildPlan, should_stop: ShouldStop, progress: Progress
    ) -> BuildReport:
        """Run ``plan`` on the engine and wait. Raises what the worker raised, or StoppedError."""
        start = self._clock()
        build = self._engine.submit(job_id, plan)
        told: tuple[str, int, int] | None = None
        while not build.wait(POLL_S):
            if should_stop():
                build.stop()
            now = build.progress()
            if now is not None and now != told:
                told = now
                progress(*now)
        duration = self._clock() - start
        return replace(build.result(), duration_s=duration.total_seconds())

    def publish(self, plan: BuildPlan, report: BuildReport) -> DatasetRow:
        """Record a product, its provenance and the completion of its jobs in one transaction."""
        used = {use.dataset_id: use.role for use in report.uses if use.rejected is None}
        rows = self._datasets.get_many(list(used))
        science = [row.columns for row in rows if used.get(row.dataset_id) == "science"]
        templates = [row.columns for row in rows if used.get(row.dataset_id) == "template"]
        now = self._clock()
        row = product_row(
            plan,
            report,
            templates=templates,
            science=science[0] if science else None,
            difference_of=self._default_of(plan),
            rights=self._gate.strictest((*plan.rights, *(each.rights for each in rows))),
            now=now,
        )
        self._datasets.publish(
            row,
            product_inputs(plan, report),
            product_quality(plan, report),
            sources=report.sources,
            result_media_type=FITS_MEDIA_TYPE,
            now=now,
        )
        return row

    def _default_of(self, plan: BuildPlan) -> str | None:
        """The exposure of which the product is what everybody gets who asks for its difference
        and says nothing else."""
        science = plan.recipe.science
        if science is None:
            return None
        try:
            recipe, _ = self.prepare("difference", default_difference(science[0]), OPERATOR)
        except ServiceError:  # an input was withdrawn meanwhile
            return None
        return science[0] if recipe.key() == plan.recipe.key() else None

    def cost(self, job: Job) -> float:
        """What a job asks for, in pixels of the target grid times inputs; 1 when it is there.

        Raises what :meth:`prepare` raises.
        """
        recipe, plan = self.prepare(build_kind_of(job), job.parameters, OPERATOR)
        return 1.0 if self.find_product(recipe.key()) is not None else self.cost_of(plan)

    def cost_of(self, plan: BuildPlan) -> float:
        """Pixels of the target grid times inputs."""
        shape = Grid.from_text(plan.recipe.grid).shape
        return float(prod(shape) * max(1, len(plan.inputs)))

    def describe(self) -> str:
        """One line about the engine, for a person."""
        return self._engine.describe()


def find_product(
    datasets: DatasetStore, key: str, files: KeptFiles = THIS_MACHINE
) -> DatasetRow | None:
    """See :meth:`BuildService.find_product`."""
    row = datasets.find_by_recipe(key)
    return row if row is not None and files.facts(row.file_path) is not None else None


def build_kind_of(job: Job) -> BuildKind:
    """What a job builds. Raises RecipeError for one that builds nothing."""
    match job.kind:
        case "template" | "difference" as kind:
            return kind
        case other:
            raise RecipeError(f"a job of kind {other} is not a build")
