"""The spatial indexes of any published table follow its rows on both engines."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from app.adql.spatial_index import outline_index, position_index
from app.errors import UsageError
from app.schema.columns import real
from app.schema.fields import Field, Table
from app.stores.metadata import MetadataStores
from app.stores.tables.spatial import create_spatial_indexes, drop_spatial_indexes, index_rows
from tests.stores.contract import execute

TABLE = Table(
    schema_name="mine",
    name="mine.things",
    physical="mine_things",
    fields=(
        real("ra", "lon"),
        real("dec", "lat"),
        Field(name="area", column="shape", kind="region", datatype="char", arraysize="*"),
    ),
    positions=(("ra", "dec"),),
)
SQUARE = "POLYGON ICRS 10 -1 11 -1 11 1 10 1"


def put(connection: sa.Connection, row_id: int, ra: float | None, shape: str | None) -> None:
    values = {"row_id": row_id, "ra": ra, "dec": 0.5, "shape": shape}
    names = ", ".join(values)
    binds = ", ".join(f":{name}" for name in values)
    connection.execute(sa.text(f"INSERT INTO mine_things ({names}) VALUES ({binds})"), values)


@pytest.fixture
def things(stores: MetadataStores) -> MetadataStores:
    """A table with three rows, of which two have a region and two a position."""
    with stores.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE mine_things (row_id integer PRIMARY KEY, ra double precision, "
            '"dec" double precision, shape text)'
        )
        put(connection, 1, 10.5, SQUARE)
        put(connection, 2, None, SQUARE)
        put(connection, 3, 20.5, None)
        create_spatial_indexes(connection, TABLE)
    return stores


def indexed(stores: MetadataStores, name: str) -> list[int]:
    return sorted(int(str(row[0])) for row in execute(stores, f"SELECT row_id FROM {name}"))


def test_indexes_hold_the_rows_that_are_there_and_follow(things: MetadataStores) -> None:
    sqlite = things.engine.dialect.name == "sqlite"
    outlines = outline_index("mine_things", "shape")
    outlines = outlines if sqlite else "mine_things WHERE shape_bounds IS NOT NULL"
    assert indexed(things, outlines) == [1, 2]
    with things.engine.begin() as connection:
        put(connection, 4, 30.5, SQUARE)
        put(connection, 5, 30.5, None)
        index_rows(connection, TABLE, after=3)
        connection.exec_driver_sql("DELETE FROM mine_things WHERE row_id IN (1, 5)")
    assert indexed(things, outlines) == [2, 4]
    if sqlite:
        assert indexed(things, position_index("mine_things", "ra")) == [3, 4]


def test_indexes_go_without_a_trace(things: MetadataStores) -> None:
    with things.engine.begin() as connection:
        drop_spatial_indexes(connection, TABLE)
        connection.exec_driver_sql("DELETE FROM mine_things")
        connection.exec_driver_sql("DROP TABLE mine_things")
    left = sa.inspect(things.engine).get_table_names()
    assert not [name for name in left if name.startswith("mine_")]


def test_a_region_that_is_no_polygon_is_refused(things: MetadataStores) -> None:
    with things.engine.connect() as connection, connection.begin():
        put(connection, 6, None, "CIRCLE ICRS 1 2 3")
        with pytest.raises(UsageError, match="row 6"):
            index_rows(connection, TABLE, after=5)
