"""What parameters of SIA 2.0 find, on both engines, beside the rows looked through in Python."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from app.errors import LimitError, ParameterError
from app.schema.rows import DatasetRow
from app.services.discovery import MAX_VALUES, parse_discovery
from app.services.parameters import ParameterSet
from app.services.query import QueryService
from app.sky.dali import parse_pos
from app.sky.predicates import intersects
from app.sky.stcs import parse_region
from app.stores.metadata import MetadataStores, open_stores
from tests.databases import database_at
from tests.postgres import PostgresServer

Row = dict[str, Any]
Pairs = Sequence[tuple[str, str]]
Find = Callable[[Pairs], list[str]]

TYPES = ("image", "image", "cube", "spectrum", None)
STATES = ("/I/", "/I/Q/U/", "/XX/YY/", "/POLI/", None)
FORMATS = ("application/x-votable+xml;content=datalink", "application/fits", None)


def make_row(number: int, rng: random.Random) -> Row:
    """An image somewhere near longitude 0 or a pole; every value is missing somewhere."""
    lon, lat = rng.uniform(-3, 3) % 360.0, rng.choice((-2.0, 0.5, 45.0, 88.8))
    wide = 0.3 / math.cos(math.radians(lat + 0.3))
    corners = ((lon - wide, lat - 0.3), (lon + wide, lat - 0.3), (lon, lat + 0.3))
    region = "POLYGON ICRS " + " ".join(f"{x % 360.0:.6f} {y:.6f}" for x, y in corners)
    start, low = rng.uniform(60000, 60010), rng.uniform(3e-7, 9e-7)
    row: Row = {
        "s_region": region,
        "t_min": start,
        "t_max": start + rng.uniform(0, 2),
        "em_min": low,
        "em_max": low + 1e-7,
        "s_fov": rng.uniform(0.1, 2),
        "s_resolution": rng.uniform(0.5, 2),
        "em_res_power": rng.uniform(1, 10),
        "t_exptime": float(rng.choice((15, 30, 60))),
        "t_resolution": float(rng.choice((1, 2))),
    }
    row = {name: None if rng.random() < 0.1 else value for name, value in row.items()}
    return row | {
        "obs_id": f"o{number:03d}",
        "obs_publisher_did": f"ivo://Test/Data?Image{number:03d}",
        "obs_collection": rng.choice(("demo", "Demo", "it's")),
        "facility_name": rng.choice(("Blanco", None)),
        "instrument_name": rng.choice(("DECam", "decam")),
        "dataproduct_type": rng.choice(TYPES),
        "dataproduct_subtype": rng.choice(("lsst.visit_image", "lsst.difference_image", None)),
        "calib_level": rng.choice((1, 2, 3, 4)),
        "target_name": rng.choice(("M 31", "a%b", None)),
        "access_format": rng.choice(FORMATS),
        "pol_states": rng.choice(STATES),
    }


ROWS = [make_row(number, random.Random(number)) for number in range(150)]


@pytest.fixture(scope="module")
def both(
    postgres_server: PostgresServer,
    postgres_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[list[MetadataStores]]:
    """The rows on SQLite and on PostgreSQL."""
    path = tmp_path_factory.mktemp("discovery") / "skyloom.sqlite3"
    url = postgres_server.create(template=postgres_template)
    opened = [open_stores(each) for each in (database_at(path), url)]
    beside = {"file_hdu": 0, "file_size": 1, "file_mtime_ns": 1, "file_checksum": ""}
    for stores in opened:
        stores.datasets.upsert(
            DatasetRow(columns=row, file_path=str(row["obs_id"]), image_ref="{}", **beside)
            for row in ROWS
        )
    yield opened
    for stores in opened:
        stores.close()
    postgres_server.drop(url)


@pytest.fixture(scope="module")
def find(both: list[MetadataStores]) -> Find:
    """The obs_id of what is found, by both engines alike."""
    services = [
        QueryService(
            tables=stores.tables,
            catalogs=stores.catalogs,
            default_rows=1000,
            max_rows=1000,
            time_limit_s=60,
        )
        for stores in both
    ]

    def run(pairs: Pairs) -> list[str]:
        asked = parse_discovery(ParameterSet(pairs), service_url="http://sky")
        here, there = (
            sorted(
                name
                for batch in service.run(asked).batches
                for name in batch.column("obs_id").to_pylist()
            )
            for service in services
        )
        assert here == there, pairs
        return here

    return run


def within(row: Row, name: str, low: float, high: float) -> bool:
    return row[name] is not None and low <= row[name] <= high


def covers(row: Row, axis: str, low: float, high: float) -> bool:
    start, stop = row[f"{axis}_min"], row[f"{axis}_max"]
    if start is None and stop is None:
        return False
    if math.isinf(low) and math.isinf(high):
        return start is not None and stop is not None
    before = math.isinf(high) or (start is not None and start <= high)
    return before and (math.isinf(low) or (stop is not None and stop >= low))


def meets(row: Row, *shapes: str) -> bool:
    if row["s_region"] is None:
        return False
    return any(intersects(parse_region(row["s_region"]), parse_pos(shape)) for shape in shapes)


CASES: list[tuple[Pairs, Callable[[Row], bool]]] = [
    ([], lambda r: True),
    *(
        ([("POS", shape)], lambda r, shape=shape: meets(r, shape))
        for shape in (
            "CIRCLE 0.2 0.5 0.4",
            "circle 359.9 -2 0.5",
            "CIRCLE 0 90 1",
            "CIRCLE 1 45 0",
            "RANGE 359 1 -2.1 0.6",
            "RANGE 0.5 2 -Inf +Inf",
            "RANGE -Inf +Inf 88.5 Inf",
            "Range -Inf +Inf -Inf +Inf",
            "RANGE 1 1 0 45",
            "POLYGON 359 -3 1 -3 1 1 359 1",
            "POLYGON 0 87 90 87 180 87 270 87",
        )
    ),
    (
        [("POS", "CIRCLE 1 45 0.3"), ("pos", "RANGE 358 359 0 1")],
        lambda r: meets(r, "CIRCLE 1 45 0.3", "RANGE 358 359 0 1"),
    ),
    ([("BAND", "5e-7 6e-7")], lambda r: covers(r, "em", 5e-7, 6e-7)),
    ([("BAND", "5.5e-7")], lambda r: covers(r, "em", 5.5e-7, 5.5e-7)),
    ([("BAND", "-Inf 4e-7")], lambda r: covers(r, "em", -math.inf, 4e-7)),
    ([("BAND", "9e-7 +Inf")], lambda r: covers(r, "em", 9e-7, math.inf)),
    ([("BAND", "-Inf +Inf")], lambda r: covers(r, "em", -math.inf, math.inf)),
    ([("TIME", "60002 60003")], lambda r: covers(r, "t", 60002, 60003)),
    ([("TIME", "60005.5")], lambda r: covers(r, "t", 60005.5, 60005.5)),
    (
        [("TIME", "60000 60001"), ("TIME", "60008 +Inf")],
        lambda r: covers(r, "t", 60000, 60001) or covers(r, "t", 60008, math.inf),
    ),
    ([("POL", "I")], lambda r: r["pol_states"] in ("/I/", "/I/Q/U/")),
    ([("POL", "Q"), ("POL", "POLI")], lambda r: r["pol_states"] in ("/I/Q/U/", "/POLI/")),
    ([("POL", "X" * 2)], lambda r: r["pol_states"] == "/XX/YY/"),
    ([("FOV", "0.5 1")], lambda r: within(r, "s_fov", 0.5, 1)),
    ([("FOV", "-Inf +Inf")], lambda r: r["s_fov"] is not None),
    ([("SPATRES", "-Inf 1")], lambda r: within(r, "s_resolution", -math.inf, 1)),
    ([("SPECRP", "5 +Inf")], lambda r: within(r, "em_res_power", 5, math.inf)),
    ([("EXPTIME", "30")], lambda r: within(r, "t_exptime", 30, 30)),
    ([("TIMERES", "1.5 3")], lambda r: within(r, "t_resolution", 1.5, 3)),
    ([("ID", "IVO://TEST/data?image007")], lambda r: r["obs_id"] == "o007"),
    ([("COLLECTION", "demo")], lambda r: r["obs_collection"] == "demo"),
    ([("COLLECTION", "it's")], lambda r: r["obs_collection"] == "it's"),
    ([("FACILITY", "Blanco")], lambda r: r["facility_name"] == "Blanco"),
    ([("INSTRUMENT", "DECam")], lambda r: r["instrument_name"] == "DECam"),
    ([("DPTYPE", "cube")], lambda r: r["dataproduct_type"] == "cube"),
    ([("DPTYPE", "cube"), ("DPTYPE", "image")], lambda r: True),
    (
        [("DPSUBTYPE", "lsst.difference_image")],
        lambda r: r["dataproduct_subtype"] == "lsst.difference_image",
    ),
    ([("CALIB", "2"), ("CALIB", "4")], lambda r: r["calib_level"] in (2, 4)),
    ([("TARGET", "a%b")], lambda r: r["target_name"] == "a%b"),
    ([("FORMAT", "application/fits")], lambda r: r["access_format"] == "application/fits"),
    (
        [("FORMAT", "application/x-votable xml; content=datalink")],
        lambda r: r["access_format"] == FORMATS[0],
    ),
    (
        [("POS", "RANGE 358 2 -3 50"), ("CALIB", "2"), ("CALIB", "3"), ("COLLECTION", "Demo")],
        lambda r: (
            meets(r, "RANGE 358 2 -3 50")
            and r["calib_level"] in (2, 3)
            and r["obs_collection"] == "Demo"
        ),
    ),
    ([("BAND", " "), ("NOSUCH", "x"), ("LANG", "ADQL"), ("REQUEST", "query")], lambda r: True),
]


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(("pairs", "is_wanted"), CASES, ids=[repr(p)[:60] for p, _ in CASES])
def test_what_is_found(find: Find, pairs: Pairs, is_wanted: Callable[[Row], bool]) -> None:
    wanted = [
        row["obs_id"]
        for row in ROWS
        if row["dataproduct_type"] in ("image", "cube") and is_wanted(row)
    ]
    assert find(pairs) == wanted
    assert wanted, "a search that finds nothing proves nothing"


WRONG = [
    ("POS", "CIRCLE 10 20", "3 numbers"),
    ("POS", "CIRCLE 10 95 1", "latitude 95"),
    ("POS", "CIRCLE 10 20 -1", "radius -1"),
    ("POS", "CIRCLE 10 20 NaN", "NaN"),
    ("POS", "CIRCLE 10 20 Inf", "finite"),
    ("POS", "RANGE 1 2 4 3", "above the upper"),
    ("POS", "POLYGON 0 0 1 1 1 0 0 1", "cross"),
    ("POS", "BOX 1 2 3 4", "CIRCLE, RANGE or POLYGON"),
    ("POS", "10 20", "CIRCLE, RANGE or POLYGON"),
    ("BAND", "2 1", "above the upper"),
    ("BAND", "r", "not a number"),
    ("TIME", "2026-01-01", "not a number"),
    ("FOV", "-Inf", "finite"),
    ("SPATRES", "+Inf +Inf", "finite"),
    ("EXPTIME", "NaN 1", "NaN"),
    ("POL", "i", "I, Q, U, V"),
    ("DPTYPE", "spectrum", "image, cube"),
    ("CALIB", "5", "0 to 4"),
    ("CALIB", "2.0", "0 to 4"),
    ("MAXREC", "-1", "at least 0"),
    ("RESPONSEFORMAT", "image/png", "votable"),
]


@pytest.mark.parametrize(("name", "value", "told"), WRONG)
def test_what_is_wrong_is_named_with_what_is_allowed(name: str, value: str, told: str) -> None:
    with pytest.raises(ParameterError) as fault:
        parse_discovery(ParameterSet([(name.lower(), value)]), service_url="")
    assert fault.value.args[0] == name
    assert told in str(fault.value)


def test_a_request_has_only_so_many_values_and_vertices() -> None:
    polygon = "POLYGON 0 0 " + "1 1 " * 800
    for values in (
        [("ID", str(number)) for number in range(MAX_VALUES + 1)],
        [("POS", polygon)] * 3,
    ):
        with pytest.raises(LimitError):
            parse_discovery(ParameterSet(values), service_url="")


@pytest.mark.needs("postgresql")
def test_as_many_values_as_are_taken(find: Find) -> None:
    """One statement bears them: 350 circles and 150 identifiers."""
    places = [(n % 7, 44 + n % 3) for n in range(MAX_VALUES - len(ROWS))]
    circles = [("POS", f"CIRCLE {lon} {lat} 0.{n:04d}") for n, (lon, lat) in enumerate(places)]
    names = [("ID", f"ivo://test/data?image{number:03d}") for number in range(len(ROWS))]
    shapes = [value for _, value in circles]
    wanted = [
        row["obs_id"]
        for row in ROWS
        if row["dataproduct_type"] in ("image", "cube") and meets(row, *shapes)
    ]
    assert wanted
    assert find([*circles, *names]) == wanted
