"""Subqueries, set operators, WITH, joins and CASE on both engines: one answer and a right one."""

from __future__ import annotations

from collections import Counter

import pytest

from app.adql.compile import compile_query
from app.errors import LimitError, UnknownNameError, UsageError
from app.schema.catalog import CATALOG
from app.stores.metadata import MetadataStores
from tests.adql.conftest import Ask, ask

pytestmark = pytest.mark.needs("postgresql")

T = "ivoa.ObsCore"
HIT = "CONTAINS(POINT(62, -37), s_region) = 1"

QUERIES = [
    # subqueries as values
    "SELECT obs_id, (SELECT MAX(s_ra) FROM {t}) AS m FROM {t} ORDER BY 1",
    "SELECT obs_id FROM {t} WHERE s_ra = (SELECT MAX(s_ra) FROM {t})",
    "SELECT obs_id, (SELECT COUNT(*) FROM {t} b WHERE b.lsst_band = a.lsst_band) FROM {t} a"
    " ORDER BY 1",
    "SELECT obs_id FROM {t} a WHERE t_min BETWEEN (SELECT AVG(t_min) FROM {t}) AND"
    " (SELECT MAX(t_min) FROM {t} b WHERE b.calib_level = a.calib_level) ORDER BY 1",
    "SELECT obs_id, (SELECT b.obs_title FROM {t} b WHERE b.obs_id = a.obs_id) || '!' FROM {t} a"
    " ORDER BY 1",
    "SELECT obs_id, s_xel1 + (SELECT SUM(s_xel1) FROM {t}) FROM {t} ORDER BY (SELECT MAX(b.s_dec)"
    " FROM {t} b WHERE b.obs_collection = ObsCore.obs_collection), 1",
    "SELECT (SELECT TOP 1 obs_title FROM {t} b WHERE b.lsst_band = a.lsst_band ORDER BY obs_title"
    " DESC, obs_id) AS x, COUNT(*) FROM {t} a GROUP BY lsst_band ORDER BY lsst_band",
    "SELECT ((SELECT MIN(calib_level) FROM {t})) / 2, (SELECT NULL FROM {t} WHERE 1 = 0) FROM {t}",
    # IN and EXISTS
    "SELECT obs_id FROM {t} WHERE lsst_visit IN (SELECT lsst_visit FROM {t} WHERE calib_level = 3)"
    " ORDER BY 1",
    "SELECT obs_id FROM {t} WHERE lsst_visit NOT IN (SELECT lsst_visit FROM {t} WHERE s_dec > 0)"
    " ORDER BY 1",
    "SELECT obs_id FROM {t} WHERE s_xel1 NOT IN (SELECT b.s_xel1 FROM {t} b WHERE b.s_xel1 > 448)"
    " ORDER BY 1",
    "SELECT obs_id FROM {t} WHERE s_fov IN (SELECT calib_level - 2 FROM {t}) ORDER BY 1",
    "SELECT obs_id FROM {t} WHERE obs_title IN ((SELECT MAX(obs_title) FROM {t}), 'alpha')"
    " ORDER BY 1",
    "SELECT obs_id FROM {t} a WHERE EXISTS (SELECT * FROM {t} b WHERE b.lsst_visit = a.lsst_visit"
    " AND b.obs_id > a.obs_id) ORDER BY 1",
    "SELECT obs_id FROM {t} a WHERE NOT EXISTS (SELECT 1 FROM {t} WHERE lsst_band = a.lsst_band"
    " AND s_fov > a.s_fov) ORDER BY 1",
    "SELECT obs_id FROM {t} a WHERE EXISTS (SELECT 1 FROM {t} b WHERE b.obs_id < a.obs_id AND"
    " b.lsst_band IN (SELECT c.lsst_band FROM {t} c WHERE c.s_xel1 = a.s_xel1)) ORDER BY 1",
    "SELECT obs_id FROM {t} WHERE EXISTS (SELECT TOP 0 1 FROM {t})",
    "SELECT obs_id FROM {t} a WHERE EXISTS (SELECT 1 FROM {t} b WHERE a.obs_id <> b.obs_id AND"
    " INTERSECTS(a.s_region, b.s_region) = 1) ORDER BY 1",
    # derived tables
    "SELECT * FROM (SELECT obs_id, s_ra AS x, s_region FROM {t}) AS d ORDER BY obs_id",
    "SELECT d.x + 1 AS y FROM (SELECT s_ra AS x, obs_id FROM {t} WHERE calib_level = 2) AS d"
    " WHERE d.x > 60 ORDER BY d.obs_id",
    "SELECT n, COUNT(*) FROM (SELECT lsst_band, COUNT(*) AS n FROM {t} GROUP BY lsst_band) AS d"
    " GROUP BY n ORDER BY 1",
    "SELECT obs_id FROM (SELECT TOP 7 obs_id, t_min FROM {t} ORDER BY t_min DESC OFFSET 3) AS d"
    " ORDER BY obs_id",
    "SELECT TOP 2 obs_id FROM (SELECT obs_id FROM {t} ORDER BY obs_id OFFSET 100) d ORDER BY 1"
    " OFFSET 1",
    "SELECT d.title || '/' || d.url FROM (SELECT obs_title AS title, access_url AS url FROM {t})"
    " AS d ORDER BY d.url DESC",
    "SELECT obs_id FROM (SELECT obs_id, s_region FROM {t}) AS d WHERE"
    " CONTAINS(POINT(62, -37), s_region) = 1 ORDER BY 1",
    "SELECT obs_id FROM (SELECT e.obs_id, e.r FROM (SELECT obs_id, s_region AS r FROM {t} WHERE"
    " calib_level = 2) AS e) AS d WHERE INTERSECTS(CIRCLE(62, -37, 0.3), d.r) = 1 ORDER BY 1",
    "SELECT a.obs_id, d.k FROM {t} a JOIN (SELECT obs_id AS k, s_region AS r FROM {t} WHERE"
    " lsst_band = 'g') AS d ON INTERSECTS(a.s_region, d.r) = 1 ORDER BY 1, 2",
    "SELECT obs_id, INTERSECTS(r, CIRCLE(62, -37, 0.3)) FROM (SELECT obs_id, s_region AS r FROM"
    " {t}) AS d ORDER BY 1",
    "WITH w AS (SELECT obs_id, s_region AS r FROM {t}) SELECT obs_id, CONTAINS(POINT(62, -37), r)"
    " FROM w ORDER BY 1",
    "SELECT k, p FROM (SELECT obs_id AS k, POINT(s_ra, s_dec) AS p FROM {t}) AS d WHERE"
    " CONTAINS(p, CIRCLE(62, -37, 0.5)) = 1 ORDER BY k",
    "SELECT k, COORD1(p), DISTANCE(p, POINT(0, 0)) FROM (SELECT obs_id AS k, POINT(s_ra, s_dec) AS"
    " p FROM {t}) AS d WHERE DISTANCE(p, POINT(62, -37)) < 0.6 ORDER BY k",
    "SELECT k, c FROM (SELECT obs_id AS k, CIRCLE(s_ra, s_dec, 0.3) AS c FROM {t}) AS d WHERE"
    " CONTAINS(POINT(62, -37), c) = 1 ORDER BY k",
    "SELECT o.obs_id FROM (SELECT TOP 1 CIRCLE(62, -37, 0.2) AS c FROM {t}) AS d, {t} AS o WHERE"
    " INTERSECTS(o.s_region, d.c) = 1 ORDER BY 1",
    "SELECT obs_id FROM {t} o LEFT JOIN (SELECT obs_id AS k, POINT(1, 2) AS p FROM {t} WHERE"
    " lsst_band = 'g') AS d ON k = obs_id WHERE p IS NULL ORDER BY 1",
    "SELECT DISTINCT p FROM (SELECT POINT(calib_level, 1) AS p FROM {t}) AS d ORDER BY 1",
    "SELECT s_region FROM (SELECT DISTINCT s_region FROM {t}) AS d WHERE"
    " INTERSECTS(s_region, CIRCLE(62, -37, 0.3)) = 1 ORDER BY 1",
    "SELECT COUNT(*) FROM (SELECT * FROM {t}) AS d WHERE s_fov / 2 > 0.1",
    "SELECT q / 2 FROM (SELECT COALESCE(s_fov, 9) AS q, obs_id FROM {t}) AS d ORDER BY obs_id",
    "SELECT q FROM (SELECT lsst_visit * 4 AS q, obs_id FROM {t}) AS d ORDER BY q, obs_id",
    # set operators
    "SELECT lsst_band FROM {t} UNION SELECT obs_collection FROM {t} ORDER BY 1",
    "SELECT calib_level FROM {t} UNION SELECT s_fov FROM {t} ORDER BY calib_level DESC",
    "SELECT calib_level AS a, lsst_band AS b FROM {t} UNION ALL SELECT 7, NULL FROM {t} WHERE"
    " obs_id < 'v010' ORDER BY a, b",
    "SELECT lsst_band FROM {t} EXCEPT SELECT 'g' FROM {t} ORDER BY lsst_band",
    "SELECT lsst_band FROM {t} EXCEPT ALL SELECT lsst_band FROM {t} WHERE s_dec > 0 ORDER BY 1",
    "SELECT lsst_band, calib_level FROM {t} INTERSECT ALL SELECT lsst_band, 2 FROM {t} ORDER BY 1",
    "SELECT lsst_band FROM {t} INTERSECT SELECT 'r' FROM {t}",
    "SELECT 1 FROM {t} UNION SELECT 2 FROM {t} EXCEPT SELECT 1 FROM {t} UNION ALL"
    " SELECT 3 FROM {t} INTERSECT SELECT 3 FROM {t} ORDER BY 1",
    "SELECT 1 FROM {t} UNION (SELECT 2 FROM {t} EXCEPT (SELECT 2 FROM {t} UNION SELECT 1 FROM {t}))"
    " ORDER BY 1",
    "(SELECT TOP 3 obs_id FROM {t} ORDER BY obs_id) UNION ALL (SELECT TOP 2 obs_id FROM {t}"
    " ORDER BY obs_id DESC) ORDER BY obs_id DESC OFFSET 1",
    "SELECT TOP 2 obs_id FROM (SELECT obs_id FROM {t} UNION SELECT lsst_band FROM {t}) AS d"
    " ORDER BY 1",
    "((SELECT obs_id FROM {t} ORDER BY obs_id OFFSET 110)) ORDER BY 1 DESC OFFSET 2",
    "SELECT POINT(s_ra, s_dec) AS p FROM {t} UNION ALL SELECT POINT(1, 2) FROM {t} ORDER BY 1",
    "SELECT s_region FROM {t} UNION SELECT s_region FROM {t} ORDER BY 1",
    "SELECT COUNT(*) FROM (SELECT s_region FROM {t} UNION ALL SELECT s_region FROM {t}) AS d WHERE"
    " INTERSECTS(s_region, CIRCLE(62, -37, 0.3)) = 1",
    "SELECT s_fov FROM {t} WHERE s_fov IN (SELECT 0 FROM {t} UNION SELECT 0.25 FROM {t})"
    " ORDER BY obs_id",
    "SELECT MAX(calib_level) / 2 FROM (SELECT calib_level FROM {t} UNION SELECT 2.5 FROM {t}) d",
    "SELECT NULL FROM {t} UNION SELECT NULL FROM {t}",
    "SELECT NULL AS x FROM {t} UNION SELECT s_xel1 FROM {t} ORDER BY x",
    # WITH
    "WITH g AS (SELECT * FROM {t} WHERE lsst_band = 'g') SELECT obs_id FROM g ORDER BY 1",
    "WITH g AS (SELECT obs_id, s_region FROM {t}), h AS (SELECT obs_id AS k, s_region AS r FROM g"
    " WHERE obs_id < 'v050') SELECT a.obs_id, h.k FROM g a JOIN h ON INTERSECTS(s_region, h.r) = 1"
    " WHERE a.obs_id < h.k ORDER BY 1, 2",
    "WITH g AS (SELECT lsst_band AS b, COUNT(*) AS n FROM {t} GROUP BY lsst_band) SELECT b, n"
    " FROM g WHERE n = (SELECT MAX(n) FROM g) ORDER BY b",
    "WITH g AS (SELECT 1 AS x FROM {t} UNION SELECT 2 FROM {t}) SELECT a.x, b.x FROM g AS a, g AS b"
    " ORDER BY 1, 2",
    "WITH g AS (SELECT obs_id, s_region FROM {t}) SELECT obs_id FROM g WHERE"
    " CONTAINS(POINT(62, -37), g.s_region) = 1 UNION SELECT obs_id FROM g WHERE"
    " CONTAINS(POINT(0, 0), s_region) = 1 ORDER BY 1",
    "WITH g AS (SELECT obs_id FROM {t} WHERE s_fov IN (SELECT MAX(s_fov) FROM {t})) SELECT"
    " (SELECT COUNT(*) FROM g) AS n, (SELECT MIN(obs_id) FROM g WHERE g.obs_id > a.obs_id) FROM {t}"
    " AS a ORDER BY 1, 2",
    # joins
    "SELECT a.obs_id, b.n FROM {t} a LEFT JOIN (SELECT lsst_band, COUNT(*) AS n FROM {t} GROUP BY"
    " lsst_band) AS b ON a.lsst_band = b.lsst_band ORDER BY 1",
    "SELECT * FROM (SELECT obs_id, lsst_band FROM {t}) AS a NATURAL JOIN (SELECT obs_id, s_ra FROM"
    " {t}) AS b ORDER BY 1",
    "SELECT obs_id, a.x, b.x FROM (SELECT obs_id, s_ra AS x FROM {t} WHERE s_dec > 0) AS a FULL"
    " JOIN (SELECT obs_id, s_dec AS x FROM {t} WHERE calib_level = 2) AS b USING (obs_id)"
    " ORDER BY 1",
    "SELECT a.obs_id, b.obs_id FROM {t} a FULL JOIN {t} b ON a.s_dec > b.s_dec + 80 ORDER BY 1, 2",
    "SELECT a.obs_id, b.obs_id FROM {t} a FULL JOIN {t} b ON a.obs_id = b.obs_id AND a.s_ra > 60"
    " ORDER BY 1, 2",
    "SELECT a.obs_id, b.k FROM {t} a FULL JOIN (SELECT obs_id AS k, s_region AS r FROM {t} WHERE"
    " lsst_band = 'r') AS b ON INTERSECTS(a.s_region, r) = 1 AND a.lsst_band = 'g' ORDER BY 1, 2",
    "SELECT a.x, b.x FROM (SELECT 1 AS x FROM {t} GROUP BY calib_level) AS a CROSS JOIN"
    " (SELECT DISTINCT lsst_band AS x FROM {t}) AS b ORDER BY 1, 2",
    "SELECT a.obs_id FROM {t} a JOIN ({t} b LEFT JOIN (SELECT 'v001' AS k FROM {t} GROUP BY"
    " calib_level) AS c ON c.k = b.obs_id) ON a.obs_id = c.k ORDER BY 1",
    "SELECT a.obs_id FROM {t} a RIGHT JOIN {t} b ON a.obs_id = b.obs_id AND EXISTS (SELECT 1 FROM"
    " {t} c WHERE c.lsst_visit = a.lsst_visit AND c.obs_id <> b.obs_id) ORDER BY 1",
    # CASE, hexadecimal numbers
    "SELECT obs_id, CASE WHEN s_fov > 0 THEN s_fov WHEN s_fov IS NULL THEN -1 ELSE 9 END / 2"
    " FROM {t} ORDER BY 1",
    "SELECT obs_id, CASE lsst_band WHEN 'g' THEN 'green' WHEN 'r' THEN obs_title END AS c FROM {t}"
    " ORDER BY c, obs_id",
    "SELECT CASE WHEN s_dec > 0 THEN 'north' ELSE 'south' END AS w, COUNT(*) FROM {t}"
    " GROUP BY CASE WHEN s_dec > 0 THEN 'north' ELSE 'south' END ORDER BY 1",
    "SELECT obs_id, CASE WHEN CONTAINS(POINT(62, -37), s_region) = 1 THEN 1 END FROM {t}"
    " ORDER BY 1",
    "SELECT SUM(CASE WHEN lsst_band = 'g' THEN 1 ELSE 0 END) AS n FROM {t}",
    "SELECT 0x1F + calib_level, 0xffff FROM {t} ORDER BY 1",
    "SELECT lsst_band, COUNT(*) FROM {t} GROUP BY lsst_band ORDER BY NULL DESC, lsst_band",
    "SELECT obs_id, ivo_healpix_index(3, NULL, s_dec), ivo_healpix_index(NULL, s_ra, s_dec)"
    " FROM {t} ORDER BY 1",
]


