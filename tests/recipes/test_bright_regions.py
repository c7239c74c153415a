"""Region files of bright objects, as Rubin keeps them and as DS9 writes them."""

from __future__ import annotations

import pytest

from app.errors import LimitError, ParameterError
from app.pixels.bright_shapes import Box, Disc
from app.recipes.bright_regions import parse_bright_regions
from app.recipes.request import parse_difference, parse_template

RUBIN = """# BRIGHT STAR CATALOG
# TRACT: 9813
# PATCH: 4,4
# FILTER: HSC-I

wcs; fk5

circle(150.01,2.21,0.003d) # ID: 1, mag: 12.34
box(150.02, -2.22, 0.002, 0.01, 0.000000) # ID: 2
"""
DS9 = """# Region file format: DS9 version 4.1
global color=green dashlist=8 3 width=1
icrs
circle(10:00:02.4,+2:12:36,10.5\") # color=red
BOX(150.02d, -0:30:00, 1.5', 4\", 30); circle 1 2 3
"""


def read(text: str) -> tuple[Disc | Box, ...]:
    return parse_bright_regions("BRIGHT_REGIONS", text)


def test_files_of_rubin() -> None:
    disc, box = read(RUBIN)
    assert isinstance(disc, Disc) and isinstance(box, Box)
    assert (disc.lon_deg, disc.lat_deg) == pytest.approx((150.01, 2.21), abs=3e-5)
    assert disc.radius_deg == 0.003
    assert (box.width_deg, box.height_deg, box.angle_deg) == (0.002, 0.01, 0.0)


def test_sexagesimal_positions_and_units() -> None:
    disc, box = read(DS9.partition("; circle")[0])
    assert (disc.lon_deg, disc.lat_deg) == pytest.approx((150.01, 2.21))
    assert isinstance(disc, Disc) and disc.radius_deg == pytest.approx(10.5 / 3600)
    assert isinstance(box, Box) and (box.lon_deg, box.lat_deg) == (150.02, -0.5)
    assert (box.width_deg, box.height_deg) == pytest.approx((1.5 / 60, 4 / 3600))
    assert box.angle_deg == 30.0


def test_both_builds_take_them() -> None:
    given = [("ID", "ivo://a/b?c"), ("bright_regions", RUBIN), ("BRIGHT_OBJECTS", "my.stars")]
    for request in (parse_template(given), parse_difference(given)):
        assert request.bright.regions == read(RUBIN) and request.bright.table == "my.stars"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (DS9, ["line 5", "circle 1 2 3", "box(ra, dec, width, height, angle)"]),
        ('circle(1,2,3")', ["line 1", "frame", "fk5"]),
        ('galactic\ncircle(1,2,3")', ["line 1", "galactic"]),
        ("fk5\nellipse(1,2,3,4,5)", ["line 2", "ellipse"]),
        ("fk5\n\ncircle(1,2)", ["line 3", "circle(1,2)"]),
        ("fk5;circle(1,2,0)", ["line 1", "no size above 0"]),
        ("fk5;circle(1,2,-3d)", ["no size above 0"]),
        ("fk5;box(1,2,1d,nan,0)", ["'nan' is no number"]),
        ("fk5;circle(1,95,1d)", ["no direction"]),
        ("fk5;circle(1:70:00,5,1d)", ["hh:mm:ss"]),
        ("fk5;circle(1,5,3)", ["larger than 2 deg"]),
        ("fk5;-circle(1,5,1)", ["line 1", "-circle"]),
    ],
)
def test_faults_are_told_with_their_line(text: str, words: list[str]) -> None:
    with pytest.raises(ParameterError) as fault:
        read(text)
    assert fault.value.args[0] == "BRIGHT_REGIONS"
    assert all(word in str(fault.value) for word in words)


def test_too_many_are_refused() -> None:
    with pytest.raises(LimitError, match="10000"):
        read("icrs\n" + "circle(1,2,1d)\n" * 10_001)
