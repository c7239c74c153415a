"""A small ObsCore table, the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

import pytest

from app.adql.compile import compile_tree
from app.adql.parse import parse
from app.adql.tree import Query
from app.schema.catalog import CATALOG
from app.schema.rows import DatasetRow, Value
from app.schema.uploads import UploadedTable, with_uploads
from app.sky.predicates import centroid
from app.sky.shapes import Polygon
from app.sky.stcs import format_region
from app.stores.metadata import MetadataStores, open_stores
from tests.databases import database_at
from tests.postgres import PostgresServer

Rows = list[tuple[object, ...]]
Ask = Callable[[str | Query], Rows]

_TEXTS = ("alpha", "Alpha", "äther", "zeta", "Zeta", "50%_off", "a*b?c[d]", None)


def star_polygon(lon: float, lat: float, size: float, rng: random.Random) -> Polygon:
    """A concave polygon: a star of random radii about a centre."""
    count = rng.randint(5, 12)
    vertices = []
    for step in range(count):
        turn = 2 * math.pi * (step + 0.5 * rng.random()) / count
        reach = size * rng.uniform(0.3, 1.0)
        dec = max(-89.9, min(89.9, lat + reach * math.sin(turn)))
        ra = lon + reach * math.cos(turn) / math.cos(math.radians(lat))
        vertices.append((ra % 360.0, dec))
    return Polygon(tuple(vertices))


def make_row(number: int, rng: random.Random) -> DatasetRow:
    """One dataset; every seventh has no region, others are stars around lon 0 and elsewhere."""
    lon, lat = rng.choice(((0.0, 0.0), (359.9, 45.0), (62.0, -37.0), (120.0, 80.0)))
    region = star_polygon(lon + rng.uniform(-1, 1), lat + rng.uniform(-1, 1), 0.9, rng)
    centre = centroid(region)
    columns: dict[str, Value] = {
        "dataproduct_type": "image",
        "calib_level": 2 + number % 2,
        "obs_collection": rng.choice(("demo", "Demo", "other")),
        "obs_id": f"v{number:03d}",
        "obs_publisher_did": f"ivo://test/demo?{number:03d}",
        "obs_title": rng.choice(_TEXTS),
        "access_url": f"/datalink/links?ID={number}",
        "s_ra": centre.lon_deg,
        "s_dec": centre.lat_deg,
        "s_fov": rng.choice((0.0, -1.5, 0.25, 1e-8, None)),
        "s_region": None if number % 7 == 0 else format_region(region),
        "s_resolution": rng.uniform(0.5, 1.5),
        "t_min": 60000.0 + number / 3.0,
        "t_exptime": rng.choice((0.0, 30.0, 1000.5)),
        "s_xel1": rng.choice((0, 448, 4096, 3_000_000_000, None)),
        "lsst_visit": rng.choice((None, 2**62, -7, 9)),
        "lsst_band": rng.choice(("g", "r", "i", None)),
        "obs_release_date": rng.choice(("2024-01-01T00:00:00Z", "2025-06-30T12:00:00Z")),
    }
    return DatasetRow(
        columns=columns,
        file_path=f"/images/{number}.fits",
        file_hdu=0,
        file_size=1000,
        file_mtime_ns=1,
        file_checksum="00",
        image_ref="{}",
    )


def load(url: str) -> MetadataStores:
    """Open an initialised database and fill it."""
    stores = open_stores(url)
    rng = random.Random(5)
    stores.datasets.upsert([make_row(number, rng) for number in range(120)])
    return stores


def ask(
    stores: MetadataStores, asked: str | Query, maxrec: int = 1000, *uploads: UploadedTable
) -> Rows:
    """The rows of the answer."""
    return run_query(stores, asked, maxrec=maxrec, uploads=uploads)


def run_query(
    stores: MetadataStores,
    asked: str | Query,
    *,
    maxrec: int,
    time_limit_s: float | None = None,
    uploads: Sequence[UploadedTable] = (),
) -> Rows:
    """The rows of the answer, within a time."""
    written = parse(asked) if isinstance(asked, str) else asked
    query = compile_tree(
        written,
        catalog=with_uploads(CATALOG, uploads),
        target=stores.tables.target,
        maxrec=maxrec,
        prefixes={"service_url": "https://sky.example"},
    )
    rows: Rows = []
    for batch in stores.tables.stream(query, time_limit_s=time_limit_s, uploads=uploads):
        rows += zip(*(column.to_pylist() for column in batch.columns), strict=True)
    return rows


@pytest.fixture(scope="session")
def sqlite_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MetadataStores]:
    """The table on SQLite."""
    path = tmp_path_factory.mktemp("adql") / "skyloom.sqlite3"
    stores = load(database_at(path))
    yield stores
    stores.close()


@pytest.fixture(scope="session")
def postgres_stores(
    postgres_server: PostgresServer, postgres_template: str
) -> Iterator[MetadataStores]:
    """The table on PostgreSQL."""
    url = postgres_server.create(template=postgres_template)
    stores = load(url)
    yield stores
    stores.close()
    postgres_server.drop(url)


@pytest.fixture
def ask_sqlite(sqlite_stores: MetadataStores) -> Ask:
    """Runs a query on SQLite."""
    return lambda asked: ask(sqlite_stores, asked)


@pytest.fixture
def ask_both(sqlite_stores: MetadataStores, postgres_stores: MetadataStores) -> Ask:
    """Runs a query on both engines and returns the answer, which must be one and the same."""

    def run(asked: str | Query) -> Rows:
        here, there = ask(sqlite_stores, asked), ask(postgres_stores, asked)
        assert here == there, asked
        return here

    return run
