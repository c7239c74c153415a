"""Rotations to ICRS against astropy."""

from __future__ import annotations

import pytest
from astropy import units as u
from astropy.coordinates import FK5, Galactic, SkyCoord

from app.sky.frames import find_icrs


@pytest.mark.parametrize("lon", [0.0, 33.0, 180.0, 359.0])
@pytest.mark.parametrize("lat", [-90.0, -20.0, 0.0, 75.0])
@pytest.mark.parametrize(
    ("name", "frame", "limit"), [("GALACTIC", Galactic, 0.03), ("FK5", FK5, 1e-5)]
)
def test_rotation(name: str, frame: type, limit: float, lon: float, lat: float) -> None:
    """astropy takes the galactic pole by way of FK5, 20 mas from the definition in ICRS."""
    found = find_icrs(name, lon, lat)
    assert found is not None
    ours = SkyCoord(found[0], found[1], unit="deg")
    theirs = SkyCoord(lon * u.deg, lat * u.deg, frame=frame()).icrs
    assert ours.separation(theirs).arcsec < limit


def test_icrs_is_kept_and_others_are_unknown() -> None:
    assert find_icrs("", -10.0, 5.0) == (350.0, 5.0)
    assert find_icrs("ECLIPTIC", 1.0, 2.0) is None
