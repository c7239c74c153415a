"""CAST, units and user functions: one answer on both engines, and the right one."""

from __future__ import annotations

import random
from typing import Any

import pytest

from app.adql.compile import compile_query
from app.adql.compiled import Target
from app.adql.healpix import nested_index
from app.adql.user_functions import USER_FUNCTIONS
from app.errors import AdqlTypeError, AdqlUnsupportedError, UnknownNameError
from app.schema.catalog import CATALOG
from app.schema.fields import Field
from tests.adql.conftest import Ask

T = "ivoa.ObsCore"


def field_of(expression: str, target: Target = "sqlite") -> Field:
    text = f"SELECT {expression} AS x FROM {T}"
    return compile_query(text, catalog=CATALOG, target=target, maxrec=1).fields[0]


CASTS: list[tuple[str, Any]] = [
    ("CAST(2022 AS SMALLINT)", 2022),
    ("CAST(32767 AS SMALLINT)", 32767),
    ("CAST(32768 AS SMALLINT)", None),
    ("CAST(-32768 AS SMALLINT)", -32768),
    ("CAST(3000000000 AS INTEGER)", None),
    ("CAST(3000000000 AS BIGINT)", 3000000000),
    ("CAST(2.5 AS INTEGER)", 2),
    ("CAST(3.5 AS INTEGER)", 4),
    ("CAST(-2.7 AS INTEGER)", -3),
    ("CAST(1e30 AS BIGINT)", None),
    ("CAST(9.2e18 AS BIGINT)", 9200000000000000000),
    ("CAST(' 42 ' AS INTEGER)", 42),
    ("CAST('-7' AS SMALLINT)", -7),
    ("CAST('4 2' AS INTEGER)", None),
    ("CAST('1.5' AS INTEGER)", None),
    ("CAST('99999999999999999999' AS BIGINT)", None),
    ("CAST('abc' AS BIGINT)", None),
    ("CAST('' AS INTEGER)", None),
    ("CAST('1.5e3' AS DOUBLE PRECISION)", 1500.0),
    ("CAST('.5' AS REAL)", 0.5),
    ("CAST('1e999' AS DOUBLE PRECISION)", None),
    ("CAST('1e-999' AS DOUBLE PRECISION)", 0.0),
    ("CAST('NaN' AS DOUBLE PRECISION)", None),
    ("CAST('1e' AS REAL)", None),
    ("CAST('1_0' AS REAL)", None),
    ("CAST('٣' AS INTEGER)", None),
    ("CAST(1e300 AS REAL)", None),
    ("CAST(1e-300 AS REAL)", 0.0),
    ("CAST(0.1 AS REAL)", 0.10000000149011612),
    ("CAST(7 AS REAL)", 7.0),
    ("CAST(7 AS VARCHAR)", "7"),
    ("CAST(-0.25 AS VARCHAR)", "-0.25"),
    ("CAST(100000000000000.0 AS VARCHAR)", "100000000000000"),
    ("CAST(1e15 AS VARCHAR)", "1e+15"),
    ("CAST(1.25e-7 AS VARCHAR)", "1.25e-07"),
    ("CAST(0.0001 AS VARCHAR)", "0.0001"),
    ("CAST(0.1 + 0.2 AS VARCHAR)", "0.30000000000000004"),
    ("CAST('äther' AS CHAR(3))", "äth"),
    ("CAST('äther' AS CHAR)", "ä"),
    ("CAST('ät' AS CHAR(4)) || '.'", "ät  ."),
    ("CAST(12 AS CHAR(3))", "12 "),
    ("CAST(NULL AS CHAR(3))", None),
    ("CAST('abc' AS VARCHAR(10))", "abc"),
    ("CAST(12345 AS VARCHAR(2))", "12"),
    ("CAST(NULL AS VARCHAR)", None),
    ("CAST(NULL AS BIGINT)", None),
    ("CAST('2024-02-29' AS TIMESTAMP)", "2024-02-29T00:00:00.000"),
    ("CAST('2024-01-05 07:08' AS TIMESTAMP)", "2024-01-05T07:08:00.000"),
    ("CAST('2024-01-05T07:08:09.1234Z' AS TIMESTAMP)", "2024-01-05T07:08:09.123"),
    ("CAST('2023-02-29' AS TIMESTAMP)", None),
    ("CAST('2023-13-01' AS TIMESTAMP)", None),
    ("CAST('2023-01-01T24:00:00' AS TIMESTAMP)", None),
    ("CAST('yesterday' AS TIMESTAMP)", None),
    ("CAST('10 -20' AS POINT)", "10 -20"),
    ("CAST('10 -20 0.5' AS CIRCLE)", "10 -20 0.5"),
    ("CAST('1 1 2 1 2 2' AS POLYGON)", "1 1 2 1 2 2"),
    ("CONTAINS(POINT(10, -20), CAST('10 -20 0.5' AS CIRCLE))", 1),
    ("CAST(CAST('12' AS INTEGER) + 1 AS VARCHAR) || 'x'", "13x"),
    ("LOWER(CAST('ÄB' AS VARCHAR))", "Äb"),
]


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(("value", "expected"), CASTS)
def test_cast(ask_both: Ask, value: str, expected: Any) -> None:
    assert ask_both(f"SELECT TOP 1 {value} AS x FROM {T}") == [(expected,)]