@pytest.mark.parametrize("query", QUERIES)
def test_query(ask_both: Ask, query: str) -> None:
    ask_both(query.format(t=T))


def rows_of(ask_sqlite: Ask) -> list[tuple[str, str | None, int]]:
    return ask_sqlite(f"SELECT obs_id, lsst_band, calib_level FROM {T} ORDER BY 1")  # type: ignore[return-value]


def test_set_operators_count_as_multisets_do(ask_both: Ask) -> None:
    everything = rows_of(ask_both)
    bands = Counter(band for _, band, _ in everything)
    low = Counter(band for _, band, level in everything if level == 2)
    for word, expected in {
        "EXCEPT ALL": bands - low,
        "INTERSECT ALL": bands & low,
        "UNION ALL": bands + low,
        "EXCEPT": Counter(set(bands) - set(low)),
        "INTERSECT": Counter(set(bands) & set(low)),
        "UNION": Counter(set(bands) | set(low)),
    }.items():
        text = f"SELECT lsst_band FROM {T} {word} SELECT lsst_band FROM {T} WHERE calib_level = 2"
        assert Counter(row[0] for row in ask_both(f"{text} ORDER BY 1")) == expected


def test_distinct_values_in_order_end_with_null(ask_both: Ask) -> None:
    values = {visit for _, visit in ask_both(f"SELECT obs_id, lsst_visit FROM {T} ORDER BY 1")}
    assert None in values
    ordered = [(each,) for each in sorted(values - {None})]
    distinct = f"SELECT DISTINCT lsst_visit FROM {T} ORDER BY 1"
    assert ask_both(distinct) == [*ordered, (None,)]
    assert ask_both(f"{distinct} DESC") == [(None,), *reversed(ordered)]
    assert ask_both(f"SELECT lsst_visit FROM ({distinct}) AS q ORDER BY 1") == [*ordered, (None,)]


