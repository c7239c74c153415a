"""The difference image of an exposure: what is there, or the job that builds it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from app.errors import ServiceError, TransientError
from app.recipes.values import Parameters
from app.schema.access import ANYBODY, Identity, may_use
from app.schema.rows import DatasetRow, science_of_virtual
from app.services.access import GATE, Gate
from app.services.build_planner import default_difference, matched_template
from app.services.builds import BuildService
from app.services.jobs import JobService
from app.stores.tables.datasets import DatasetStore
from app.stores.tables.difference_store import DifferenceStore, Settlement
from app.stores.tables.rows import fold
from app.uws.job import Job, Phase


@dataclass(frozen=True, slots=True)
class Missing:
    """A difference that can be built: the recipe's key and the parameters that ask for it."""

    key: str
    parameters: Parameters


class FirstUseService:
    """Finds and builds the default differences of exposures."""

    def __init__(
        self,
        *,
        datasets: DatasetStore,
        differences: DifferenceStore,
        builds: BuildService,
        jobs: JobService,
        gate: Gate = GATE,
    ) -> None:
        self._gate = gate
        self._datasets = datasets
        self._differences = differences
        self._builds = builds
        self._jobs = jobs
        self._starting = threading.Lock()

    def find(self, dataset_id: str, identity: Identity = ANYBODY) -> DatasetRow | Missing:
        """The difference of an exposure for someone, by the identifier of either. A stale one only
        where none can be built any more.

        Raises what :meth:`BuildPlanner.prepare` and :meth:`BuildService.require_small` raise.
        """
        exposure = science_of_virtual(dataset_id) or dataset_id
        current = self._datasets.differences_of([exposure]).get(fold(exposure))
        if current is not None:
            self._gate.require(identity, current)
        there = current is not None and self._builds.is_there(current)
        if current is not None and there and not current.is_stale:
            return current
        try:
            recipe, plan = self._builds.prepare(
                "difference", default_difference(exposure), identity
            )
        except TransientError:
            raise
        except ServiceError:
            if current is not None and there:
                return current
            raise
        product = self._builds.find_product(recipe.key())
        if product is None:
            self._builds.require_small(plan, identity)
            name = exposure if plan.science is None else plan.science.dataset_id
            return Missing(recipe.key(), default_difference(name))
        self._differences.settle(Settlement(built={exposure: product.dataset_id}))
        return product

    def find_template(self, exposure: str, identity: Identity = ANYBODY) -> DatasetRow | Missing:
        """The template that the default difference of an exposure subtracts, as a product of its
        own. Raises what :meth:`find` raises."""
        parameters = matched_template(exposure)
        recipe, plan = self._builds.prepare("difference", parameters, identity)
        product = self._builds.find_product(recipe.key())
        if product is None:
            self._builds.require_small(plan, identity)
        return product or Missing(recipe.key(), parameters)

    def start(self, missing: Missing, service_url: str, identity: Identity = ANYBODY) -> Job:
        """The job that builds it: a new one, the one under way, or the one that failed, but nobody
        else's. What failed
        by its data is not tried again: the same inputs would fail the same way."""
        with self._starting:
            known = self._find_job(missing.key, identity)
            if known is not None:
                return known
            job = self._jobs.create(
                "difference",
                missing.parameters,
                identity=identity,
                service_url=service_url,
                recipe_key=missing.key,
            )
            return self._jobs.start(job.job_id)

    def _find_job(self, key: str, identity: Identity) -> Job | None:
        for job in self._jobs.of_recipe(key, (Phase.QUEUED, Phase.EXECUTING, Phase.ERROR)):
            if not may_use(identity, job.owner):
                continue
            if job.error is None or not job.error.transient:
                return job
        return None
