"""From settings to services: the only place that constructs adapters."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import partial

from app.config import Config
from app.http.context import ServiceAddress
from app.schema.allowances import Allowances
from app.services.builds import BuildService
from app.services.builds_candidates import CandidateFinder
from app.services.catalog_rows import CatalogRows
from app.services.coverage import CoverageService
from app.services.dispatcher import Dispatcher
from app.services.first_use import FirstUseService
from app.services.forced_photometry import ForcedPhotometer
from app.services.forecasts import ForecastService
from app.services.identities import IdentityService
from app.services.image_psf import ImagePsfs
from app.services.jobs import JobService
from app.services.keeper import Keeper
from app.services.light_curves import LightCurveService
from app.services.links import LinkService
from app.services.psf import PsfService
from app.services.query import QueryService
from app.services.quotes import QuoteService
from app.services.signatures import FileSigner
from app.services.skymap import SkyMapService
from app.services.stamp_builds import StampBuilder
from app.services.stamps import StampService
from app.services.uploads import UploadLimits, UploadService
from app.stores.downloads import Downloads
from app.stores.file_cache import FileCache
from app.stores.images import ImageStore
from app.stores.metadata import MetadataStores, open_stores
from app.stores.results import ResultStore
from app.stores.secrets import SigningKeys
from app.wiring_accounts import make_allowances, make_identities
from app.wiring_care import make_eviction
from app.wiring_database import now
from app.wiring_images import (
    Cutouts,
    make_cutouts,
    make_files,
    make_planner,
    make_remote,
    make_skymap,
    make_stamps,
)
from app.wiring_jobs import JobMeans, make_jobs, make_quotes
from app.wiring_operations import Operations, make_operations, watch_stores
from app.workers.cluster import ClusterEngine
from app.workers.embedded import EmbeddedEngine
from app.workers.engine import Engine
from app.workers.work import Limits

PREVIEW_CACHE_BYTES = 500_000_000
TILE_CACHE_BYTES = 300_000_000
TILE_LIMITS_CACHE_BYTES = 1_000_000
PSF_CACHE_BYTES = 500_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything that handlers and commands call, constructed once."""

    stores: MetadataStores
    allowances: Allowances
    identities: IdentityService
    queries: QueryService
    uploads: UploadService
    jobs: JobService
    links: LinkService
    builds: BuildService
    first_use: FirstUseService
    forecasts: ForecastService
    finder: CandidateFinder
    skymap: SkyMapService
    dispatcher: Dispatcher
    engine: Engine
    images: ImageStore
    psfs: PsfService
    cutouts: Cutouts
    light_curves: LightCurveService
    stamps: StampService
    stamp_builder: StampBuilder
    coverage: CoverageService
    results: ResultStore
    previews: FileCache
    tiles: FileCache
    tile_limits: FileCache
    keeper: Keeper
    address: ServiceAddress
    operations: Operations

    def start(self) -> None:
        """Begin to run jobs, and make compiled code ready for the first answer meanwhile."""
        self.operations.start()
        threading.Thread(target=self.queries.warm_up, name="warm-up", daemon=True).start()
        self.dispatcher.start()
        self.keeper.start()

    def close(self) -> None:
        """Stop jobs and workers, close connections; queued work is kept for the next start."""
        self.keeper.stop()
        self.dispatcher.stop()
        self.coverage.stop()
        self.engine.close()
        self.stores.close()
        self.operations.close()