COLUMNS = [
    *(
        "CAST(s_ra AS INTEGER)",
        "CAST(s_ra AS REAL)",
        "CAST(s_ra AS VARCHAR)",
        "CAST(s_fov AS CHAR(4))",
    ),
    *("CAST(lsst_visit AS INTEGER)", "CAST(lsst_visit AS REAL)", "CAST(s_xel1 AS SMALLINT)"),
    *(
        "CAST(obs_title AS INTEGER)",
        "CAST(obs_title AS VARCHAR(3))",
        "CAST(s_region AS VARCHAR(20))",
    ),
    *("CAST(obs_release_date AS TIMESTAMP)", "CAST(obs_title AS TIMESTAMP)"),
    *("CAST(s_xel1 * s_xel1 AS BIGINT)", "CAST(lsst_visit * 4 AS BIGINT)", "-CAST(s_ra AS BIGINT)"),
    *("CAST(obs_id AS INTEGER)", "CAST(s_dec * 1e300 AS REAL)"),
    *("(s_ra - s_ra) * SQRT(s_dec)", "SQRT(s_dec) * (s_ra - s_ra)", "(s_ra - s_ra) / SQRT(s_dec)"),
    *(
        "IN_UNIT(s_ra, 'rad')",
        "IN_UNIT(s_resolution, 'deg')",
        "IN_UNIT(s_xel1 * s_resolution, 'arcmin')",
    )[:2],
    *("ivo_healpix_index(0, s_ra, s_dec)", "ivo_healpix_index(10, POINT(s_ra, s_dec))"),
    *("ivo_healpix_index(29, s_ra, s_dec)", "ivo_healpix_index(calib_level, s_ra, s_dec * 10)"),
    *("ivo_hasword(obs_title, 'alpha')", "ivo_hasword(obs_title, obs_title)"),
    *(
        "ivo_hasword(obs_title, 'OFF')",
        "ivo_hasword(obs_title, 'äther')",
        "ivo_hasword(obs_title, '')",
    ),
    *("ivo_nocasematch(obs_title, 'A%A')", "ivo_nocasematch(obs_title, 'ÄTHER')"),
    *("ivo_hashlist_has('a#Zeta#b', obs_title)", "ivo_hashlist_has(obs_title, 'ALPHA')"),
    *(
        "ivo_interval_overlaps(s_ra, s_ra + 1, 60, 62)",
        "ivo_interval_overlaps(s_fov, 1, 0, s_xel1)",
        "ivo_interval_overlaps(s_ra, calib_level, NULL, 2)",
        "ivo_healpix_index(NULL, s_ra, s_dec)",
    ),
    *("ivo_interval_has(s_ra, '60 62.5')", "ivo_interval_has(s_xel1, '448 +Inf')"),
    *("ivo_interval_has(s_ra, obs_title)", "ivo_interval_has(s_fov, ' -inf  0 ')"),
    *("ivo_to_mjd(obs_release_date)", "ivo_to_jd(obs_release_date)", "ivo_to_mjd(obs_title)"),
    *(
        "MOD(s_ra, -7.5)",
        "MOD(-7, 3)",
        "MOD(-7.5, 2)",
        "MOD(7, -3)",
        "MOD(s_fov, 1e-9)",
        "MOD(1e300, 7)",
    ),
    *("ROUND(2.5)", "ROUND(-0.5)", "ROUND(1.005, 2)", "ROUND(s_ra, 20)", "ROUND(1e300, 3)"),
    *("ROUND(12345, -3)", "ROUND(1e-300, 300)", "TRUNCATE(-2.7)", "TRUNCATE(-0.29, 1)"),
    *("TRUNCATE(1e300)", "TRUNCATE(12345, -3)", "TRUNCATE(s_ra, 15)", "ROUND(lsst_visit)"),
    *("LOWER('ÄÖ' || UPPER(obs_title))", "COALESCE(NULL, s_fov, s_xel1)", "COALESCE(NULL, 'a')"),
    *("COALESCE(CAST(s_fov AS VARCHAR), obs_title, 'x')", "COALESCE(NULL, NULL)"),
]


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize("value", COLUMNS)
def test_columns(ask_both: Ask, value: str) -> None:
    rows = ask_both(f"SELECT obs_id, {value} AS x FROM {T} ORDER BY obs_id")
    assert len(rows) == 120


