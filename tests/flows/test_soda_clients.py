"""Cutouts as their users ask for them: pyvo from rows of a query, astropy by address."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import quote

import astropy.units as u
import numpy as np
import pytest
import pyvo
from astropy.io import fits
from astropy.wcs import WCS

from tests.flows.service import Service

PLACE = (61.98, -37.07)
QUERY = (
    "SELECT TOP 3 * FROM ivoa.ObsCore WHERE calib_level = 2 AND build_state IS NULL AND "
    f"CONTAINS(POINT('ICRS', {PLACE[0]}, {PLACE[1]}), s_region) = 1"
)


@pytest.fixture
def row(service: Service) -> Any:
    """An image of the place."""
    return pyvo.dal.TAPService(f"{service.url}/tap").search(QUERY)[0]


def test_pyvo_processes_a_row_of_a_query(row: Any) -> None:
    place = float(row["s_ra"]), float(row["s_dec"])
    circle = [*place, 0.005] * u.deg
    with fits.open(io.BytesIO(row.processed(circle=circle).read())) as found:
        assert found[0].header["OBSPUBID"] == row["obs_publisher_did"]
        image = found["IMAGE"]
        x, y = WCS(image.header).all_world2pix(*place, 0)
        ny, nx = image.shape
        assert (float(x), float(y)) == (pytest.approx(nx / 2, abs=1), pytest.approx(ny / 2, abs=1))
        assert {"MASK", "VARIANCE"} <= {unit.name for unit in found}


def test_pyvo_reads_what_the_descriptor_says(row: Any) -> None:
    links = row.getdatalink()
    cutouts = [link for link in links if link["semantics"] == "#cutout"]
    assert [link["local_semantics"] for link in cutouts] == ["soda-sync", "soda-async"]
    service = links.get_adhocservice_by_ivoid("ivo://ivoa.net/std/SODA#sync-1")
    inputs = {param.name: param for param in service.groups[0].entries}
    lon, lat, radius = inputs["CIRCLE"].values.max
    assert np.hypot(lon - row["s_ra"], lat - row["s_dec"]) < 0.01 and 0 < radius < 1
    assert list(inputs["BAND"].values.max) == [row["em_min"], row["em_max"]]
    assert list(inputs["TIME"].values.max) == [row["t_min"], row["t_max"]]
    assert {name for _, name in inputs["EXT"].values.options} >= {"image", "mask", "variance"}
    (example,) = [param.value for param in service.params if param.name == "exampleURL"]
    with fits.open(example) as found:
        assert found["IMAGE"].data.size > 100


def test_astropy_opens_a_cutout_by_its_address(service: Service, row: Any) -> None:
    did = quote(str(row["obs_publisher_did"]), safe="")
    place = quote(f"{PLACE[0]} {PLACE[1]} 0.002")
    with fits.open(f"{service.url}/soda/sync?ID={did}&CIRCLE={place}&EXT=image") as found:
        assert [unit.name for unit in found] == ["PRIMARY", "IMAGE"]
