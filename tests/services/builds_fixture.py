"""A published star field with everything that builds need, on SQLite and real workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.recipes.recipe import BuildPlan
from app.schema.access import ANYBODY, OPERATOR, Identity
from app.services.bright_objects import BrightObjectFinder
from app.services.build_executor import BuildExecutor
from app.services.build_planner import BuildPlanner
from app.services.builds import BuildService
from app.services.builds_candidates import CandidateFinder
from app.services.difference_listing import DifferenceListing
from app.services.dispatcher import Dispatcher
from app.services.first_use import FirstUseService
from app.services.forecasts import ForecastService
from app.services.image_psf import ImagePsfs
from app.services.jobs import JobService
from app.services.kernel_candidates import KernelCandidateFinder
from app.services.quotes import BuildCosts, QuoteService
from app.services.remembered_candidates import RememberingFinder
from app.services.skymap import SkyMapService
from app.sky.skymap import SkyMap
from app.stores.file_cache import FileCache
from app.stores.images import ImageStore
from app.stores.metadata import MetadataStores, open_stores
from app.stores.results import ResultStore
from app.uws.job import Job, JobKind, Phase
from app.workers.engine import Build, Engine
from tests.databases import database_at
from tests.services.survey import (
    AUTHORITY,
    SCALE_ARCSEC,
    Exposure,
    dataset_row,
    standard_exposures,
    write_exposure,
)
from tests.waiting import wait_for

ENDED = {Phase.COMPLETED, Phase.ERROR, Phase.ABORTED}
SKYMAP = SkyMap(
    pixel_scale_arcsec=SCALE_ARCSEC, patch_px=400, patch_border_px=20, tract_patches=60, rings=80
)


def now() -> datetime:
    """The present."""
    return datetime.now(UTC)


def _owner(name: str | None) -> Identity:
    """Who owns a job."""
    return OPERATOR if name == OPERATOR.name else ANYBODY


class CountingEngine:
    """An engine that also remembers what was submitted to it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.submitted: list[str] = []

    def submit(self, job_id: str, plan: BuildPlan) -> Build:
        """Pass a build on."""
        self.submitted.append(plan.dataset_id)
        return self._engine.submit(job_id, plan)

    def describe(self) -> str:
        """What the engine says."""
        return self._engine.describe()

    def close(self) -> None:
        """Leave the engine running: it is shared."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """The services over one data folder."""

    folder: Path
    stores: MetadataStores
    builds: BuildService
    finder: CandidateFinder
    jobs: JobService
    results: ResultStore
    dispatcher: Dispatcher
    engine: CountingEngine
    skymap: SkyMapService
    forecasts: ForecastService
    quotes: QuoteService
    listing: DifferenceListing
    first_use: FirstUseService

    def add(self, *exposures: Exposure) -> None:
        """Write exposures and publish them."""
        images = self.folder / "images"
        images.mkdir(exist_ok=True)
        self.stores.datasets.upsert([dataset_row(write_exposure(images, e), e) for e in exposures])

    def image(self, exposure: Exposure) -> Path:
        """The file of an exposure."""
        return self.folder / "images" / f"{exposure.band}-{exposure.visit}.fits"

    def psfs(self, *, max_pixels: int = 2**25) -> ImagePsfs:
        """The PSFs of its images, none of them measured yet."""
        cache = FileCache(folder=self.folder / f"psfs-{max_pixels}", max_bytes=10**8, suffix=".npy")
        images = ImageStore(data_dir=self.folder)
        return ImagePsfs(images=images, cache=cache, max_pixels=max_pixels)

    def start(self, kind: JobKind, **parameters: object) -> str:
        """Queue a build; the job's identifier."""
        pairs = [(name, str(value)) for name, value in parameters.items()]
        job = self.jobs.create(kind, pairs)
        self.jobs.start(job.job_id)
        return job.job_id

    def ended(self, job_id: str) -> Job:
        """The job once it ended."""
        wait_for(lambda: self.jobs.get(job_id).phase in ENDED)
        return self.jobs.get(job_id)

    def run(self, kind: JobKind, **parameters: object) -> Job:
        """Build and wait."""
        return self.ended(self.start(kind, **parameters))

    def products(self) -> list[Path]:
        """Files below the products folder."""
        return sorted(p for p in (self.folder / "products").rglob("*") if p.is_file())


@contextmanager
def open_field(
    folder: Path,
    engine: Engine,
    *,
    slots: int = 2,
    lease_s: float = 30.0,
    owner: str = "test",
    max_pixels: int = 10**8,
    url: str | None = None,
) -> Iterator[Field]:
    """Services with a running dispatcher over ``folder`` and the database at ``url``, which is a
    SQLite file of the folder, made when missing, unless told."""
    counting = CountingEngine(engine)
    stores = open_stores(url or database_at(folder / "skyloom.sqlite3"))
    finder = CandidateFinder(
        datasets=stores.datasets, tables=stores.tables, catalogs=stores.catalogs
    )
    remembering = RememberingFinder(
        datasets=stores.datasets, tables=stores.tables, catalogs=stores.catalogs
    )
    planner, listing_planner = (
        BuildPlanner(
            finder=each,
            bright_objects=BrightObjectFinder(tables=stores.tables, catalogs=stores.catalogs),
            kernel_candidates=KernelCandidateFinder(tables=stores.tables, catalogs=stores.catalogs),
            skymap=SKYMAP,
            authority=AUTHORITY,
            root=str(folder),
            max_pixels=max_pixels,
        )
        for each in (finder, remembering)
    )
    builds = BuildService(datasets=stores.datasets, planner=planner, engine=counting, clock=now)
    executor = BuildExecutor(builds=builds, jobs=stores.jobs, clock=now, identity_of=_owner)
    results = ResultStore(data_dir=folder)
    dispatcher = Dispatcher(
        jobs=stores.jobs,
        executors={"template": executor, "difference": executor},
        slots={"template": slots, "difference": slots},
        clock=now,
        expire=lambda job: stores.jobs.delete(job.job_id),
        discard=lambda _job_id: None,
        owner=owner,
        lease_s=lease_s,
        max_attempts=3,
        retry_wait_s=0.05,
        beat_s=0.1,
    )
    quotes = QuoteService(
        jobs=stores.jobs,
        costs={
            "template": BuildCosts("template", builds, stores.datasets),
            "difference": BuildCosts("difference", builds, stores.datasets),
        },
        slots={"template": slots, "difference": slots},
        clock=now,
    )
    jobs = JobService(
        jobs=stores.jobs,
        results=results,
        clock=now,
        lifetime_s=3600,
        execution_limits_s={},
        quote=quotes.quote,
        on_change=dispatcher.notify,
    )
    dispatcher.start()
    yield Field(
        folder=folder,
        stores=stores,
        builds=builds,
        jobs=jobs,
        results=results,
        dispatcher=dispatcher,
        engine=counting,
        finder=finder,
        skymap=SkyMapService(skymap=SKYMAP, finder=finder),
        forecasts=ForecastService(builds=builds, quotes=quotes, datasets=stores.datasets),
        quotes=quotes,
        listing=DifferenceListing(
            datasets=stores.datasets,
            differences=stores.differences,
            finder=remembering,
            planner=listing_planner,
        ),
        first_use=FirstUseService(
            datasets=stores.datasets, differences=stores.differences, builds=builds, jobs=jobs
        ),
    )
    dispatcher.stop()
    stores.close()


def standard_field(field: Field) -> None:
    """Publish the standard exposures."""
    field.add(*standard_exposures())
