"""Bright objects of published tables and of region files, in templates and differences."""

from __future__ import annotations

import html
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion
from starlette.testclient import TestClient

from app.services.publishing.service import PublishRequest, PublishService
from app.stores.tables.published import PublishedStore
from app.workers.embedded import EmbeddedEngine
from tests.services.builds_fixture import Field, now, open_field, standard_field
from tests.services.survey import CENTRE, standard_exposures
from tests.services.test_builds_http import DIFFERENCE, TEMPLATE, serving

POSITION = f"{CENTRE[0]} {CENTRE[1]}"
SCIENCE = standard_exposures()[4]
ASKED = {"POS": POSITION, "BAND": "i", "TIME": "60000 60050"}
STEP = 10.0 / 3600.0
"""Degrees between the objects of the field."""
MAGNITUDE = 15.0
"""Of a star whose disc has a radius of 1630 x 1.396^-15 = 10.95 arcsec."""


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory, engine: EmbeddedEngine) -> Iterator[Field]:
    """The standard exposures, published."""
    with open_field(tmp_path_factory.mktemp("field"), engine) as opened:
        standard_field(opened)
        yield opened


@pytest.fixture(scope="module")
def client(field: Field) -> Iterator[TestClient]:
    with serving(field) as made:
        yield made


def publish(
    field: Field, folder: Path, name: str, **columns: tuple[list[float | None], str]
) -> str:
    """A table of these values and units; None is no value."""
    table = Table()
    for column, (values, unit) in columns.items():
        known = [np.nan if value is None else value for value in values]
        table[column] = MaskedColumn(known, mask=np.isnan(known), unit=unit or None)
    path = folder / f"{name}.ecsv"
    table.write(path)
    tables = PublishedStore(engine=field.stores.engine)
    service = PublishService(tables=tables, catalogs=field.stores.catalogs, clock=now)
    service.publish(PublishRequest(path=path, name=f"mine.{name}"), progress=lambda *_: None)
    field.stores.catalogs.forget()
    return f"mine.{name}"


def build(client: TestClient, where: str, **parameters: str) -> fits.HDUList:
    answer = client.post(f"{where}/sync", data=parameters)
    assert answer.status_code == 200, answer.text
    return fits.open(io.BytesIO(answer.content))


def bright(hdus: fits.HDUList) -> NDArray[np.bool_]:
    bit = 1 << hdus["MASK"].header["MP_BRIGHT_OBJECT"]
    marked: NDArray[np.bool_] = (hdus["MASK"].data & bit) != 0
    return marked


def offsets_arcsec(hdus: fits.HDUList, lon: float, lat: float) -> list[NDArray[np.float64]]:
    """East and north of a direction, of every pixel."""
    y, x = np.indices(hdus["IMAGE"].data.shape)
    there = SkyCoord(*WCS(hdus["IMAGE"].header).all_pix2world(x, y, 0), unit="deg")
    middle = SkyCoord(lon, lat, unit="deg")
    return [part.to_value(u.arcsec) for part in middle.spherical_offsets_to(there)]


def test_discs_boxes_and_magnitudes_of_a_table_are_marked(
    client: TestClient, field: Field, tmp_path: Path
) -> None:
    lon, lat = CENTRE
    name = publish(
        field,
        tmp_path,
        "stars",
        ra=([lon, lon, lon, lon, 10.0, lon], "deg"),
        dec=([lat, lat + STEP, lat - STEP, lat, 80.0, lat], "deg"),
        radius=([4.0, None, None, None, 60.0, None], "arcsec"),
        width=([None, 1.0, None, None, None, None], "arcmin"),
        height=([None, 0.05, None, None, None, None], "arcmin"),
        angle=([None, 20.0, None, None, None, None], "deg"),
        mag=([None, None, MAGNITUDE, 16.5, None, None], "mag"),
    )
    plain = build(client, TEMPLATE, **ASKED)
    marked = build(client, TEMPLATE, **ASKED, BRIGHT_OBJECTS=name)
    assert marked[0].header["OBSPUBID"] != plain[0].header["OBSPUBID"]
    np.testing.assert_array_equal(marked["IMAGE"].data, plain["IMAGE"].data)
    bit = 1 << marked["MASK"].header["MP_BRIGHT_OBJECT"]
    np.testing.assert_array_equal(marked["MASK"].data & ~bit, plain["MASK"].data)
    disc, star = (np.hypot(*offsets_arcsec(marked, lon, y)) for y in (lat, lat - STEP))
    east, north = offsets_arcsec(marked, lon, lat + STEP)
    turn = np.radians(20.0)
    across = np.abs(east * np.cos(turn) - north * np.sin(turn))
    along = np.abs(east * np.sin(turn) + north * np.cos(turn))
    in_box = (across <= 30.0) & (along <= 1.5)
    expected = (disc <= 4.0) | in_box | (star <= 1630.0 * 1.396**-MAGNITUDE)
    assert (bright(marked) != expected).sum() <= 4
    assert in_box.sum() > 100 and expected.sum() < 0.5 * expected.size


