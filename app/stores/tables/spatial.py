"""The spatial indexes of any published table, on either engine, beside the table.

A table has an outline index for each region column and a position index for each pair of position
columns (:mod:`app.adql.spatial_index` names them). Whoever loads a table calls
:func:`create_spatial_indexes` once its rows are in, and :func:`index_rows` after more came.
A row that is deleted leaves the indexes by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from app.adql.spatial_index import (
    outline_index,
    plane_position,
    position_index,
)
from app.schema.fields import Table
from app.stores.tables.bulk_index import put_in_tree, put_positions
from app.stores.tables.packed_tree import TreeWriter
from app.stores.tables.region_columns import (
    add_columns,
    create_index,
    drop_columns,
    put_beside,
)

_CHUNK_ROWS = 50_000

_AXES = "x_min, x_max, y_min, y_max, z_min, z_max"


def region_columns(table: Table) -> tuple[str, ...]:
    """Names in the database of the columns that hold regions."""
    return tuple(field.physical for field in table.fields if field.kind == "region")


def create_spatial_indexes(connection: sa.Connection, table: Table) -> int:
    """Create the spatial indexes of a table and put its rows into them; entries written.

    Raises UsageError when a region in it is no polygon.
    """
    sqlite = connection.dialect.name == "sqlite"
    for statement in sqlite_trees(table) if sqlite else _postgres_tables(table):
        connection.exec_driver_sql(statement)
    count = index_rows(connection, table)
    if not sqlite:
        for statement in _postgres_indexes(table):
            connection.exec_driver_sql(statement)
    return count


def drop_spatial_indexes(connection: sa.Connection, table: Table) -> None:
    """Remove the spatial indexes of a table, with what lies beside it for them."""
    names = [outline_index(table.physical, column) for column in region_columns(table)]
    names += [position_index(table.physical, lon) for lon, _ in table.positions]
    if connection.dialect.name == "sqlite":
        for name in names:
            connection.exec_driver_sql(f'DROP TRIGGER "{name}_delete"')
            connection.exec_driver_sql(f'DROP TABLE "{name}"')
        return
    for name in names:
        connection.exec_driver_sql(f'DROP INDEX "{name}"')
    for column in region_columns(table):
        for statement in drop_columns(table.physical, column):
            connection.exec_driver_sql(statement)


def index_rows(connection: sa.Connection, table: Table, *, after: int = 0) -> int:
    """Put the rows with ``row_id`` above ``after`` into the indexes; entries written.

    Raises UsageError when a region in them is no polygon.
    """
    sqlite = connection.dialect.name == "sqlite"
    count = 0
    for column in region_columns(table):
        count += _index_regions(connection, table, column, after)
    for lon, lat in table.positions if sqlite else ():
        count += _index_positions(connection, table, lon, lat, after)
    return count


def sqlite_trees(table: Table) -> Iterator[str]:
    """Statements that make the R*Trees of a table."""
    names = [outline_index(table.physical, column) for column in region_columns(table)]
    for name in names:
        yield f'CREATE VIRTUAL TABLE "{name}" USING rtree(row_id, {_AXES}, +outline BLOB)'
    for lon, _ in table.positions:
        names.append(position_index(table.physical, lon))
        yield f'CREATE VIRTUAL TABLE "{names[-1]}" USING rtree(row_id, {_AXES})'
    for name in names:
        yield (
            f'CREATE TRIGGER "{name}_delete" AFTER DELETE ON "{table.physical}" '
            f'BEGIN DELETE FROM "{name}" WHERE row_id = old.row_id; END'
        )


def _postgres_tables(table: Table) -> Iterator[str]:
    for column in region_columns(table):
        yield from add_columns(table.physical, column)


def _postgres_indexes(table: Table) -> Iterator[str]:
    """What is faster made once the rows are there."""
    for column in region_columns(table):
        yield create_index(table.physical, column)
    for lon, lat in table.positions:
        name = position_index(table.physical, lon)
        quoted_lon, quoted_lat = f'"{lon}"', f'"{lat}"'
        yield (
            f'CREATE INDEX "{name}" ON "{table.physical}" '
            f"USING gist ({plane_position(quoted_lon, quoted_lat)})"
        )


def _index_regions(connection: sa.Connection, table: Table, column: str, after: int) -> int:
    name = outline_index(table.physical, column)
    chunks = rows_after(connection, table.physical, (column,), after)
    if connection.dialect.name == "sqlite":
        tree = TreeWriter(connection, name)
        count = sum(put_in_tree(tree, *zip(*rows, strict=True)) for rows in chunks)
        tree.finish()
        return count
    return put_beside(connection, table.physical, column, chunks)


def _index_positions(
    connection: sa.Connection, table: Table, lon: str, lat: str, after: int
) -> int:
    tree = TreeWriter(connection, position_index(table.physical, lon))
    chunks = rows_after(connection, table.physical, (lon, lat), after)
    count = sum(put_positions(tree, *zip(*rows, strict=True)) for rows in chunks)
    tree.finish()
    return count


def rows_after(
    connection: sa.Connection, physical: str, columns: tuple[str, ...], after: int
) -> Iterator[list[tuple[Any, ...]]]:
    """Chunks of (row_id, values …) where no value is null, in order of ``row_id``."""
    shown = ", ".join(f'"{column}"' for column in columns)
    known = " AND ".join(f'"{column}" IS NOT NULL' for column in columns)
    query = sa.text(
        f'SELECT row_id, {shown} FROM "{physical}" '
        f"WHERE row_id > :after AND {known} ORDER BY row_id LIMIT {_CHUNK_ROWS}"
    )
    while rows := [tuple(row) for row in connection.execute(query, {"after": after}).all()]:
        yield rows
        after = int(rows[-1][0])
