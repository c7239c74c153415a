"""Rows per second of images that go into ObsCore on PostgreSQL.

Ours is what ``skyloom ingest`` calls once the images are read: keys looked up, regions prepared,
every index kept. The peer is the limit: psycopg's COPY of the same columns into a bare table
without indexes, the text made beforehand.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import sqlalchemy as sa

from app.schema.rows import DatasetRow
from app.services.setup import init_database
from app.sky.shapes import Polygon
from app.sky.stcs import format_region
from app.stores.metadata import open_stores
from app.stores.tables.rows import to_record
from benchmarks.figures import Figure, interleaved
from tests.adql.conftest import make_row
from tests.postgres import find_postgres, private_server

ROWS = 5_000


def figures() -> Iterator[Figure]:
    """New rows into a database that is emptied for each turn."""
    bin_dir = find_postgres()
    if isinstance(bin_dir, str):
        raise SystemExit(bin_dir)
    rng = random.Random(7)
    rows = [_with_square(make_row(number, rng)) for number in range(ROWS)]
    records = [to_record(row) for row in rows]
    text = io.BytesIO()
    for record in records:
        cells = ("\\N" if value is None else str(value) for value in record.values())
        text.write("\t".join(cells).encode() + b"\n")
    with private_server(bin_dir) as server:
        url = server.create()
        init_database(url)
        stores = open_stores(url)

        def upsert() -> None:
            with stores.engine.begin() as connection:
                connection.execute(sa.text("TRUNCATE obscore CASCADE"))
            stores.datasets.upsert(rows)

        def copy() -> None:
            names = ", ".join(records[0])
            with psycopg.connect(url) as connection:
                connection.execute(
                    f"CREATE TEMP TABLE bare AS SELECT {names} FROM obscore LIMIT 0".encode()
                )
                with connection.cursor().copy(f"COPY bare ({names}) FROM STDIN".encode()) as sink:
                    sink.write(text.getvalue())

        seconds = interleaved(3, ours=upsert, peer=copy)
        stores.close()
    yield Figure(
        name=f"{ROWS} new rows of images into PostgreSQL",
        ours=ROWS / seconds["ours"],
        unit="rows/s",
        peer_name="COPY into a bare table",
        peer=ROWS / seconds["peer"],
        larger_is_better=True,
    )


def _with_square(row: DatasetRow) -> DatasetRow:
    """A dataset whose region is that of a detector."""
    lon, lat = float(row.columns["s_ra"] or 0.0), float(row.columns["s_dec"] or 0.0)
    corners = [(lon + x, lat + y) for x, y in ((-0.1, -0.1), (0.1, -0.1), (0.1, 0.1), (-0.1, 0.1))]
    region = format_region(Polygon(tuple((lon % 360.0, lat) for lon, lat in corners)))
    return replace(row, columns={**row.columns, "s_region": region})
