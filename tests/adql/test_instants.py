"""Instants written as text, whichever way the store writes them."""

from __future__ import annotations

import itertools
import operator

import pytest

from app.adql.instant_tests import compare_instants
from app.adql.instants import to_mjd, to_timestamp
from app.adql.typed import Column, Comparison, Condition, InList, Junction, Literal, Not
from app.schema.catalog import CATALOG

TABLE = CATALOG.by_name()["ivoa.obscore"]
FIELD = TABLE.find_field("obs_release_date")
OPERATORS = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
STORED = [
    f"2024-01-0{day}{rest}"
    for day in (1, 2)
    for rest in (
        *("", "T00:00:00", "T00:00:00Z", "T00:00:00.0Z", "T00:00:00.000", "T00:00:00.000000"),
        *("T00:00:00.5", "T00:00:00.5Z", "T00:00:00.50Z", "T00:00:00.500", "T00:00:00.55Z"),
        *("T00:00:00.55", "T00:00:00.499999", "T00:00:00.500001Z", "T00:00:01", "T00:00:01Z"),
        *("T23:59:59.999", "T12:00:00Z"),
    )
]


def holds(test: Condition, stored: str) -> bool:
    """What a database says, comparing text by code point."""
    match test:
        case Comparison(sign, Column(), Literal(value)):
            return bool(OPERATORS[sign](stored, str(value)))
        case InList(Column(), items):
            return stored in [item.value for item in items if isinstance(item, Literal)]
        case Not(term):
            return not holds(term, stored)
        case Junction("OR", terms):
            return any(holds(term, stored) for term in terms)
    raise AssertionError(test)


@pytest.mark.parametrize("sign", OPERATORS)
def test_a_literal_means_an_instant(sign: str) -> None:
    assert FIELD is not None
    column = Column(1, TABLE, FIELD)
    for stored, asked in itertools.product(STORED, repeat=2):
        test = compare_instants(column, sign, Literal(asked, "text"))
        assert test is not None
        pairs = [(to_mjd(stored[:19]), _decimals(stored)), (to_mjd(asked[:19]), _decimals(asked))]
        assert holds(test, stored) == OPERATORS[sign](pairs[0], pairs[1]), (stored, sign, asked)


def _decimals(text: str) -> float:
    return float("0." + (text.rstrip("Z").partition(".")[2] or "0"))


def test_other_text_is_compared_as_text() -> None:
    assert FIELD is not None
    column = Column(1, TABLE, FIELD)
    for text in ("2024", "2024-13-01", "soon", ""):
        assert compare_instants(column, "=", Literal(text, "text")) is None
    assert compare_instants(Literal("x", "text"), "=", Literal("2024-01-01", "text")) is None


@pytest.mark.parametrize(
    ("text", "timestamp", "mjd"),
    [
        ("1858-11-17", "1858-11-17T00:00:00.000", 0.0),
        (" 2000-01-01 12:00Z ", "2000-01-01T12:00:00.000", 51544.5),
        ("2024-02-29T23:59:59.9999", "2024-02-29T23:59:59.999", 60369.99999999884),
        ("2023-02-29", None, None),
        ("2023-01-01T25:00", None, None),
        ("2023-01-01T10:00:60", None, None),
        ("0000-01-01", None, None),
        ("2023-1-1", None, None),
        ("٢٠٢٣-01-01", None, None),
    ],
)
def test_reading(text: str, timestamp: str | None, mjd: float | None) -> None:
    assert to_timestamp(text) == timestamp
    assert to_mjd(text) == (None if mjd is None else pytest.approx(mjd, abs=1e-9))
