"""What looks after database and data folder: the doctor, eviction, backups."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.config import Config
from app.services.backups import BackupReport, back_up, restore
from app.services.doctor.finding import Finding
from app.services.doctor.service import Repair, doctor
from app.services.eviction import EvictionRule, EvictionService
from app.stores.metadata import MetadataStores, open_stores
from app.stores.tables.product_store import ProductStore
from app.wiring_database import make_data_folder, now
from app.wiring_images import make_files, make_listing, open_listing


def examine(config: Config, *, deep: bool, repair: bool) -> list[Finding]:
    """What ``skyloom doctor`` found, and mended."""

    def relist() -> None:
        with open_listing(config) as listing:
            listing.update()

    return doctor(
        config.effective_database_url,
        files=make_files(config),
        deep=deep,
        repair=Repair(relist=relist) if repair else None,
    )


def make_eviction(config: Config, stores: MetadataStores) -> EvictionService:
    """What evicts products, by the rule of the settings."""
    files = make_files(config)
    return EvictionService(
        products=ProductStore(engine=stores.engine, files=files),
        files=files,
        rule=EvictionRule(
            max_bytes=config.products_max_bytes,
            unused_days=config.products_unused_days,
            grace_s=config.link_lifetime_s,
        ),
        clock_s=time.time,
        relist=lambda: make_listing(config, stores).update(),
    )


@contextmanager
def open_eviction(config: Config) -> Iterator[EvictionService]:
    """What evicts products of an initialised database."""
    stores = open_stores(config.effective_database_url)
    try:
        yield make_eviction(config, stores)
    finally:
        stores.close()


def save(config: Config, file: Path) -> BackupReport:
    """Write a backup."""
    url = config.effective_database_url
    return back_up(url, data_dir=config.data_dir, file=file.absolute(), now=now())


def put_back(config: Config, file: Path) -> BackupReport:
    """Restore a backup."""
    make_data_folder(config.data_dir)
    return restore(config.effective_database_url, data_dir=config.data_dir, file=file)