@pytest.mark.parametrize("kind", ["RIGHT", "FULL"])
def test_rows_of_an_outer_join_beside_others_come_once(ask_both: Ask, kind: str) -> None:
    join = f"SELECT b.obs_id FROM {T} a {kind} JOIN {T} b ON a.lsst_visit = b.lsst_visit"
    nothing = f"SELECT obs_id FROM {T} WHERE calib_level > 5"
    alone = Counter(ask_both(f"{join} ORDER BY 1"))
    assert alone
    assert (
        Counter(ask_both(f"SELECT x.* FROM ({nothing} UNION ALL {join}) AS x ORDER BY 1")) == alone
    )


def test_names_are_looked_up_from_the_inside_out(ask_both: Ask) -> None:
    """calib_level is the inner table's, and ``o`` the outer one: half of the rows each."""
    text = (
        f"SELECT COUNT(*) FROM {T} AS o WHERE o.calib_level = 2 AND EXISTS (SELECT 1 FROM {T} AS i"
        " WHERE calib_level = 3 AND o.calib_level < calib_level)"
    )
    assert ask_both(text) == [(60,)]


def test_an_outer_row_without_a_match_has_no_geometry(ask_both: Ask) -> None:
    text = (
        f"SELECT COUNT(*), COUNT(d.k) FROM {T} o LEFT JOIN (SELECT obs_id AS k, POINT(1, 2) AS p"
        f" FROM {T} WHERE calib_level = 2) AS d ON k = obs_id WHERE"
        " CONTAINS(p, CIRCLE(1, 2, 1)) = 1"
    )
    assert ask_both(text) == [(60, 60)]


