"""Coverage maps against another implementation of HEALPix, and as they follow what is published."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy_healpix import HEALPix
from fastapi import FastAPI
from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d
from mocpy import MOC
from starlette.testclient import TestClient

from app.http import moc, sia
from app.http.context import ServiceAddress
from app.http.faults import install_fault_handlers
from app.services import coverage as service_module
from app.services.catalog_rows import CatalogRows
from app.services.coverage import CoverageService
from app.services.coverage_request import parse_coverage
from app.services.parameters import ParameterSet
from app.services.query import QueryService
from app.sky.moc import MAX_CELLS, MAX_ORDER, WRITERS, bounded, cover, fitting_order
from app.stores.metadata import MetadataStores
from app.stores.results import ResultStore
from tests.http.archive import make_uploads
from tests.stores.contract import dataset
from tests.waiting import PATIENCE_S

SQUARE = "POLYGON ICRS 10 10 10.2 10 10.2 10.2 10 10.2"
REGIONS = {
    "square": [SQUARE],
    "overlapping": [SQUARE, "POLYGON ICRS 10.1 10.05 10.3 10.1 10.25 10.3 10.05 10.25"],
    "over RA 0": ["POLYGON ICRS 359.9 -0.1 0.1 -0.1 0.1 0.1 359.9 0.1"],
    "north pole": ["POLYGON ICRS 0 89.9 90 89.9 180 89.9 270 89.9"],
    "south pole": ["POLYGON ICRS 20 -89.9 260 -89.9 140 -89.9"],
    "clockwise": ["POLYGON ICRS 200.2 60 200 60 200.1 60.3"],
}


def vector(lon: float, lat: float) -> UnitVector3d:
    return UnitVector3d(LonLat.fromDegrees(lon, lat))


def polygon(text: str) -> ConvexPolygon:
    numbers = [float(word) for word in text.split()[2:]]
    return ConvexPolygon([vector(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)])


def cells(found: MOC, order: int) -> set[int]:
    """Numbers of all cells of an order, by the standard's own text."""
    numbers: set[int] = set()
    for word, listed in found.serialize(format="json").items():
        shift = 2 * (order - int(word))
        for cell in listed:
            numbers |= set(range(cell << shift, (cell + 1) << shift))
    return numbers


@pytest.mark.parametrize("regions", REGIONS.values(), ids=REGIONS)
def test_a_map_holds_the_regions_and_little_more(regions: list[str]) -> None:
    order = fitting_order(regions)
    found = cells(cover(regions, order), order)
    polygons = [polygon(text) for text in regions]
    fine = HEALPix(nside=2 ** (order + 3), order="nested")
    coarse = HEALPix(nside=2**order, order="nested")
    near = set(found)
    for _ in range(2):
        near |= {int(n) for n in coarse.neighbours(np.array(sorted(near))).ravel() if n >= 0}
    numbers = np.concatenate([np.arange(cell << 6, (cell + 1) << 6) for cell in sorted(near)])
    lon, lat = (each.to_value(u.deg) for each in fine.healpix_to_lonlat(numbers))
    inside = np.array(
        [
            any(each.contains(vector(*place)) for each in polygons)
            for place in zip(lon, lat, strict=True)
        ]
    )
    held = {int(number) for number in numbers[inside] >> 6}
    assert held <= found
    around = held | {int(n) for n in coarse.neighbours(np.array(sorted(held))).ravel() if n >= 0}
    assert found <= around
    true_area = inside.sum() * fine.pixel_area.to_value(u.deg**2)
    side = coarse.pixel_resolution.to_value(u.deg)
    perimeter = sum(
        8.0 * each.getBoundingCircle().getOpeningAngle().asDegrees() for each in polygons
    )
    area = len(found) * coarse.pixel_area.to_value(u.deg**2)
    assert true_area <= area <= true_area + 1.5 * side * perimeter + 4 * side**2


