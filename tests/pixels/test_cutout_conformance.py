"""The cutout cases of the shared conformance suite: headers of real images and their bounds.

Four of the eighty do not follow from the headers; their file says of each that astropy's WCS does
not give them either. Three take the box in right ascension and declination about a circle instead
of the circle (the images are rotated): asked for that box, we give their numbers. One reads
wavenumbers in 1/cm as a hundred times larger, and their step, which only CDELT tells, as 1.
"""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from astropy.io.fits import Header

from app.pixels.cube_axes import CubeAxes
from app.pixels.grid import Grid
from app.pixels.region_bounds import find_bounds
from app.recipes.cutout import parse_place
from app.sky.shapes import Circle, Range, Region
from tests.machine import SHARED

FOLDER = SHARED / "conformance" / "soda_cutouts"
FILE = FOLDER / "cases.json"
CASES: list[dict[str, Any]] = json.loads(FILE.read_text()) if FILE.exists() else [{}]
BOXES = {"circle BLAST HDU 0", "circle BLAST HDU 1", "circle OMM"}
WAVENUMBERS = "band SITELLE"

pytestmark = pytest.mark.needs("shared")


def header_of(case: dict[str, Any]) -> Header:
    """Given in the case, or in a file of it."""
    if isinstance(case["header"], dict):
        return Header(case["header"])
    text = (FOLDER / case["header"]).read_text(encoding="latin-1")
    lines = text.splitlines()
    if len(lines) == 1:
        return Header.fromstring(text)
    return Header.fromstring("\n".join(line[:80].ljust(80) for line in lines), sep="\n")


def box_about(circle: Region) -> Range:
    """The box in longitude and latitude that holds a circle."""
    assert isinstance(circle, Circle)
    half = math.degrees(
        math.asin(
            math.sin(math.radians(circle.radius_deg)) / math.cos(math.radians(circle.lat_deg))
        )
    )
    return Range(
        circle.lon_deg - half,
        circle.lon_deg + half,
        circle.lat_deg - circle.radius_deg,
        circle.lat_deg + circle.radius_deg,
    )


def found_spans(case: dict[str, Any]) -> list[int] | None:
    """First and last pixel of each FITS axis, from 1; None without overlap."""
    header, name = header_of(case), case["param"]
    shape = tuple(header[f"NAXIS{axis}"] for axis in range(header.get("NAXIS", 0), 0, -1))
    spans = [(0, size) for size in shape]
    if name in ("CIRCLE", "POLYGON"):
        if not shape:
            return None
        region = parse_place(name, case["value"]).region
        assert region is not None
        asked = box_about(region) if case["name"] in BOXES else region
        bounds = find_bounds(Grid.from_header(header, shape), asked)
        if bounds is None:
            return None
        spans[-2:] = [bounds[:2], bounds[2:]]
    else:
        axes = CubeAxes.of(header, shape)
        axis, span = other_span(axes, name, case["value"])
        if span is None:
            return None
        spans[axis] = span
    return [pixel for first, stop in reversed(spans) for pixel in (first + 1, stop)]


def other_span(axes: CubeAxes, name: str, value: Any) -> tuple[int, tuple[int, int] | None]:
    """Axis and channels of a band, a time or polarisation states."""
    if name == "POL":
        axis, span = axes.pol_axis, axes.pol_span(value)
    else:
        low, high = map(float, value.split())
        if name == "BAND":
            axis, span = axes.band_axis, axes.band_span((low, high))
        else:
            axis, span = axes.time_axis, axes.time_span((low, high))
    assert axis is not None
    return axis, span


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.get("name")))
def test_bounds(case: dict[str, Any]) -> None:
    found, expected = found_spans(case), case["expect_pixels"]
    if case["name"] == WAVENUMBERS:
        assert found is None
    elif expected == "overlap":
        assert found is not None
    elif expected is None:
        assert found is None
    else:
        assert found == pytest.approx(expected, abs=case["tolerance_pixels"])


def test_wavenumbers_by_the_step_of_the_axis() -> None:
    if not CASES[0]:
        pytest.fail("the folder of the cases is there, but not their file")
    (case,) = (each for each in CASES if each["name"] == WAVENUMBERS)
    header = header_of(case)
    axes = CubeAxes.of(header, (113, 2064, 2048))
    first, last = (18524.7593906 + 27.3226539684 * channel for channel in (59, 104))
    assert axes.band_span((0.01 / last, 0.01 / first)) == (59, 105)
