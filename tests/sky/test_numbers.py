"""Numbers of requests: those of DALI, not all that Python takes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from app.errors import ParameterError, RegionError
from app.sky.dali import parse_interval, parse_pos
from app.sky.numbers import parse_bound, parse_finite, parse_number, parse_whole
from app.sky.stcs import parse_region

ARABIC = "١٢"
FOREIGN = ["1_0", ARABIC, "１２", "1e٢", "", " ", "1 2", "0x10", "--1", "1e", "1,5"]


@pytest.mark.parametrize(
    ("text", "value"), [("12", 12), ("+12", 12), ("-12", -12), (" 12 ", 12), ("012", 12)]
)
def test_whole_numbers(text: str, value: int) -> None:
    assert parse_whole(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("1.5", 1.5), ("-.5", -0.5), ("5.", 5.0), ("+1e3", 1000.0), ("1E-3", 0.001), (" 7 ", 7.0)],
)
def test_real_numbers(text: str, value: float) -> None:
    assert parse_finite(text) == parse_bound(text) == parse_number(text) == value


@pytest.mark.parametrize("text", ["Inf", "+Inf", "-Inf", "inf"])
def test_infinity_is_a_bound_only(text: str) -> None:
    assert math.isinf(parse_bound(text)) and math.isinf(parse_number(text))
    with pytest.raises(ValueError, match=r"[Ii]nf"):
        parse_finite(text)


def test_nan_is_a_value_only() -> None:
    assert math.isnan(parse_number("NaN"))
    for parse in (parse_finite, parse_bound):
        with pytest.raises(ValueError, match="NaN"):
            parse("NaN")


@pytest.mark.parametrize("parse", [parse_whole, parse_number, parse_bound, parse_finite])
@pytest.mark.parametrize("text", FOREIGN)
def test_what_only_python_takes_is_no_number(parse: Callable[[str], float], text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


@pytest.mark.parametrize("text", ["1e999", "-1e400"])
def test_what_a_double_cannot_hold_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match="e"):
        parse_bound(text)


@pytest.mark.parametrize("number", ["1_0", ARABIC])
def test_every_reader_refuses_them(number: str) -> None:
    for parse in (parse_pos, parse_region):
        with pytest.raises(RegionError, match=f"'{number}' is not a number"):
            parse(f"CIRCLE {number} 2 3")
    with pytest.raises(ParameterError, match=f"BAND: '{number} 20' is not a number"):
        parse_interval("BAND", f"{number} 20")