@pytest.mark.needs("postgresql")
def test_texts_of_random_doubles(ask_both: Ask) -> None:
    """The shortest text of a double is the same on both engines, whatever its size."""
    rng = random.Random(3)
    values = [rng.uniform(-10, 10) * 10.0 ** rng.randint(-320, 306) for _ in range(200)]
    values += [float(10**power) for power in range(-7, 20)]
    for start in range(0, len(values), 40):
        items = ", ".join(f"CAST({v!r} AS VARCHAR)" for v in values[start : start + 40])
        (row,) = ask_both(f"SELECT TOP 1 {items} FROM {T}")
        assert [float(str(text)) for text in row] == values[start : start + 40]


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(
    "query",
    [
        f"SELECT CAST(COUNT(*) AS VARCHAR), CAST(AVG(calib_level) AS INTEGER) FROM {T}",
        f"SELECT CAST(s_ra AS INTEGER) AS i, COUNT(*) FROM {T} GROUP BY CAST(s_ra AS INTEGER)"
        " ORDER BY i",
        f"SELECT ivo_healpix_index(3, s_ra, s_dec) AS h, COUNT(*) AS n FROM {T} GROUP BY h"
        " ORDER BY h",
        f"SELECT lsst_band, ivo_string_agg(obs_title, ', ') FROM {T} GROUP BY lsst_band ORDER BY 1",
        f"SELECT ivo_string_agg(obs_id || 'ä', '') FROM {T} WHERE calib_level = 3",
        f"SELECT ivo_string_agg(obs_id, '-') FROM {T} WHERE calib_level = 9",
        f"SELECT obs_id FROM {T} WHERE 1 = ivo_hasword(obs_title, 'zeta') ORDER BY obs_id",
        f"SELECT obs_id FROM {T} WHERE IN_UNIT(s_ra, 'rad') > 1.08 ORDER BY obs_id",
        f"SELECT MAX(CAST(t_min AS BIGINT)), MIN(CAST(obs_release_date AS TIMESTAMP)) FROM {T}",
        f"SELECT obs_id FROM {T} WHERE ivo_to_mjd(obs_release_date) BETWEEN 60000 AND 60310"
        " ORDER BY CAST(s_ra AS VARCHAR)",
    ],
)
def test_queries(ask_both: Ask, query: str) -> None:
    assert ask_both(query)


