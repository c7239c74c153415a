"""POS shapes and intervals against the cases of the conformance collection."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from app.errors import ParameterError, RegionError
from app.sky.dali import format_shape, parse_interval, parse_pos
from app.sky.predicates import area_deg2
from app.sky.shapes import Circle, Point, Polygon, Range, Region
from tests.machine import SHARED

FILE = SHARED / "conformance/protocol/param_values.json"
CASES: list[dict[str, Any]] = json.loads(FILE.read_text()) if FILE.exists() else []
INTERVALS = {"BAND", "TIME", "FOV", "SPATRES", "EXPTIME", "TIMERES", "SPECRP"}


def _shape(meaning: list[Any]) -> Region:
    kind, *numbers = meaning
    if kind == "circle":
        return Circle(*numbers)
    if kind == "range":
        return Range(*numbers)
    return Polygon(tuple(zip(numbers[0::2], numbers[1::2], strict=True)))


def _cases(params: set[str]) -> list[dict[str, Any]]:
    """The cases with one value; a single empty one, which is not run, without the folder."""
    return [c for c in CASES if c["param"] in params and isinstance(c["value"], str)] or [{}]


def _title(case: dict[str, Any]) -> str:
    return f"{case.get('param')}={case.get('value')}"


@pytest.mark.needs("shared")
@pytest.mark.parametrize("case", _cases({"POS"}), ids=_title)
def test_pos(case: dict[str, Any]) -> None:
    if case["valid"]:
        assert parse_pos(case["value"]) == _shape(case["meaning"])
    else:
        with pytest.raises(RegionError):
            parse_pos(case["value"])


@pytest.mark.needs("shared")
@pytest.mark.parametrize("case", _cases(INTERVALS), ids=_title)
def test_interval(case: dict[str, Any]) -> None:
    if case["valid"]:
        expected = tuple(float(x) for x in case["meaning"])
        assert parse_interval(case["param"], case["value"]) == expected
    else:
        with pytest.raises(ParameterError, match=case["param"]):
            parse_interval(case["param"], case["value"])


@pytest.mark.needs("shared")
@pytest.mark.parametrize("case", _cases({"POLYGON"}), ids=_title)
def test_polygon_areas(case: dict[str, Any]) -> None:
    area = float(case["meaning"].split()[1])
    assert area_deg2(parse_pos("POLYGON " + case["value"])) == pytest.approx(area, rel=1e-3)


@pytest.mark.needs("shared")
def test_every_case_is_used() -> None:
    assert len(_cases({"POS"})) >= 20
    several = next(c for c in CASES if isinstance(c["value"], list))
    assert [type(parse_pos(text)) for text in several["value"]] == [Circle, Range]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected CIRCLE"),
        ("CIRCLE 1 2 -3", "radius"),
        ("CIRCLE 1 95 3", "latitude"),
        ("CIRCLE 1000 5 3", "longitude"),
        ("CIRCLE 1 inf 3", "finite"),
        ("CIRCLE nan 2 3", "NaN is not a coordinate"),
        ("POLYGON 0 0 1 1", "3 vertices"),
        ("POLYGON 0 0 2 2 2 0 0 2", "cross"),
        ("POLYGON 0 0 120 0 240 0", "hemisphere"),
        ("POLYGON " + "1 2 " * 2000, "1000 vertices"),
    ],
)
def test_faults_are_named(text: str, reason: str) -> None:
    with pytest.raises(RegionError, match=reason):
        parse_pos(text)


@pytest.mark.parametrize("text", ["", "1 2 3", "2 1", "nan", "+Inf", "x"])
def test_bad_intervals(text: str) -> None:
    with pytest.raises(ParameterError, match="BAND"):
        parse_interval("BAND", text)


def test_open_intervals() -> None:
    assert parse_interval("TIME", "-inf 5") == (-math.inf, 5.0)


def test_dali_text() -> None:
    assert format_shape(Point(10.0, -0.0)) == "10 0"
    assert format_shape(Circle(10.5, 1e-7, 0.25)) == "10.5 0.0000001 0.25"
    assert format_shape(Polygon(((1.0, 2.0), (3.0, 4.0), (5.0, 6.0)))) == "1 2 3 4 5 6"