def test_a_region_file_marks_the_same(client: TestClient, field: Field, tmp_path: Path) -> None:
    lon, lat = CENTRE
    name = publish(
        field, tmp_path, "one", ra=([lon], "deg"), dec=([lat], "deg"), radius=([6.0], "arcsec")
    )
    regions = f'icrs\ncircle({lon!r}, {lat!r}, 6") # ID: 1, mag: 9.1'
    told = (
        build(client, TEMPLATE, **ASKED, **asked)
        for asked in ({"BRIGHT_OBJECTS": name}, {"BRIGHT_REGIONS": regions})
    )
    table, text = (bright(hdus) for hdus in told)
    np.testing.assert_array_equal(table, text)
    assert table.sum() > 100
    box = f'icrs\nbox({lon!r}, {lat!r}, 2", 30", 45)'
    both = build(client, TEMPLATE, **ASKED, BRIGHT_OBJECTS=name, BRIGHT_REGIONS=box)
    assert (bright(both) & table).sum() == table.sum() < bright(both).sum()


def test_merged_templates_and_differences_take_the_marks_over(client: TestClient) -> None:
    regions = f'icrs\ncircle({CENTRE[0]!r}, {CENTRE[1]!r}, 6")'
    build(client, TEMPLATE, **ASKED, BRIGHT_REGIONS=regions, STATISTIC="mean")
    asked = {"ID": SCIENCE.dataset_id, "INPUTS": "coadds"}
    for where, reach_px in ((TEMPLATE, 4), (DIFFERENCE, 25)):
        hdus = build(client, where, **asked)
        inside = np.hypot(*offsets_arcsec(hdus, *CENTRE)) <= 6.0
        found = bright(hdus)
        data = np.isfinite(hdus["IMAGE"].data)
        assert found[inside & data].all()
        around = binary_dilation(inside, np.ones((3, 3)), iterations=reach_px)
        assert not found[~around].any()


def test_a_difference_marks_what_it_is_asked_to(client: TestClient) -> None:
    asked = {"ID": SCIENCE.dataset_id, "TIME": "60000 60050"}
    regions = f'icrs;box({CENTRE[0]!r}, {CENTRE[1]!r}, 4", 12", -30)'
    plain, marked = (
        build(client, DIFFERENCE, **asked, **more) for more in ({}, {"BRIGHT_REGIONS": regions})
    )
    east, north = offsets_arcsec(marked, *CENTRE)
    turn = np.radians(-30.0)
    inside = np.abs(east * np.cos(turn) - north * np.sin(turn)) <= 2.0
    inside &= np.abs(east * np.sin(turn) + north * np.cos(turn)) <= 6.0
    found = bright(marked)
    assert not bright(plain).any()
    assert found[binary_erosion(inside)].all() and not found[~binary_dilation(inside)].any()
    np.testing.assert_array_equal(plain["IMAGE"].data, marked["IMAGE"].data)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({}, "needs columns of real numbers ra, dec and radius, or width and height"),
        ({"radius": (6.0, "mag")}, "the radius of mine.bad0001 is in 'mag'"),
        ({"width": (6.0, "deg")}, "needs columns"),
        ({"radius": (6.0, "arcsec"), "width": (6.0, "deg")}, "one of width and height, not both"),
        ({"radius": (-6.0, "arcsec")}, "radius -6.0; sizes are above 0"),
        ({"radius": (3.0, "deg")}, "reach 2 deg from their middle at most"),
        ({"width": (0.0, "deg"), "height": (1.0, "deg")}, "sizes are above 0"),
        (
            {"width": (1.0, "deg"), "height": (1.0, "deg"), "angle": (1.0, "rad")},
            "the angle of mine.bad0007 is in 'rad', not in deg",
        ),
    ],
)
def test_tables_that_tell_no_sizes_are_refused(
    client: TestClient,
    field: Field,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    columns: dict[str, tuple[float, str]],
    words: str,
) -> None:
    number = int(request.node.callspec.id.partition("-")[0].removeprefix("columns"))
    given = {name: ([value], unit) for name, (value, unit) in columns.items()}
    name = publish(
        field,
        tmp_path,
        f"bad{number:04}",
        ra=([CENTRE[0]], "deg"),
        dec=([CENTRE[1]], "deg"),
        **given,
    )
    _refused(client, "BRIGHT_OBJECTS", name, words)


@pytest.mark.parametrize(
    ("parameter", "value", "words"),
    [
        ("BRIGHT_OBJECTS", "no.such", "there is no table 'no.such'"),
        ("BRIGHT_OBJECTS", "ivoa.ObsCore", "needs columns of real numbers ra, dec"),
        ("BRIGHT_REGIONS", "fk5\nellipse(1,2,3,4,5)", "line 2: 'ellipse(1,2,3,4,5)' is not circle"),
    ],
)
def test_what_cannot_be_read_is_refused(
    client: TestClient, parameter: str, value: str, words: str
) -> None:
    _refused(client, parameter, value, words)


def _refused(client: TestClient, parameter: str, value: str, words: str) -> None:
    answer = client.post(f"{TEMPLATE}/sync", data={**ASKED, "PLAN": "true", parameter: value})
    assert answer.status_code == 400
    assert parameter in answer.text and words in html.unescape(answer.text)