def test_instants_are_modified_julian_dates(ask_sqlite: Ask) -> None:
    values = "ivo_to_mjd('2000-01-01T12:00:00'), ivo_to_jd('2000-01-01T12:00'), ivo_to_mjd('x')"
    assert ask_sqlite(f"SELECT TOP 1 {values} FROM {T}") == [(51544.5, 2451545.0, None)]


def test_strings_of_a_group_are_sorted(ask_sqlite: Ask) -> None:
    text = f"SELECT ivo_string_agg(obs_id, '|') FROM {T} WHERE obs_id < 'v003'"
    assert ask_sqlite(text) == [("v000|v001|v002",)]


def test_healpix_is_that_of_astropy() -> None:
    healpix = pytest.importorskip("astropy_healpix")
    units = pytest.importorskip("astropy.units")
    rng = random.Random(8)
    places = [(rng.uniform(-10, 370), rng.uniform(-90, 90)) for _ in range(3000)]
    places += [(rng.uniform(0, 360), rng.choice((-1, 1)) * 90 - 1e-7) for _ in range(20)]
    places += [(-1e-20, lat) for lat in (-60.0, -43.0, 20.0, 60.0)] + [(359.99999999999994, -40.0)]
    places = [(lon, max(-90.0, min(90.0, lat))) for lon, lat in places]
    for order in (0, 1, 5, 12, 20, 29):
        there = healpix.HEALPix(nside=2**order, order="nested").lonlat_to_healpix(
            [p[0] for p in places] * units.deg, [p[1] for p in places] * units.deg
        )
        here = [nested_index(order, lon, lat) for lon, lat in places]
        same = sum(a == int(b) for a, b in zip(here, there, strict=True))
        # At the finest orders a cell is as small as the rounding of a double.
        assert same >= len(places) * (1.0 if order <= 12 else 0.99), order


def test_healpix_beyond_its_range_is_null(ask_sqlite: Ask) -> None:
    values = "ivo_healpix_index(30, 1, 1), ivo_healpix_index(-1, 1, 1), ivo_healpix_index(3, 1, 91)"
    assert ask_sqlite(f"SELECT TOP 1 {values} FROM {T}") == [(None, None, None)]


@pytest.mark.parametrize(
    ("expression", "form"),
    [
        ("CAST(s_ra AS SMALLINT)", ("short", None, None, "deg", "pos.eq.ra")),
        ("CAST(s_ra AS INTEGER)", ("int", None, None, "deg", "pos.eq.ra")),
        ("CAST(s_ra AS BIGINT)", ("long", None, None, "deg", "pos.eq.ra")),
        ("CAST(s_ra AS REAL)", ("float", None, None, "deg", "pos.eq.ra")),
        ("CAST(obs_id AS DOUBLE PRECISION)", ("double", None, None, None, "meta.id")),
        ("CAST(s_ra AS CHAR(7))", ("char", "7", None, None, "pos.eq.ra")),
        ("CAST(1 AS VARCHAR)", ("char", "*", None, None, None)),
        ("CAST('2024-01-01' AS TIMESTAMP)", ("char", "*", "timestamp", None, None)),
        ("CAST('1 2' AS POINT)", ("double", "2", "point", "deg", None)),
        ("CAST('1 2 3' AS CIRCLE)", ("double", "3", "circle", "deg", None)),
        ("IN_UNIT(s_ra, 'rad')", ("double", None, None, "rad", "pos.eq.ra")),
        ("IN_UNIT(s_ra + 1, 'arcsec')", ("double", None, None, "arcsec", None)),
        ("IN_UNIT(s_fov * s_fov, 'arcmin**2')", ("double", None, None, "arcmin**2", None)),
        ("IN_UNIT(t_exptime, 'd')", ("double", None, None, "d", "time.duration;obs.exposure")),
        (
            "IN_UNIT(SQRT(POWER(s_ra, 2) + POWER(s_dec, 2)), 'rad')",
            ("double", None, None, "rad", None),
        ),
        ("IN_UNIT(MAX(s_resolution), 'deg')", ("double", None, None, "deg", None)),
        ("IN_UNIT(ASIN(s_fov), 'deg')", ("double", None, None, "deg", None)),
        ("IN_UNIT(AREA(s_region), 'arcmin**2')", ("double", None, None, "arcmin**2", None)),
        ("ivo_to_mjd('2024-01-01')", ("double", None, None, None, None)),
        ("ivo_healpix_index(1, 2, 3)", ("long", None, None, None, None)),
    ],
)
def test_fields(expression: str, form: tuple[str | None, ...]) -> None:
    field = field_of(expression)
    assert (field.datatype, field.arraysize, field.xtype, field.unit, field.ucd) == form


