"""The spatial index of ``s_region``: an R*Tree beside the table, or columns in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Protocol

import pyarrow as pa
import sqlalchemy as sa

from app.adql.spatial_index import RegionColumns, outline_index, position_index
from app.schema.rows import Value
from app.sky.boxes import box_of
from app.sky.outlines import outline_of
from app.sky.shapes import Point, Polygon
from app.stores.tables.bulk import insert_batch
from app.stores.tables.physical import obscore
from app.stores.tables.region_columns import polygon_in, region_values

_REGION_LOCK = 0x736B796C6F6F6D
"""Key of the advisory lock that writers of obscore hold ("skyloom")."""

_OUTLINES = outline_index("obscore", "s_region")
_POSITIONS = position_index("obscore", "s_ra")
_AXES = "row_id, x_min, x_max, y_min, y_max, z_min, z_max"
_AXIS_BINDS = ":row_id, :x_min, :x_max, :y_min, :y_max, :z_min, :z_max"

_PUT_OUTLINE = sa.text(
    f"INSERT OR REPLACE INTO {_OUTLINES} ({_AXES}, outline) VALUES ({_AXIS_BINDS}, :outline)"
)
_PUT_POSITION = sa.text(f"INSERT OR REPLACE INTO {_POSITIONS} ({_AXES}) VALUES ({_AXIS_BINDS})")
_DROP_OUTLINE = sa.text(f"DELETE FROM {_OUTLINES} WHERE row_id = :row_id")
_DROP_POSITION = sa.text(f"DELETE FROM {_POSITIONS} WHERE row_id = :row_id")

_COLUMNS = [column.name for column in obscore.columns if column.name != "row_id"]
_ARROW_TYPES = {
    column.name: {int: pa.int64(), float: pa.float64()}.get(column.type.python_type, pa.string())
    for column in obscore.columns
}
_BESIDE = {
    name: f"CAST(:{name} AS {sql_type})" for name, sql_type in RegionColumns.of("s_region").types()
}
_BESIDE_CHANGE = [f"{name} = {value}" for name, value in _BESIDE.items()]

Record = Mapping[str, Value]


class RegionIndex(Protocol):
    """Writes rows of obscore together with their place in the spatial index."""

    def lock(self, connection: sa.Connection) -> None:
        """Let one writer at a time pass until the transaction ends."""

    def insert(self, connection: sa.Connection, records: Sequence[Record]) -> None:
        """Insert new rows (without ``row_id``)."""

    def update(self, connection: sa.Connection, records: Sequence[tuple[int, Record]]) -> None:
        """Replace the rows of these ``row_id``."""

    def delete(self, connection: sa.Connection, row_ids: Sequence[int]) -> None:
        """Delete the rows of these ``row_id``."""

    def find_unindexed(self, connection: sa.Connection) -> list[int]:
        """``row_id`` of the rows with an ``s_region`` that the index does not know."""

    def repair(self, connection: sa.Connection) -> int:
        """Index those rows; how many there were."""


def region_index(engine: sa.Engine) -> RegionIndex:
    """The index of the engine at hand."""
    return SqliteRegionIndex() if engine.dialect.name == "sqlite" else PostgresRegionIndex()


def polygon_of(record: Record) -> Polygon | None:
    """The parsed ``s_region``. Raises UsageError when it is not a polygon."""
    text = record["s_region"]
    if text is None:
        return None
    return polygon_in(text, str(record["obs_publisher_did"]))


class SqliteRegionIndex:
    """R*Trees over unit-vector boxes of outlines and of positions, keyed by ``row_id``."""

    def lock(self, connection: sa.Connection) -> None:
        """Nothing to do: write transactions on SQLite exclude each other."""

    def insert(self, connection: sa.Connection, records: Sequence[Record]) -> None:
        """Insert rows under fresh identifiers and put their boxes."""
        newest = connection.execute(sa.select(sa.func.max(obscore.c.row_id))).scalar_one() or 0
        numbered = list(enumerate(records, start=newest + 1))
        connection.execute(
            obscore.insert(), [{**record, "row_id": row_id} for row_id, record in numbered]
        )
        self._put(connection, numbered)

    def update(self, connection: sa.Connection, records: Sequence[tuple[int, Record]]) -> None:
        """Replace rows and their boxes."""
        connection.execute(
            obscore.update().where(obscore.c.row_id == sa.bindparam("this_row_id")),
            [{**record, "this_row_id": row_id} for row_id, record in records],
        )
        for column, drop in (("s_region", _DROP_OUTLINE), ("s_ra", _DROP_POSITION)):
            gone = [{"row_id": row_id} for row_id, record in records if record[column] is None]
            if gone:
                connection.execute(drop, gone)
        self._put(connection, records)

    def find_unindexed(self, connection: sa.Connection) -> list[int]:
        """Rows without a place in one of the trees."""
        query = (
            "SELECT row_id FROM obscore WHERE s_region IS NOT NULL "
            f"AND row_id NOT IN (SELECT row_id FROM {_OUTLINES}) UNION "
            "SELECT row_id FROM obscore WHERE s_ra IS NOT NULL AND s_dec IS NOT NULL "
            f"AND row_id NOT IN (SELECT row_id FROM {_POSITIONS})"
        )
        return list(connection.execute(sa.text(query)).scalars())

    def repair(self, connection: sa.Connection) -> int:
        """Put what is missing."""
        lost = _regions(connection, self.find_unindexed(connection))
        self._put(connection, lost)
        return len(lost)

    def delete(self, connection: sa.Connection, row_ids: Sequence[int]) -> None:
        """Delete rows; triggers delete their places in the trees."""
        if row_ids:
            connection.execute(obscore.delete().where(obscore.c.row_id.in_(row_ids)))

    def _put(self, connection: sa.Connection, records: Iterable[tuple[int, Record]]) -> None:
        numbered = list(records)
        outlines = [
            {"row_id": row_id, "outline": outline_of(polygon), **asdict(box_of(polygon))}
            for row_id, record in numbered
            if (polygon := polygon_of(record)) is not None
        ]
        positions = [
            {"row_id": row_id, **asdict(box_of(point))}
            for row_id, record in numbered
            if (point := _position_of(record)) is not None
        ]
        if outlines:
            connection.execute(_PUT_OUTLINE, outlines)
        if positions:
            connection.execute(_PUT_POSITION, positions)


def _position_of(record: Record) -> Point | None:
    lon, lat = record["s_ra"], record["s_dec"]
    return None if lon is None or lat is None else Point(float(lon), float(lat))


class PostgresRegionIndex:
    """The columns beside ``obscore.s_region``, with a GiST index on the bounds among them."""

    def lock(self, connection: sa.Connection) -> None:
        """Serialise writers, so that two that bring the same dataset cannot collide."""
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _REGION_LOCK})

    def insert(self, connection: sa.Connection, records: Sequence[Record]) -> None:
        """COPY rows with their regions."""
        columns = {
            name: pa.array([record[name] for record in records], _ARROW_TYPES[name])
            for name in _COLUMNS
        }
        names = columns["obs_publisher_did"]
        beside = region_values(
            "s_region", columns["s_region"], lambda row: str(names[row]), is_binary=True
        )
        columns |= beside
        insert_batch(connection, "obscore", list(columns), list(columns.values()))

    def update(self, connection: sa.Connection, records: Sequence[tuple[int, Record]]) -> None:
        """Replace rows and their regions."""
        changes = ", ".join([*(f"{name} = :{name}" for name in _COLUMNS), *_BESIDE_CHANGE])
        statement = f"UPDATE obscore SET {changes} WHERE row_id = :this_row_id"
        rows = [{**record, "this_row_id": row_id} for row_id, record in records]
        self._write(connection, statement, rows)

    def find_unindexed(self, connection: sa.Connection) -> list[int]:
        """Rows without bounds."""
        query = "SELECT row_id FROM obscore WHERE s_region IS NOT NULL AND s_region_bounds IS NULL"
        return list(connection.execute(sa.text(query)).scalars())

    def repair(self, connection: sa.Connection) -> int:
        """Fill the columns that are missing."""
        lost = _regions(connection, self.find_unindexed(connection))
        changes = ", ".join(_BESIDE_CHANGE)
        statement = f"UPDATE obscore SET {changes} WHERE row_id = :this_row_id"
        rows = [{**record, "this_row_id": row_id} for row_id, record in lost]
        if rows:
            self._write(connection, statement, rows)
        return len(lost)

    def _write(self, connection: sa.Connection, statement: str, records: Sequence[Record]) -> None:
        """Run a statement for records, with the values beside their regions."""
        texts = pa.array([record["s_region"] for record in records], pa.string())
        beside = region_values(
            "s_region", texts, lambda row: str(records[row]["obs_publisher_did"])
        )
        values = pa.table(dict(beside)).to_pylist()
        rows = [{**record, **more} for record, more in zip(records, values, strict=True)]
        connection.execute(sa.text(statement), rows)

    def delete(self, connection: sa.Connection, row_ids: Sequence[int]) -> None:
        """Delete rows."""
        if row_ids:
            connection.execute(obscore.delete().where(obscore.c.row_id.in_(row_ids)))


def _regions(connection: sa.Connection, row_ids: Sequence[int]) -> list[tuple[int, Record]]:
    """What :func:`polygon_of` needs of these rows."""
    names = ("obs_publisher_did", "s_region", "s_ra", "s_dec")
    columns = (obscore.c.row_id, *(obscore.c[name] for name in names))
    found: list[tuple[int, Record]] = []
    for start in range(0, len(row_ids), 500):
        query = sa.select(*columns).where(obscore.c.row_id.in_(row_ids[start : start + 500]))
        for row in connection.execute(query):
            found.append((row.row_id, dict(zip(names, row[1:], strict=True))))
    return found