def test_links_have_their_address_once(ask_both: Ask) -> None:
    inner = f"SELECT access_url, obs_id FROM {T} WHERE obs_id = 'v007'"
    url = "https://sky.example/datalink/links?ID=7"
    for text in (
        inner,
        f"SELECT access_url, obs_id FROM ({inner}) AS d",
        f"SELECT access_url, obs_id FROM ({inner} UNION {inner}) AS d",
        f"WITH w AS ({inner}) SELECT a.access_url, b.obs_id FROM w a JOIN w b USING (access_url)",
        f"SELECT d.access_url, d.obs_id FROM ({inner}) d WHERE access_url IN (SELECT access_url"
        f" FROM {T})",
    ):
        assert ask_both(text) == [(url, "v007")], text


@pytest.mark.parametrize(
    "name", ["row_id", "file_path", "image_ref", "s_region_bounds", "c1", "h1"]
)
@pytest.mark.parametrize(
    "text",
    [
        "SELECT {n} FROM (SELECT * FROM {t}) AS d",
        'SELECT d."{n}" FROM (SELECT s_region AS r FROM {t}) AS d WHERE'
        " CONTAINS(POINT(1, 2), r) = 1",
        "WITH w AS (SELECT * FROM {t}) SELECT {n} FROM w",
        "SELECT 1 FROM {t} WHERE EXISTS (SELECT {n} FROM tap_schema.tables)",
        "SELECT * FROM {t} a JOIN (SELECT * FROM {t}) AS b USING ({n})",
        'SELECT 1 FROM {t} UNION SELECT "{n}" FROM {t}',
        "(SELECT obs_id FROM {t}) ORDER BY {n}",
    ],
)
def test_hidden_columns_stay_hidden(text: str, name: str) -> None:
    for target in ("sqlite", "postgres"):
        with pytest.raises(UnknownNameError):
            compile_query(text.format(n=name, t=T), catalog=CATALOG, target=target, maxrec=1)  # type: ignore[arg-type]


