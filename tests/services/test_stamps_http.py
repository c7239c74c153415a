"""Triplets over HTTP: the very pixels of the files, what was subtracted, and what is wrong."""

from __future__ import annotations

import html
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from astropy.nddata import Cutout2D
from astropy.table import Table
from astropy.wcs import WCS
from numpy.testing import assert_array_equal
from starlette.testclient import TestClient

from app.pixels.grid import Grid
from app.pixels.image import bits
from app.recipes.recipe import ImageRef
from app.schema.rows import virtual_id
from app.services.stamp_table import FIELDS
from app.workers.embedded import EmbeddedEngine
from tests.services.builds_fixture import Field, open_field, standard_field
from tests.services.survey import (
    CENTRE,
    SCALE_ARCSEC,
    TRANSIENT,
    ZERO_POINT_MAG,
    Exposure,
    standard_exposures,
)
from tests.services.test_builds_http import DIFFERENCE, serving

PLACE = f"{TRANSIENT[0]!r} {TRANSIENT[1]!r}"
SCIENCE = standard_exposures()[4]
LOST = Exposure(visit=21, band="y", mjd=60021)
SIDE_PX = 41
SIZE = repr(SIDE_PX * SCALE_ARCSEC / 3600)


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    """The standard exposures and one whose file is gone."""
    engine = EmbeddedEngine(workers=1, data_dir=tmp_path_factory.mktemp("engine"))
    with open_field(tmp_path_factory.mktemp("stamps"), engine) as opened:
        standard_field(opened)
        opened.add(LOST)
        opened.image(LOST).unlink()
        opened.listing.update()
        yield opened
    engine.close()


@pytest.fixture(scope="module")
def client(field: Field) -> Iterator[TestClient]:
    """A client of it, once the difference of the last exposure in i is built."""
    with serving(field) as made:
        built = made.get(f"{DIFFERENCE}/sync", params={"ID": SCIENCE.dataset_id})
        assert built.status_code == 200
        yield made


def triplets(client: TestClient, **asked: Any) -> fits.HDUList:
    """The file of triplets at the transient, or where POS says."""
    answer = client.get("/stamps", params={"POS": PLACE, "SIZE": SIZE, **asked})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/fits"
    found = fits.open(io.BytesIO(answer.content), checksum=True)
    found.verify("exception")
    return found


def expected(path: Path | str, hdu: int, place: tuple[float, float] = TRANSIENT) -> Any:
    """What astropy cuts out of a file."""
    with fits.open(path) as file:
        wcs = WCS(file[hdu].header)
        where = wcs.all_world2pix([place], 0)[0]
        return Cutout2D(
            file[hdu].data, tuple(where), SIDE_PX, mode="partial", fill_value=np.nan
        ).data


def difference_path(field: Field, exposure: Exposure = SCIENCE) -> str:
    """The file of the default difference of an exposure."""
    return field.stores.datasets.get(str(virtual_id(exposure.dataset_id))).file_path


def test_pixels_are_those_of_the_files(client: TestClient, field: Field) -> None:
    found = triplets(client, ID=SCIENCE.dataset_id)
    image = field.image(SCIENCE)
    assert_array_equal(found["SCIENCE", 1].data, expected(image, 1))
    assert_array_equal(found["SCIENCE_MASK", 1].data, expected(image, 2))
    assert_array_equal(found["SCIENCE_VARIANCE", 1].data, expected(image, 3))
    made = difference_path(field)
    assert_array_equal(found["DIFFERENCE", 1].data, expected(made, 1))
    assert_array_equal(found["DIFFERENCE_MASK", 1].data, expected(made, 2))
    assert_array_equal(found["DIFFERENCE_VARIANCE", 1].data, expected(made, 3))


def test_each_stamp_tells_where_it_is_and_what_it_shows(client: TestClient) -> None:
    found = triplets(client, ID=SCIENCE.dataset_id)
    for name in ("SCIENCE", "TEMPLATE", "DIFFERENCE"):
        header = found[name, 1].header
        x, y = (float(each) for each in WCS(header).all_world2pix([TRANSIENT], 1)[0])
        assert (header["POS_X"], header["POS_Y"]) == pytest.approx((x, y), abs=1e-6)
        assert max(abs(x - 21), abs(y - 21)) <= 0.5
        assert header["BAND"] == "i" and header["MAGZERO"] == ZERO_POINT_MAG
        assert header["MJD-AVG"] == pytest.approx(SCIENCE.mjd + 15 / 86400)
        assert header["FWHM"] == pytest.approx(SCIENCE.fwhm_px * SCALE_ARCSEC, rel=0.1)
        assert header["BUNIT"] == "adu"
    assert found["SCIENCE", 1].header["OBSPUBID"] == SCIENCE.dataset_id
    assert found["DIFFERENCE_MASK", 1].header["MP_NO_DATA"] == 8


def test_the_template_is_what_was_subtracted(client: TestClient) -> None:
    found = triplets(client, ID=SCIENCE.dataset_id)
    template = found["TEMPLATE", 1]
    assert template.header["TMPLFROM"] == "subtracted"
    assert_array_equal(template.data, found["SCIENCE", 1].data - found["DIFFERENCE", 1].data)
    assert "OBSPUBID" not in template.header
    assert ("TEMPLATE_VARIANCE", 1) not in found