def test_a_map_of_too_many_cells_becomes_coarser_and_loses_nothing() -> None:
    regions = [f"POLYGON ICRS {x} 0 {x + 0.1} 0 {x + 0.1} 0.1 {x} 0.1" for x in range(0, 40, 2)]
    whole = cover(regions, MAX_ORDER)
    less = bounded(whole, cells=1000)
    assert len(less.uniq_hpx) <= 1000 < len(whole.uniq_hpx) < MAX_CELLS
    assert whole.difference(less).empty()


@pytest.fixture
def service(stores: MetadataStores, monkeypatch: pytest.MonkeyPatch) -> Iterator[CoverageService]:
    monkeypatch.setattr(service_module, "WAIT_S", PATIENCE_S)
    made = CoverageService(
        store=stores.coverage,
        rows=CatalogRows(tables=stores.tables, catalogs=stores.catalogs),
        clock=lambda: datetime.now(UTC),
    )
    yield made
    made.stop()


@pytest.fixture
def client(stores: MetadataStores, service: CoverageService, tmp_path: Any) -> Iterator[TestClient]:
    queries = QueryService(
        tables=stores.tables,
        catalogs=stores.catalogs,
        default_rows=1000,
        max_rows=5000,
        time_limit_s=300,
    )
    app = FastAPI()
    install_fault_handlers(app)
    app.include_router(moc.router(coverage=service))
    uploads = make_uploads(ResultStore(data_dir=tmp_path))
    address = ServiceAddress(base_url=None)
    app.include_router(sia.router(queries=queries, uploads=uploads, address=address))
    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


def image(number: int, **columns: Any) -> Any:
    """One image, 0.2 deg wide, all of them apart from each other."""
    lon = 20.0 + number
    square = f"POLYGON ICRS {lon} -20 {lon + 0.2} -20 {lon + 0.2} -19.8 {lon} -19.8"
    facts = {"dataproduct_type": "image", "em_min": 6.9e-7, "em_max": 8.2e-7, **columns}
    return dataset(number, region=square, s_ra=lon + 0.1, s_dec=-19.9, **facts)


def ask(client: TestClient, **asked: Any) -> MOC:
    answer = client.get("/moc", params={"RESPONSEFORMAT": "ascii", **asked})
    assert answer.status_code == 200, answer.text
    return MOC.from_string(answer.text)


def covered(client: TestClient, **asked: Any) -> list[int]:
    """Numbers of the images (of 40) whose centres are in the map."""
    found = ask(client, **asked)
    lon = np.arange(40) + 20.1
    return np.flatnonzero(found.contains_lonlat(lon * u.deg, np.full(40, -19.9) * u.deg)).tolist()


def test_maps_follow_what_comes_changes_and_goes(
    stores: MetadataStores, client: TestClient
) -> None:
    assert ask(client).empty()
    stores.datasets.upsert([image(n) for n in range(4)])
    assert covered(client) == [0, 1, 2, 3]
    stores.datasets.upsert([image(n) for n in range(4, 6)])
    assert covered(client) == list(range(6))
    stores.datasets.withdraw([image(5).dataset_id, image(1).dataset_id])
    assert covered(client) == [0, 2, 3, 4]
    stores.datasets.upsert([image(7)])  # SQLite gives it the number of one that went
    assert covered(client) == [0, 2, 3, 4, 7]
    moved = image(9, obs_publisher_did=image(2).dataset_id)
    stores.datasets.upsert([moved])
    assert covered(client) == [0, 3, 4, 7, 9]
    assert ask(client) == union_of([0, 3, 4, 7, 9])


def union_of(numbers: list[int]) -> MOC:
    """The map made at once."""
    texts = [str(image(n).columns["s_region"]) for n in numbers]
    return cover(texts, fitting_order(texts))


