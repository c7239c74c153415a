"""Questions about the state of a database that only ``skyloom doctor`` asks."""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa

from app.schema.tap_schema import tap_schema_rows
from app.stores.database import read_transaction
from app.stores.pgsphere import pgsphere_version, server_version
from app.stores.tables.catalog_store import read_catalog
from app.stores.tables.physical import obscore, tap_schema
from app.stores.tables.regions import region_index


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


def postgres_versions(engine: sa.Engine) -> tuple[str, str | None]:
    """Versions of the server and of pgSphere (None: not created in this database)."""
    with read_transaction(engine) as connection:
        return server_version(connection), pgsphere_version(connection)


def regions_without_index(engine: sa.Engine) -> int:
    """Rows whose ``s_region`` the spatial index does not know: searches would miss them."""
    with read_transaction(engine) as connection:
        return len(region_index(engine).find_unindexed(connection))


def dataset_count(engine: sa.Engine) -> int:
    """Rows of ivoa.ObsCore."""
    with read_transaction(engine) as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(obscore)).scalar_one())


def tap_schema_matches(engine: sa.Engine) -> bool:
    """Whether TAP_SCHEMA describes the columns this version of the program publishes."""
    columns = tap_schema["tap_columns"].c
    query = sa.select(columns.table_name, columns.column_name)
    with read_transaction(engine) as connection:
        stored = {(table, column) for table, column in connection.execute(query)}
        wanted = tap_schema_rows(read_catalog(connection))["tap_columns"]
    return stored == {(row["table_name"], row["column_name"]) for row in wanted}
