"""Units of products and powers, against astropy."""

from __future__ import annotations

import pytest
from astropy import units

from app.adql.compile import compile_query
from app.adql.unit_products import product, raised
from app.errors import LimitError
from app.schema.catalog import CATALOG


@pytest.mark.parametrize("a", ["deg", "km/s", "mas.yr**-1", "deg2", "", "s", "m.s**-2"])
@pytest.mark.parametrize("b", ["deg", "s", "arcsec", "", "km.s**-1"])
@pytest.mark.parametrize("power", [1, -1])
def test_products(a: str, b: str, power: int) -> None:
    found = product(a, b, power)
    assert found is not None
    if found:
        units.Unit(found, format="vounit")
    assert units.Unit(found) == units.Unit(a.replace("**", "^")) * units.Unit(b) ** power


@pytest.mark.parametrize(
    ("unit", "exponent", "expected"),
    [
        ("deg", 2, "deg**2"),
        ("deg**2", 0.5, "deg"),
        ("m**3.s**-6", 1 / 3, "m.s**-2"),
        ("deg", 0.5, None),
        ("m**3", 0.34, None),
        ("deg", 0, ""),
        ("10**3 m", 2, None),
        ("log(deg)", 2, None),
        ("m/s.kg", 1, None),
        ("m/s/s", 1, None),
        ("", 3, ""),
    ],
)
def test_powers(unit: str, exponent: float, expected: str | None) -> None:
    assert raised(unit, exponent) == expected


def test_conversions_are_counted() -> None:
    items = ", ".join("IN_UNIT(s_ra, 'rad')" for _ in range(51))
    with pytest.raises(LimitError, match="IN_UNIT"):
        compile_query(
            f"SELECT {items} FROM ivoa.ObsCore", catalog=CATALOG, target="sqlite", maxrec=1
        )
