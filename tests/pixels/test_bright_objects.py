"""Discs and boxes in masks, against the angles between the objects and every pixel."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from app.pixels.bright_objects import mark_bright_objects
from app.pixels.bright_shapes import Box, Disc
from app.pixels.image import MaskedImage, bits

SHAPE = (240, 300)
BRIGHT = bits("BRIGHT_OBJECT")


def blank() -> MaskedImage:
    one = np.ones(SHAPE, dtype=np.float32)
    return MaskedImage(one, one, np.full(SHAPE, bits("SAT"), np.int32))


def marked(grid, *objects):
    done = mark_bright_objects(blank(), grid, objects)
    assert ((done.mask & bits("SAT")) != 0).all()
    return (done.mask & BRIGHT) != 0


def offsets_arcsec(grid, each):
    """(east, north) of every pixel from the middle of an object, by astropy."""
    y, x = np.indices(SHAPE)
    lon, lat = grid.pixel_to_sky(x, y)
    middle = SkyCoord(each.lon_deg * u.deg, each.lat_deg * u.deg)
    there = SkyCoord(lon * u.deg, lat * u.deg)
    return [part.to_value(u.arcsec) for part in middle.spherical_offsets_to(there)]


GRIDS = [
    {},
    {"rotation_deg": 35.0},
    {"rotation_deg": -120.0, "flipped": True},
    {"lat_deg": 89.999, "rotation_deg": 10.0},
    {"lon_deg": 0.0, "lat_deg": -60.0},
]


@pytest.mark.parametrize("options", GRIDS)
@pytest.mark.parametrize("angle", [0.0, 30.0, -75.0, 200.0])
def test_a_box_is_turned_from_north_through_east(tan_grid, options, angle):
    grid = tan_grid(SHAPE, **options)
    lon, lat = (float(v) for v in grid.pixel_to_sky(130.0, 110.0))
    box = Box(lon, lat, 6.0 / 3600, 24.0 / 3600, angle)
    east, north = offsets_arcsec(grid, box)
    turn = np.radians(angle)
    along = east * np.sin(turn) + north * np.cos(turn)
    across = east * np.cos(turn) - north * np.sin(turn)
    inside, found = (np.abs(along) <= 12.0) & (np.abs(across) <= 3.0), marked(grid, box)
    near = (np.abs(np.abs(along) - 12.0) < 0.01) | (np.abs(np.abs(across) - 3.0) < 0.01)
    np.testing.assert_array_equal(found[~near], inside[~near])
    assert found.sum() == pytest.approx(6.0 * 24.0 / 0.04, rel=0.03)


@pytest.mark.parametrize("options", GRIDS)
def test_a_disc_holds_what_is_nearer_than_its_radius(tan_grid, options):
    grid = tan_grid(SHAPE, **options)
    lon, lat = (float(v) for v in grid.pixel_to_sky(20.0, 200.0))
    disc = Disc(lon, lat, 8.0 / 3600)
    apart = np.hypot(*offsets_arcsec(grid, disc))
    found, sure = marked(grid, disc), np.abs(apart - 8.0) > 0.01
    np.testing.assert_array_equal(found[sure], (apart <= 8.0)[sure])
    assert found[:, 0].any(), "cut by the border"


def test_objects_outside_mark_nothing_and_several_are_joined(tan_grid):
    grid = tan_grid(SHAPE)
    lon, lat = (float(v) for v in grid.pixel_to_sky(150.0, 120.0))
    far = (Disc(lon + 180.0, -lat, 1.0), Box(lon, lat + 1.0, 0.1, 0.1))
    assert not marked(grid, *far).any()
    both = Disc(lon, lat, 5.0 / 3600), Box(lon, lat, 1.0 / 3600, 30.0 / 3600, 90.0)
    single = [marked(grid, each) for each in both]
    np.testing.assert_array_equal(marked(grid, *far, *both), single[0] | single[1])
    assert (single[1] & ~single[0]).any() and (single[0] & ~single[1]).any()
    image = blank()
    assert mark_bright_objects(image, grid, ()) is image