def build_services(config: Config) -> Services:
    """Construct the services over an initialised database. Nothing is started yet."""
    stores = open_stores(config.effective_database_url, reader_role=config.database_reader)
    files = make_files(config)
    results = ResultStore(data_dir=config.data_dir, files=files)
    operations = make_operations(config)
    engine = make_engine(config)
    allowances = make_allowances(config)
    identities = make_identities(config, stores)
    queries = make_queries(config, stores, operations, allowances)
    finder = CandidateFinder(
        datasets=stores.datasets, tables=stores.tables, catalogs=stores.catalogs
    )
    builds = BuildService(
        datasets=stores.datasets,
        planner=make_planner(config, stores, finder),
        engine=engine,
        clock=now,
        files=files,
        allowances=allowances,
    )
    uploads = make_uploads(config, results, identities, allowances)
    quotes = make_quotes(config, stores, queries, uploads, builds)
    images = ImageStore(data_dir=config.data_dir.absolute(), remote=make_remote(config))
    cuts = make_cutouts(config, stores, images)
    jobs, dispatcher = make_jobs(
        JobMeans(
            config=config,
            stores=stores,
            identities=identities,
            allowances=allowances,
            queries=queries,
            uploads=uploads,
            builds=builds,
            results=results,
            quotes=quotes,
            cutouts=cuts,
            metrics=operations.metrics,
        )
    )
    caches = make_caches(config)
    watch_stores(operations, stores, caches)
    psfs = ImagePsfs(images=images, cache=caches["psfs"])
    rows = CatalogRows(tables=stores.tables, catalogs=stores.catalogs)
    first_use = FirstUseService(
        datasets=stores.datasets, differences=stores.differences, builds=builds, jobs=jobs
    )
    return Services(
        stores=stores,
        allowances=allowances,
        identities=identities,
        queries=queries,
        uploads=uploads,
        jobs=jobs,
        links=make_links(config, stores, quotes),
        builds=builds,
        first_use=first_use,
        forecasts=ForecastService(builds=builds, quotes=quotes, datasets=stores.datasets),
        finder=finder,
        skymap=SkyMapService(skymap=make_skymap(config), finder=finder),
        dispatcher=dispatcher,
        engine=engine,
        images=images,
        psfs=PsfService(datasets=stores.datasets, psfs=psfs),
        cutouts=cuts,
        light_curves=make_light_curves(stores, rows, images, psfs),
        stamps=make_stamps(stores, rows, images),
        stamp_builder=StampBuilder(first_use=first_use),
        coverage=CoverageService(store=stores.coverage, rows=rows, clock=now),
        results=results,
        previews=caches["previews"],
        tiles=caches["tiles"],
        tile_limits=caches["tile limits"],
        keeper=Keeper(make_eviction(config, stores), stores.datasets, clock=now),
        address=ServiceAddress(base_url=config.base_url),
        operations=operations,
    )


def make_queries(
    config: Config, stores: MetadataStores, operations: Operations, allowances: Allowances
) -> QueryService:
    """What runs ADQL, within the limits of the settings."""
    return QueryService(
        tables=stores.tables,
        catalogs=stores.catalogs,
        default_rows=config.default_rows,
        max_rows=config.max_rows,
        time_limit_s=config.query_time_limit_s,
        on_end=operations.query_ended,
        allowances=allowances,
    )


def make_light_curves(
    stores: MetadataStores, rows: CatalogRows, images: ImageStore, psfs: ImagePsfs
) -> LightCurveService:
    """What measures the images at a place."""
    photometer = ForcedPhotometer(images=images, psfs=psfs)
    return LightCurveService(datasets=stores.datasets, rows=rows, photometer=photometer)


def make_links(config: Config, stores: MetadataStores, quotes: QuoteService) -> LinkService:
    """Links whose addresses are signed for a while."""
    keys = SigningKeys(data_dir=config.data_dir, lifetime_s=config.link_lifetime_s)
    keys.good(time.time())  # made now, not by the first reader
    signer = FileSigner(
        keys=lambda: keys.good(time.time()), clock=now, lifetime_s=config.link_lifetime_s
    )
    seconds_of = partial(quotes.seconds_of_pixels, "difference")
    return LinkService(
        datasets=stores.datasets,
        signer=signer,
        files=make_files(config),
        seconds_of=seconds_of,
    )


def make_caches(config: Config) -> dict[str, FileCache]:
    """Folders of files that can be made again, by name."""
    folder = config.data_dir.absolute() / "cache"
    return {
        name: FileCache(folder=folder / place, max_bytes=max_bytes, suffix=suffix)
        for name, place, suffix, max_bytes in (
            ("previews", "previews", ".png", PREVIEW_CACHE_BYTES),
            ("tiles", "tiles", ".png", TILE_CACHE_BYTES),
            ("tile limits", "tiles", ".json", TILE_LIMITS_CACHE_BYTES),
            ("psfs", "psfs", ".npy", PSF_CACHE_BYTES),
        )
    }


def make_engine(config: Config) -> Engine:
    """Workers of this machine, or of the cluster whose scheduler is named."""
    data_dir = config.data_dir.absolute()
    limits = Limits(
        stack_memory_bytes=config.stack_memory_bytes, warp_cache_bytes=config.warp_cache_bytes
    )
    if config.dask_scheduler:
        return ClusterEngine(
            address=config.dask_scheduler,
            data_dir=data_dir,
            remote=make_remote(config),
            limits=limits,
        )
    return EmbeddedEngine(
        workers=config.workers, data_dir=data_dir, remote=make_remote(config), limits=limits
    )


def make_uploads(
    config: Config, results: ResultStore, identities: IdentityService, allowances: Allowances
) -> UploadService:
    """The reader of tables that come with queries, within the limits of the settings."""
    return UploadService(
        limits=UploadLimits(
            max_bytes=config.upload_max_bytes,
            max_rows=config.upload_max_rows,
            max_columns=config.upload_max_columns,
            max_tables=config.upload_max_tables,
        ),
        downloads=Downloads(
            max_bytes=config.upload_max_bytes,
            time_limit_s=config.upload_time_limit_s,
            hosts=config.upload_hosts,
        ),
        results=results,
        allowances=allowances,
        identity_of=identities.of_owner,
    )
