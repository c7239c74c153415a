"""Triplets as their users ask for them: astropy by address, pyvo from the links of an image."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import pyvo
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from tests.flows.service import Service
from tests.flows.test_soda_clients import PLACE, QUERY


@pytest.fixture
def row(service: Service) -> Any:
    """An image of the place."""
    return pyvo.dal.TAPService(f"{service.url}/tap").search(QUERY)[0]


def test_astropy_opens_triplets_by_their_address(service: Service) -> None:
    """The stamps of all epochs show the same place, and sources there at the same pixels as their
    WCS says."""
    asked = f"POS={quote('{} {}'.format(*PLACE))}&BAND=r&SIZE=20arcsec&PLANES=image"
    with fits.open(f"{service.url}/stamps?{asked}") as found:
        epochs = Table(found["EPOCHS"].data)
        assert len(epochs) >= 3 and np.all(np.diff(epochs["mjd"]) > 0)
        for each in epochs:
            unit = found["SCIENCE", each["epoch"]]
            x, y = (float(each) for each in WCS(unit.header).all_world2pix(*PLACE, 1))
            assert (unit.header["POS_X"], unit.header["POS_Y"]) == pytest.approx((x, y), abs=1e-3)
            scale = proj_plane_pixel_scales(WCS(unit.header))[0] * 3600
            assert unit.shape[0] == unit.shape[1] == pytest.approx(20 / scale, abs=1)
            assert unit.header["OBSPUBID"] == each["science_did"]


def test_pyvo_finds_them_in_the_links_of_an_image(service: Service, row: Any) -> None:
    links = row.getdatalink()
    described = links.get_adhocservice_by_id("stamps")
    (address,) = [p.value for p in described.params if p.name == "accessURL"]
    assert address == f"{service.url}/stamps"
    (example,) = [p.value for p in described.params if p.name == "exampleURL"]
    with fits.open(example) as found:
        assert row["obs_publisher_did"] in found["EPOCHS"].data["science_did"]
