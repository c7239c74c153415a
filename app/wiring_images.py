"""What brings images in and takes them out, and lists what can be built of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from app.config import SETTINGS_FILE, Config
from app.demo.settings import COLLECTION, SKYMAP_SETTINGS, SurveySettings
from app.demo.survey import make_survey
from app.demo.truth import SurveyTruth
from app.errors import ServiceError
from app.services.bright_objects import BrightObjectFinder
from app.services.build_planner import BuildPlanner
from app.services.builds_candidates import CandidateFinder
from app.services.catalog_rows import CatalogRows
from app.services.cutout_files import CutoutWriter
from app.services.cutout_pictures import CutoutPictures
from app.services.cutouts import CutoutService
from app.services.difference_listing import DifferenceListing
from app.services.hips.service import HipsService
from app.services.ingest.report import IngestReport
from app.services.ingest.service import IngestService
from app.services.kernel_candidates import KernelCandidateFinder
from app.services.remembered_candidates import RememberingFinder
from app.services.stamp_epochs import EpochFinder
from app.services.stamps import StampService
from app.services.withdrawal import WithdrawalService
from app.sky.skymap import SkyMap
from app.stores.images import ImageStore
from app.stores.kept_files import KeptFiles
from app.stores.metadata import MetadataStores, open_stores
from app.stores.plane_files import PlaneFiles
from app.stores.remote.files import RemoteFiles, open_remote_files
from app.stores.remote.settings import RemoteSettings
from app.wiring_database import initialise, make_data_folder, no_data_folder, now

log = logging.getLogger(__name__)


def make_skymap(config: Config) -> SkyMap:
    """The sky map of the settings."""
    return SkyMap(
        pixel_scale_arcsec=config.skymap_pixel_scale_arcsec,
        patch_px=config.skymap_patch_px,
        patch_border_px=config.skymap_patch_border_px,
        tract_patches=config.skymap_tract_patches,
        rings=config.skymap_rings,
    )


def make_planner(config: Config, stores: MetadataStores, finder: CandidateFinder) -> BuildPlanner:
    """What chooses the inputs of builds, within the limits of the settings."""
    return BuildPlanner(
        finder=finder,
        bright_objects=BrightObjectFinder(tables=stores.tables, catalogs=stores.catalogs),
        kernel_candidates=KernelCandidateFinder(tables=stores.tables, catalogs=stores.catalogs),
        skymap=make_skymap(config),
        authority=config.authority,
        root=make_files(config).home,
        max_pixels=config.max_build_pixels,
    )


def make_remote(config: Config) -> RemoteFiles:
    """What reads images that lie elsewhere."""
    settings = RemoteSettings(
        cache_bytes=config.remote_cache_bytes,
        timeout_s=config.remote_timeout_s,
        retries=config.remote_retries,
        fresh_s=config.remote_fresh_s,
        gap_bytes=config.remote_gap_bytes,
        s3_endpoint=config.s3_endpoint,
        s3_region=config.s3_region,
        s3_anonymous=config.s3_anonymous,
    )
    return open_remote_files(config.data_dir.absolute() / "cache" / "remote", settings)


def make_files(config: Config) -> KeptFiles:
    """Where products and results of jobs are kept."""
    root = None if config.products is None else config.products.rstrip("/")
    return KeptFiles(
        config.data_dir.absolute(), make_remote(config), root, redirects=config.products_redirect
    )


def make_stamps(stores: MetadataStores, rows: CatalogRows, images: ImageStore) -> StampService:
    """What cuts triplets out of images."""
    finder = EpochFinder(datasets=stores.datasets, rows=rows, images=images)
    return StampService(finder=finder, images=images)


def make_listing(config: Config, stores: MetadataStores) -> DifferenceListing:
    """What lists the differences that can be built."""
    finder = RememberingFinder(
        datasets=stores.datasets, tables=stores.tables, catalogs=stores.catalogs
    )
    return DifferenceListing(
        datasets=stores.datasets,
        differences=stores.differences,
        finder=finder,
        planner=make_planner(config, stores, finder),
        files=make_files(config),
    )


@contextmanager
def open_listing(config: Config) -> Iterator[DifferenceListing]:
    """The list of differences of an initialised database."""
    stores = open_stores(config.effective_database_url)
    try:
        yield make_listing(config, stores)
    finally:
        stores.close()


def list_in_background(config: Config) -> None:
    """Look at what a stopped ingest or an older version left to be looked at, and which files of
    differences are gone. The next call goes on where this one is stopped."""

    def work() -> None:
        try:
            with open_listing(config) as listing:
                listing.check_files()
                listing.update()
        except ServiceError as fault:
            log.warning("differences that can be built were not all listed: %s", fault)

    Thread(target=work, name="listing", daemon=True).start()


@contextmanager
def open_withdrawal(config: Config) -> Iterator[WithdrawalService]:
    """What takes images out of an initialised database."""
    stores = open_stores(config.effective_database_url)
    try:
        yield WithdrawalService(
            datasets=stores.datasets, on_change=make_listing(config, stores).update
        )
    finally:
        stores.close()


@contextmanager
def open_ingest(config: Config) -> Iterator[IngestService]:
    """The ingest service over an initialised database."""
    stores = open_stores(config.effective_database_url)
    try:
        yield IngestService(
            datasets=stores.datasets,
            authority=config.authority,
            workers=config.workers,
            remote=make_remote(config),
            afterwards=make_listing(config, stores).update,
        )
    finally:
        stores.close()


@contextmanager
def open_hips(config: Config) -> Iterator[HipsService]:
    """What makes progressive surveys of the images of an initialised database."""
    stores = open_stores(config.effective_database_url)
    try:
        yield HipsService(
            finder=CandidateFinder(
                datasets=stores.datasets, tables=stores.tables, catalogs=stores.catalogs
            ),
            data_dir=config.data_dir.absolute(),
            remote=make_remote(config),
            authority=config.authority,
            workers=config.workers,
            clock=now,
        )
    finally:
        stores.close()


def write_demo_settings(data_dir: Path) -> None:
    """Keep the sky map that suits the simulated survey as settings beside its data.

    A settings file that is there already is somebody's own and stays as it is.
    """
    make_data_folder(data_dir)
    if (data_dir / SETTINGS_FILE).exists():
        return
    lines = [f"{name} = {value}" for name, value in SKYMAP_SETTINGS.items()]
    try:
        (data_dir / SETTINGS_FILE).write_text("\n".join(lines) + "\n")
    except OSError as fault:
        raise no_data_folder(data_dir, fault) from None


def prepare_demo(
    config: Config,
    *,
    seed: int,
    progress: Callable[[int, int], None],
    settings: SurveySettings | None = None,
) -> tuple[SurveyTruth, IngestReport]:
    """Make the simulated survey in the data folder and ingest it; what is there is kept."""
    initialise(config)
    survey = config.data_dir / "survey"
    truth = make_survey(
        survey,
        seed=seed,
        workers=config.workers,
        progress=lambda _stage, done, total: progress(done, total),
        settings=settings,
        sky_map=make_skymap(config),
    )
    with open_ingest(config) as service:
        report = service.run([truth.images], collection=COLLECTION, profile=None, progress=progress)
    return truth, report


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutouts:
    """What finds, writes and draws parts of images."""

    service: CutoutService
    writer: CutoutWriter
    pictures: CutoutPictures


def make_cutouts(config: Config, stores: MetadataStores, images: ImageStore) -> Cutouts:
    """Cutouts of the images of a store; what is known of their files is shared."""
    planes = PlaneFiles(data_dir=config.data_dir.absolute(), remote=make_remote(config))
    return Cutouts(
        service=CutoutService(datasets=stores.datasets, files=planes),
        writer=CutoutWriter(files=planes, images=images),
        pictures=CutoutPictures(files=planes),
    )