def test_units_are_right(ask_sqlite: Ask) -> None:
    distance_arcsec = "IN_UNIT(DISTANCE(POINT(s_ra, 0), POINT(s_ra, 1)), 'arcsec')"
    values = f"{distance_arcsec}, IN_UNIT(DEGREES(calib_level), 'rad')"
    ((distance, angle),) = ask_sqlite(f"SELECT TOP 1 {values} FROM {T}")
    assert distance == pytest.approx(3600.0)
    assert angle == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("expression", "kind", "column", "words"),
    [
        ("IN_UNIT(s_ra, 'krach')", AdqlTypeError, 22, "'krach' is no unit"),
        ("IN_UNIT(s_ra, 's')", AdqlTypeError, 22, "cannot convert deg to s"),
        ("IN_UNIT(12.3, 'm')", AdqlTypeError, 16, "does not know the unit"),
        ("IN_UNIT(s_ra + t_min, 'm')", AdqlTypeError, 16, "does not know the unit"),
        ("IN_UNIT(obs_id, 'm')", AdqlTypeError, 16, "takes a number"),
        ("CAST(1 AS TIMESTAMP)", AdqlTypeError, 8, "a number to TIMESTAMP is not possible"),
        ("CAST('x' AS VARCHAR(0))", AdqlTypeError, 8, "from 1 to"),
        ("CAST('x' AS CHAR(4001))", AdqlTypeError, 8, "from 1 to 4000"),
        ("CAST('1 2 3' AS POINT)", AdqlTypeError, 13, "has two numbers"),
        ("CAST('0 0 199' AS CIRCLE)", AdqlTypeError, 13, "between 0 and 180"),
        ("ivo_hasword(obs_id)", AdqlTypeError, 8, "ivo_hasword(haystack VARCHAR(*)"),
        ("ivo_hasword(s_ra, 'a')", AdqlTypeError, 20, "takes VARCHAR(*) as haystack"),
        ("ivo_healpix_index(1, s_region)", AdqlTypeError, 29, "takes POINT as p"),
        ("ivo_haswrd(obs_id, 'a')", UnknownNameError, 8, "did you mean ivo_hasword?"),
        ("sqr(s_ra)", UnknownNameError, 8, "did you mean SQRT?"),
        ("ivo_string_agg(obs_id, obs_id)", AdqlTypeError, 31, "string literal"),
        ("MAX(ivo_string_agg(obs_id, ','))", AdqlTypeError, 12, "inside another aggregate"),
        (
            "(SELECT ivo_string_agg(ObsCore.obs_id, ',') FROM tap_schema.tables)",
            AdqlUnsupportedError,
            16,
            "of columns of the query around",
        ),
    ],
)
def test_faults(expression: str, kind: type[Exception], column: int, words: str) -> None:
    with pytest.raises(kind) as caught:
        field_of(expression)
    assert words in str(caught.value)
    assert getattr(caught.value, "column", 0) == column