def test_star_and_natural_bring_no_hidden_column(ask_both: Ask) -> None:
    public = len(CATALOG.by_name()["ivoa.obscore"].fields)
    for text in (
        f"SELECT * FROM (SELECT * FROM {T}) AS d WHERE {HIT}",
        f"WITH w AS (SELECT * FROM {T} WHERE {HIT}) SELECT * FROM w",
        f"SELECT a.* FROM {T} a JOIN (SELECT obs_id, s_region FROM {T}) AS b ON"
        " a.obs_id = b.obs_id WHERE CONTAINS(POINT(62, -37), b.s_region) = 1",
    ):
        rows = ask_both(f"{text} ORDER BY obs_publisher_did")
        assert rows
        assert {len(row) for row in rows} == {public}


@pytest.mark.parametrize(
    "text",
    [
        "SELECT obs_id FROM {t} WHERE s_ra = (SELECT s_ra FROM {t})",
        "SELECT (SELECT b.obs_id FROM {t} b WHERE b.lsst_band = a.lsst_band) FROM {t} a",
    ],
)
def test_a_value_of_many_rows_is_an_error(
    sqlite_stores: MetadataStores, postgres_stores: MetadataStores, text: str
) -> None:
    for stores in (sqlite_stores, postgres_stores):
        with pytest.raises(UsageError, match="stands for a value gave more than one row"):
            ask(stores, text.format(t=T))


def test_more_subqueries_in_one_another_than_an_engine_reads(
    sqlite_stores: MetadataStores, postgres_stores: MetadataStores
) -> None:
    def nested(depth: int) -> str:
        text = f"SELECT s_ra FROM {T}"
        for number in range(depth):
            text = f"SELECT s_ra FROM ({text}) AS q{number}"
        return text

    rows = ask(sqlite_stores, nested(10))
    assert Counter(rows) == Counter(ask(postgres_stores, nested(20)))
    with pytest.raises(LimitError, match="nested in one another on SQLite is 7 to 15"):
        ask(sqlite_stores, nested(20))


def test_maxrec_cuts_the_outermost_query_only(ask_both: Ask, sqlite_stores: MetadataStores) -> None:
    text = f"SELECT COUNT(*) FROM (SELECT obs_id FROM {T}) AS d"
    assert ask(sqlite_stores, text, maxrec=2) == [(120,)]
    union = f"SELECT obs_id FROM {T} UNION ALL SELECT obs_id FROM {T}"
    assert len(ask(sqlite_stores, union, maxrec=50)) == 51
