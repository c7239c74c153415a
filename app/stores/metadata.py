"""Everything that lies in the database, opened together."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from app.stores.database import open_engine, open_reader
from app.stores.jobs import JobStore
from app.stores.postgres_roles import DEFAULT_READER
from app.stores.tables.base import TableStore
from app.stores.tables.catalog_store import CatalogStore
from app.stores.tables.coverage_store import CoverageStore
from app.stores.tables.datasets import DatasetStore
from app.stores.tables.difference_store import DifferenceStore
from app.stores.tables.postgres import PostgresTableStore
from app.stores.tables.sqlite import SqliteTableStore
from app.stores.tokens import TokenStore


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataStores:
    """The stores over one engine, and the engine of what users ask."""

    engine: sa.Engine
    reader: sa.Engine
    tables: TableStore
    datasets: DatasetStore
    differences: DifferenceStore
    jobs: JobStore
    catalogs: CatalogStore
    coverage: CoverageStore
    tokens: TokenStore

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        self.reader.dispose()


def open_stores(
    url: str, *, pool_size: int = 20, reader_role: str = DEFAULT_READER
) -> MetadataStores:
    """The stores of an initialised database. Connects when first used. Queries on PostgreSQL run
    under ``reader_role``, where that is there."""
    engine = open_engine(url, pool_size=pool_size)
    reader = open_reader(engine, pool_size=pool_size)
    sqlite = engine.dialect.name == "sqlite"
    return MetadataStores(
        engine=engine,
        reader=reader,
        tables=SqliteTableStore(engine=reader)
        if sqlite
        else PostgresTableStore(engine=reader, role=reader_role),
        datasets=DatasetStore(engine=engine),
        differences=DifferenceStore(engine=engine),
        jobs=JobStore(engine=engine),
        catalogs=CatalogStore(engine=engine),
        coverage=CoverageStore(engine=engine),
        tokens=TokenStore(engine=engine),
    )