def test_cells_that_other_images_share_stay(stores: MetadataStores, client: TestClient) -> None:
    twin = image(1, obs_publisher_did="ivo://test.example/survey?twin")
    lon = 21.2
    beside = f"POLYGON ICRS {lon} -20 {lon + 0.2} -20 {lon + 0.2} -19.8 {lon} -19.8"
    next_one = image(3, obs_publisher_did="ivo://test.example/survey?next", s_region=beside)
    stores.datasets.upsert([image(1), twin, next_one, image(2)])
    before = ask(client)
    stores.datasets.withdraw([image(1).dataset_id])
    assert ask(client) == before
    stores.datasets.withdraw([twin.dataset_id])
    texts = [beside, str(image(2).columns["s_region"])]
    assert ask(client) == cover(texts, before.max_order)


def test_where_many_went_the_map_is_made_anew(
    stores: MetadataStores, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "MENDED_AT_ONCE", 3)
    monkeypatch.setattr(service_module, "ROWS_AT_ONCE", 7)
    stores.datasets.upsert([image(n) for n in range(30)])
    assert covered(client) == list(range(30))
    stores.datasets.withdraw([image(n).dataset_id for n in range(0, 30, 2)])
    stores.datasets.upsert([image(31)])
    assert covered(client) == [*range(1, 30, 2), 31]
    stores.datasets.withdraw([image(n).dataset_id for n in range(32)])
    assert ask(client).empty()


def test_a_map_that_many_ask_for_is_made_once(
    stores: MetadataStores, service: CoverageService
) -> None:
    stores.datasets.upsert([image(n) for n in range(4)])
    everything = parse_coverage(ParameterSet(()))
    begun: list[MOC] = []
    wait = threading.Barrier(2)

    def write(found: MOC) -> bytes:
        begun.append(found)
        wait.wait(PATIENCE_S)
        return found.to_string(format="ascii").encode()

    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(service.write, everything, "ascii", write) for _ in range(6)]
        wait.wait(PATIENCE_S)
        answers = {each.result(PATIENCE_S).content for each in asked}
    assert len(begun) == 1 and len(answers) == 1
    stores.datasets.upsert([image(8)])
    after = service.write(everything, "ascii", WRITERS["text/plain"]).content
    assert after not in answers and MOC.from_string(after.decode()) == union_of([0, 1, 2, 3, 8])


def test_restrictions_are_those_of_the_image_search(
    stores: MetadataStores, client: TestClient
) -> None:
    kinds = [
        {},
        {"obs_collection": "other"},
        {"em_min": 4.0e-7, "em_max": 5.5e-7},
        {"calib_level": 3, "dataproduct_subtype": "lsst.template"},
        {"dataproduct_type": "spectrum"},
        {"em_min": None, "em_max": None},
        {"dataproduct_type": "cube"},
        {"s_region": None},
    ]
    stores.datasets.upsert([image(n, **kind) for n, kind in enumerate(kinds)])
    asked: list[dict[str, Any]] = [
        {},
        {"COLLECTION": "survey"},
        {"COLLECTION": ["survey", "other"]},
        {"BAND": "4.5e-7"},
        {"BAND": "-Inf 5e-7"},
        {"BAND": ["5e-7", "7e-7 +Inf"], "CALIB": "2"},
        {"CALIB": ["3", "4"]},
        {"DPSUBTYPE": "lsst.template"},
        {"DPTYPE": "cube"},
    ]
    for each in asked:
        found = client.get("/sia/query", params={**each, "RESPONSEFORMAT": "csv"}).text
        names = [row["obs_publisher_did"] for row in csv.DictReader(io.StringIO(found))]
        wanted = sorted(int(name[-4:]) for name in names if not name.endswith("0007"))
        assert covered(client, **each) == wanted, each


