"""What commands need that touch the database and no image: little is imported for them, and a
command begins in half the time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from app.config import Config
from app.errors import UsageError
from app.schema.catalog import CATALOG
from app.schema.fields import Catalog
from app.services.external.service import RowImportService
from app.services.identities import TokenService
from app.services.publishing.service import PublishService
from app.services.setup import init_database
from app.stores.database import sqlite_file
from app.stores.metadata import open_stores
from app.stores.secrets import SigningKeys
from app.stores.tables.catalog_store import PublishedTable
from app.stores.tables.external_rows import ExternalRowStore
from app.stores.tables.published import PublishedStore


def now() -> datetime:
    """The clock that is handed to the rooms which may not read one."""
    return datetime.now(UTC)


def make_data_folder(data_dir: Path) -> None:
    """Make the data folder. Raises UsageError naming the setting."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise no_data_folder(data_dir, fault) from None


def no_data_folder(data_dir: Path, fault: OSError) -> UsageError:
    """The error that names the setting."""
    reason = fault.strerror or str(fault)
    return UsageError(f"setting SKYLOOM_DATA_DIR: {data_dir} is no usable folder: {reason}")


def known_catalog(config: Config) -> Catalog:
    """What may be queried: with a database also the tables that were published in it.

    Raises StoreUnavailableError when there is a database and it does not answer.
    """
    url = config.effective_database_url
    file = sqlite_file(url)
    if file is not None and not file.exists():
        return CATALOG
    stores = open_stores(url)
    try:
        return stores.catalogs.current()
    finally:
        stores.close()


def initialise(config: Config) -> list[str]:
    """Create or upgrade the database; one line for each thing done."""
    make_data_folder(config.data_dir)
    report = init_database(
        config.effective_database_url,
        reader_role=config.database_reader,
    )
    return report.lines()


def differences_are_listed(config: Config) -> bool:
    """Whether it was looked everywhere which differences can be built."""
    stores = open_stores(config.effective_database_url)
    try:
        return stores.differences.newest_place() is None
    finally:
        stores.close()


@contextmanager
def open_publishing(config: Config) -> Iterator[PublishService]:
    """The service that publishes tables, over an initialised database."""
    stores = open_stores(config.effective_database_url)
    try:
        yield PublishService(
            tables=PublishedStore(engine=stores.engine), catalogs=stores.catalogs, clock=now
        )
    finally:
        stores.close()


@contextmanager
def open_row_import(config: Config) -> Iterator[RowImportService]:
    """The service that imports rows of ObsCore, over an initialised database."""
    stores = open_stores(config.effective_database_url)
    try:
        yield RowImportService(
            rows=ExternalRowStore(engine=stores.engine),
            loaders=PublishedStore(engine=stores.engine),
        )
    finally:
        stores.close()


def rotate_key(config: Config) -> int:
    """Sign links with a new key from now on; how many older ones are still good."""
    make_data_folder(config.data_dir)
    keys = SigningKeys(data_dir=config.data_dir, lifetime_s=config.link_lifetime_s)
    return keys.rotate(now().timestamp())


@contextmanager
def open_tokens(config: Config) -> Iterator[TokenService]:
    """The service of tokens, over an initialised database."""
    stores = open_stores(config.effective_database_url)
    try:
        yield TokenService(tokens=stores.tokens, clock=now)
    finally:
        stores.close()


def published_tables(config: Config) -> tuple[PublishedTable, ...]:
    """What was published beside the tables that every service has."""
    stores = open_stores(config.effective_database_url)
    try:
        return stores.catalogs.published()
    finally:
        stores.close()