def test_forms_are_declarations() -> None:
    forms = [function.form for function in USER_FUNCTIONS]
    assert len(set(forms)) == len(forms)
    assert "ivo_to_mjd(d TIMESTAMP) -> DOUBLE PRECISION" in forms


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(
    ("test", "is_early"),
    [
        # Half of the rows have 2024-01-01T00:00:00Z, the others 2025-06-30T12:00:00Z.
        ("= '2024-01-01'", True),
        ("= '2024-01-01T00:00:00.000'", True),
        ("<= '2024-01-01T00:00'", True),
        ("< '2024-01-01T00:00:00.5'", True),
        ("< '2024-01-01T00:00:00'", None),
        ("BETWEEN '2023-12-31' AND '2024-01-01'", True),
        ("IN ('2024-01-01T00:00:00.0Z', '2024-01-02')", True),
        ("NOT IN ('2025-06-30 12:00')", True),
        ("<> '2024-01-01'", False),
        ("> '2024-01-01'", False),
        (">= '2025-06-30T12:00:00'", False),
        ("> '2025-06-30T11:59:59.999'", False),
        ("LIKE '2025%'", False),
    ],
)
def test_timestamps_are_compared_as_instants(
    ask_both: Ask, test: str, is_early: bool | None
) -> None:
    text = f"SELECT obs_release_date FROM {T} WHERE obs_release_date {test}"
    found = {str(row[0]) for row in ask_both(text)}
    wanted = "2024-01-01T00:00:00Z" if is_early else "2025-06-30T12:00:00Z"
    assert found == (set() if is_early is None else {wanted})


@pytest.mark.needs("postgresql")
def test_a_seed_draws_the_same_numbers_on_both_engines(ask_both: Ask) -> None:
    rows = ask_both(f"SELECT obs_id, RAND(7), RAND(7) - RAND(8) FROM {T} ORDER BY obs_id")
    drawn = [float(str(row[1])) for row in rows]
    assert len(set(drawn)) == 120
    assert 0.4 < sum(drawn) / 120 < 0.6
    assert all(0 <= number < 1 for number in drawn)
    assert all(row[2] != 0 for row in rows)
    some = ask_both(f"SELECT obs_id FROM {T} WHERE RAND(7) < 0.25 ORDER BY RAND(1)")
    assert 15 < len(some) < 45
    ask_both("SELECT table_name, RAND(3) FROM tap_schema.tables ORDER BY 1")
    ask_both(f"SELECT x, RAND(3) FROM (SELECT s_ra AS x FROM {T}) AS q ORDER BY 1, 2")
    ask_both(f"SELECT lsst_band, MAX(RAND(3)) FROM {T} GROUP BY lsst_band ORDER BY 1")


def test_intervals_in_conditions_are_plain_comparisons() -> None:
    """So that an index on the ends serves them."""
    text = f"SELECT obs_id FROM {T} WHERE 1 = ivo_interval_overlaps(t_min, t_max, 60000, 60001)"
    sql = compile_query(text, catalog=CATALOG, target="sqlite", maxrec=1).sql
    assert '(t1."t_min" <= :p1) AND (:p2 <= t1."t_max")' in sql


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(
    "test",
    [
        "1 = ivo_interval_overlaps(t_min, t_min + 1, 60001, 60010)",
        "NOT ivo_interval_overlaps(s_fov, s_fov, 0, 1) = 1",
        "ivo_interval_overlaps(s_fov, s_fov, 0, 1) <> 1",
        "ivo_nocasematch(obs_title, 'ALPH%') = 1",
        "ivo_nocasematch(obs_title, 'ALPH%') = 0",
        "NOT ivo_nocasematch(obs_title, 'ALPH%') = 1",
    ],
)
def test_conditions(ask_both: Ask, test: str) -> None:
    assert ask_both(f"SELECT obs_id FROM {T} WHERE {test} ORDER BY obs_id")
