"""Questions about the state of a database that only ``skyloom doctor`` asks."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import sqlalchemy as sa

from app.schema.tap_schema import tap_schema_rows
from app.stores.database import read_transaction
from app.stores.tables.catalog_store import read_catalog
from app.stores.tables.datasets import HAS_FILE
from app.stores.tables.physical import changed_place, obscore, tap_schema
from app.stores.tables.regions import region_index


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One file that dataset rows point to."""

    path: str
    size_bytes: int
    mtime_ns: int
    checksum: str
    built: bool


def sqlite_version() -> str:
    """Version of the SQLite library Python is linked with."""
    return sqlite3.sqlite_version


def sqlite_has_rtree() -> bool:
    """Whether that library was built with the R*Tree module."""
    with sqlite3.connect(":memory:") as connection:
        try:
            connection.execute("CREATE VIRTUAL TABLE probe USING rtree(id, low, high)")
        except sqlite3.OperationalError:
            return False
        return True


def regions_without_index(engine: sa.Engine) -> int:
    """Rows whose ``s_region`` the spatial index does not know: searches would miss them."""
    with read_transaction(engine) as connection:
        return len(region_index(engine).find_unindexed(connection))


def dataset_count(engine: sa.Engine) -> int:
    """Rows of ivoa.ObsCore."""
    with read_transaction(engine) as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(obscore)).scalar_one())


def places_to_look_at(engine: sa.Engine) -> int:
    """Places where it was not looked at yet which differences can be built."""
    query = sa.select(sa.func.count()).select_from(changed_place)
    with read_transaction(engine) as connection:
        return int(connection.execute(query).scalar_one())


def tap_schema_matches(engine: sa.Engine) -> bool:
    """Whether TAP_SCHEMA describes the columns this version of the program publishes."""
    columns = tap_schema["tap_columns"].c
    query = sa.select(columns.table_name, columns.column_name)
    with read_transaction(engine) as connection:
        stored = {(table, column) for table, column in connection.execute(query)}
        wanted = tap_schema_rows(read_catalog(connection))["tap_columns"]
    return stored == {(row["table_name"], row["column_name"]) for row in wanted}


def stored_files(engine: sa.Engine) -> list[StoredFile]:
    """Every file that rows point to, by path. Rows whose images lie elsewhere have none."""
    query = (
        sa.select(
            obscore.c.file_path,
            sa.func.max(obscore.c.file_size).label("size_bytes"),
            sa.func.max(obscore.c.file_mtime_ns).label("mtime_ns"),
            sa.func.max(obscore.c.file_checksum).label("checksum"),
            sa.func.max(sa.case((obscore.c.origin == "built", 1), else_=0)).label("built"),
        )
        .where(HAS_FILE)
        .group_by(obscore.c.file_path)
        .order_by(obscore.c.file_path)
    )
    with read_transaction(engine) as connection:
        return [
            StoredFile(
                path=r.file_path,
                size_bytes=r.size_bytes,
                mtime_ns=r.mtime_ns,
                checksum=r.checksum,
                built=bool(r.built),
            )
            for r in connection.execute(query)
        ]