def test_forms_orders_and_conditional_requests(stores: MetadataStores, client: TestClient) -> None:
    stores.datasets.upsert([image(n) for n in range(3)])
    truth = union_of([0, 1, 2])
    as_fits = client.get("/moc")
    assert as_fits.headers["content-type"] == "application/fits"
    with fits.open(io.BytesIO(as_fits.content)) as opened:
        header, uniq = opened[1].header, opened[1].data["UNIQ"]
    assert (header["ORDERING"], header["MOCDIM"], header["COORDSYS"]) == ("NUNIQ", "SPACE", "C")
    assert sorted(uniq) == sorted(truth.uniq_hpx)
    as_json = client.get("/moc", params={"ORDER": 6}, headers={"Accept": "application/json"})
    assert MOC.from_json(as_json.json()) == truth.degrade_to_order(6)
    assert json.loads(as_json.text).keys() == {"6"}
    text = client.get("/moc", headers={"Accept": "text/plain;q=0.9"})
    assert MOC.from_string(text.text) == truth
    assert ask(client, ORDER=13) == truth
    head = client.head("/moc", params={"RESPONSEFORMAT": "json"})
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 0
    assert head.headers["cache-control"] == "public, max-age=60"
    for name, header_of in (("If-None-Match", "etag"), ("If-Modified-Since", "last-modified")):
        kept = client.get("/moc", headers={name: as_fits.headers[header_of]})
        assert (kept.status_code, kept.content) == (304, b"")
    stores.datasets.upsert([image(3)])
    news = client.get("/moc", headers={"If-None-Match": as_fits.headers["etag"]})
    assert news.status_code == 200


def test_tap_has_the_maps_too(stores: MetadataStores, client: TestClient) -> None:
    stores.datasets.upsert([image(1)])
    ask(client)
    rows = CatalogRows(tables=stores.tables, catalogs=stores.catalogs)
    query = "SELECT obs_collection, moc_order, coverage FROM skyloom.coverage"
    ((collection, order, text),) = rows.select(query, what="maps")
    assert (collection, order) == ("survey", union_of([1]).max_order)
    assert MOC.from_string(text) == union_of([1])


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"COLLECTION": "surevy"}, "Parameter COLLECTION: no image is of this collection"),
        ({"ORDER": "14"}, "Parameter ORDER: 0 to 13, got 14"),
        ({"ORDER": "fine"}, "Parameter ORDER: a whole number"),
        ({"ORDER": "-1"}, "Parameter ORDER: at least 0"),
        ({"ORDER": ["1", "2"]}, "Parameter ORDER may be given once"),
        ({"BAND": "red"}, "Parameter BAND: "),
        ({"CALIB": "7"}, "Parameter CALIB: "),
        ({"DPTYPE": "spectrum"}, "Parameter DPTYPE: one of image, cube"),
        ({"POS": "CIRCLE 1 2 3"}, "Parameter POS: coverage is kept by BAND, COLLECTION"),
        ({"RESPONSEFORMAT": "png"}, "Parameter RESPONSEFORMAT: this format is not offered: 'png'"),
    ],
    ids=str,
)
def test_wrong_values_are_told_by_name(
    stores: MetadataStores, client: TestClient, asked: dict[str, Any], told: str
) -> None:
    stores.datasets.upsert([image(1)])
    answer = client.get("/moc", params=asked)
    assert answer.status_code == 400
    assert told in answer.text


def test_a_collection_without_footprints_has_an_empty_map(
    stores: MetadataStores, client: TestClient
) -> None:
    stores.datasets.upsert([image(1, s_region=None), image(2, obs_collection="other")])
    assert ask(client, COLLECTION="survey").empty()
    assert not ask(client).empty()


def test_what_takes_long_is_told_and_goes_on(
    stores: MetadataStores,
    client: TestClient,
    service: CoverageService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stores.datasets.upsert([image(n) for n in range(3)])
    monkeypatch.setattr(service_module, "WAIT_S", 0.0)
    answer = client.get("/moc")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert "0 % of the images are in it" in answer.text
    service.refresh()
    assert covered(client) == [0, 1, 2]
