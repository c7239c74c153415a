"""Boxes of pixels of regions, against what every pixel of the image says for itself."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io.fits import Header
from hypothesis import given, settings
from hypothesis import strategies as st

from app.pixels.grid import Grid
from app.pixels.region_bounds import find_bounds
from app.sky.dali import parse_pos
from app.sky.predicates import contains_point
from app.sky.shapes import Point, Region

SIZE = 60
STEP_DEG = 0.01


def tan_grid(lon: float, lat: float, turn_deg: float, projection: str = "TAN") -> Grid:
    """An image of 60 x 40 pixels of 36 arcsec about a direction."""
    angle = np.radians(turn_deg)
    header = Header()
    header["CTYPE1"], header["CTYPE2"] = f"RA---{projection}", f"DEC--{projection}"
    header["CRVAL1"], header["CRVAL2"] = lon, lat
    header["CRPIX1"], header["CRPIX2"] = 30.5, 20.5
    header["CD1_1"], header["CD1_2"] = -STEP_DEG * np.cos(angle), STEP_DEG * np.sin(angle)
    header["CD2_1"], header["CD2_2"] = STEP_DEG * np.sin(angle), STEP_DEG * np.cos(angle)
    return Grid.from_header(header, (40, SIZE))


def touched_pixels(grid: Grid, region: Region) -> tuple[int, int, int, int] | None:
    """The box of the pixels of which some of 5 x 5 places lie in the region."""
    ny, nx = grid.shape
    y, x = np.mgrid[0 : 5 * ny, 0 : 5 * nx] / 5.0 - 0.4
    lon, lat = grid.pixel_to_sky(x, y)
    inside = np.array(
        [contains_point(region, Point(a, b)) for a, b in zip(lon.flat, lat.flat, strict=True)]
    ).reshape(lon.shape)
    if not inside.any():
        return None
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) // 5 for axis in (1, 0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def square_of(grid: Grid, half_deg: float) -> str:
    """Corners of a square about the middle of an image."""
    half = half_deg / STEP_DEG * np.array([-1, 1])
    corners = grid.pixel_to_sky(29.5 + half[[0, 1, 1, 0]], 19.5 + half[[0, 0, 1, 1]])
    return " ".join(f"{a} {b}" for a, b in zip(*corners, strict=True))


@settings(max_examples=30)
@given(
    turn=st.floats(0, 360),
    lat=st.sampled_from([0.0, -40.0, 75.0]),
    east=st.floats(-0.5, 0.5),
    north=st.floats(-0.4, 0.4),
    size=st.floats(0.02, 0.4),
    kind=st.sampled_from(["circle", "polygon", "range"]),
)
def test_the_box_holds_what_the_pixels_say_and_no_more(
    turn: float, lat: float, east: float, north: float, size: float, kind: str
) -> None:
    grid = tan_grid(0.02, lat, turn)
    middle = np.clip(lat + north, -90, 90)
    lon = (0.02 + east / np.cos(np.radians(min(abs(middle), 89.0)))) % 360.0
    wide = min(size / np.cos(np.radians(min(abs(middle), 89.0))), 60.0)
    low, high = max(middle - size, -90.0), min(middle + size, 90.0)
    left, right = (lon - wide) % 360.0, (lon + wide) % 360.0
    text = {
        "circle": f"CIRCLE {lon} {middle} {size}",
        "polygon": f"POLYGON {square_of(tan_grid(lon, middle, turn + 20.0), size)}",
        "range": f"RANGE {left} {right} {low} {high}",
    }[kind]
    region = parse_pos(text)
    found, sampled = find_bounds(grid, region), touched_pixels(grid, region)
    if sampled is None:
        # Only what lies between the places asked is found: a sliver or a corner of a pixel.
        assert found is None or min(found[1] - found[0], found[3] - found[2]) <= 2
        return
    assert found is not None
    for ours, theirs, sign in zip(found, sampled, (1, -1, 1, -1), strict=True):
        assert 0 <= sign * (theirs - ours) <= 1, (found, sampled)


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("CIRCLE 10 0 5", (0, 40, 0, 60)),  # the image lies within
        ("CIRCLE 10 0 0.0001", (19, 21, 29, 31)),  # on the corner of four pixels
        ("CIRCLE 9.995 0.005 0.0001", (20, 21, 30, 31)),  # within one
        ("CIRCLE 9.995 0.005 0", (20, 21, 30, 31)),
        ("CIRCLE 190 0 1", None),  # behind the projection
        ("CIRCLE 10 1 0.79", None),
        ("CIRCLE 10 1 0.81", (39, 40, 17, 43)),
        ("RANGE -Inf +Inf -Inf +Inf", (0, 40, 0, 60)),
        ("RANGE 0 360 0.1 90", (30, 40, 0, 60)),
        ("RANGE 359 9.9 -90 90", (0, 40, 40, 60)),  # across the meridian
    ],
)
def test_boxes(text: str, box: tuple[int, int, int, int] | None) -> None:
    assert find_bounds(tan_grid(10.0, 0.0, 0.0), parse_pos(text)) == box


@pytest.mark.parametrize("text", ["CIRCLE 77 90 0.1", "RANGE 0 360 89.9 90", "RANGE 0 360 -90 90"])
def test_around_the_pole(text: str) -> None:
    grid = tan_grid(40.0, 89.95, 0.0)
    assert find_bounds(grid, parse_pos(text)) == touched_pixels(grid, parse_pos(text))


def test_a_map_of_the_whole_sky() -> None:
    header = Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---AIT", "DEC--AIT"
    header["CRVAL1"], header["CRVAL2"] = 0.0, 0.0
    header["CRPIX1"], header["CRPIX2"] = 180.5, 90.5
    header["CDELT1"], header["CDELT2"] = -1.0, 1.0
    grid = Grid.from_header(header, (180, 360))
    found = find_bounds(grid, parse_pos("CIRCLE 30 20 3"))
    x, y = grid.sky_to_pixel(30.0, 20.0)
    assert found is not None
    assert found[0] <= y - 2.5 and y + 2.5 <= found[1] and found[1] - found[0] < 12
    assert found[2] <= x - 2.5 and x + 2.5 <= found[3] and found[3] - found[2] < 20
    everything = find_bounds(grid, parse_pos("RANGE 0 360 -90 90"))
    assert everything is not None and everything[3] - everything[2] > 280
