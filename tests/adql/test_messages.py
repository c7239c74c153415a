"""What a user is told, and where."""

from __future__ import annotations

import pytest

from app.adql.compile import compile_query
from app.errors import (
    AdqlError,
    AdqlSyntaxError,
    AdqlTypeError,
    AdqlUnsupportedError,
    LimitError,
    UnknownNameError,
)
from app.schema.catalog import CATALOG
from app.schema.fields import Catalog, Field, Schema, Table

T = "ivoa.ObsCore"


@pytest.mark.parametrize(
    ("text", "kind", "place", "words"),
    [
        ("SELEC * FROM x", AdqlSyntaxError, (1, 1), "found 'SELEC'; expected '(', SELECT or WITH"),
        ("SELECT *\nFORM x", AdqlSyntaxError, (2, 1), "found 'FORM'; expected FROM"),
        ("", AdqlSyntaxError, (1, 1), "ends too early"),
        (f"SELECT s_ra FROM {T} WHERE ", AdqlSyntaxError, (1, 36), "expected a value"),
        ("SELECT (s_ra FROM t", AdqlSyntaxError, (1, 14), "expected ')'"),
        ("SELECT TOP x * FROM t", AdqlSyntaxError, (1, 12), "expected a number"),
        ("SELECT * FROM t LIMIT 10", AdqlSyntaxError, (1, 23), "SELECT TOP n"),
        ("SELECT size FROM t", AdqlSyntaxError, (1, 8), 'write "size" in double quotes'),
        ("SELECT 'abc FROM t", AdqlSyntaxError, (1, 8), "never closed"),
        ("SELECT é FROM t", AdqlSyntaxError, (1, 8), "double quotes"),
        ("SELECT *, a FROM t", AdqlSyntaxError, (1, 9), "table.*"),
        ("SELECT a FROM t; DROP TABLE t", AdqlSyntaxError, (1, 18), "the end of the query"),
        ("SELECT * FROM ivoa.obscor", UnknownNameError, (1, 15), "did you mean ivoa.ObsCore?"),
        ("SELECT * FROM obscore", UnknownNameError, (1, 15), "did you mean ivoa.ObsCore?"),
        ('SELECT * FROM ivoa."obscore"', UnknownNameError, (1, 15), "ivoa.ObsCore"),
        (f"SELECT a.s_raa FROM {T} a", UnknownNameError, (1, 10), "did you mean s_ra?"),
        (f"SELECT x.s_ra FROM {T}", UnknownNameError, (1, 8), "x is no table of this query"),
        (f"SELECT {T}.s_ra FROM {T} o", UnknownNameError, (1, 8), "it has o"),
        (f"SELECT s_ra FROM {T} a, {T} b", UnknownNameError, (1, 8), "may belong to a or b"),
        (f"SELECT a.s_ra FROM {T} a, {T} a", UnknownNameError, (1, 36), "its own alias"),
        (f"SELECT foo(s_ra) FROM {T}", UnknownNameError, (1, 8), "no function foo"),
        (f"SELECT 1 FROM {T} a JOIN {T} b USING (x)", UnknownNameError, (1, 57), "both sides"),
        (f"SELECT s_ra FROM {T} WHERE s_ra = 'x'", AdqlTypeError, (1, 44), "a number cannot"),
        (f"SELECT s_ra FROM {T} WHERE obs_id LIKE 5", AdqlTypeError, (1, 49), "take strings"),
        (f"SELECT obs_id + 1 FROM {T}", AdqlTypeError, (1, 8), "arithmetic takes numbers"),
        (f"SELECT SQRT(obs_id) FROM {T}", AdqlTypeError, (1, 13), "SQRT takes a number"),
        (f"SELECT LOWER(s_ra) FROM {T}", AdqlTypeError, (1, 14), "LOWER takes a string"),
        (f"SELECT s_ra FROM {T} WHERE s_region = obs_id", AdqlTypeError, (1, 48), "CONTAINS"),
        (f"SELECT s_ra, COUNT(*) FROM {T}", AdqlTypeError, (1, 8), "neither in GROUP BY"),
        (f"SELECT 1 FROM {T} WHERE COUNT(*) > 1", AdqlTypeError, (1, 34), "use HAVING"),
        (f"SELECT MAX(SUM(s_ra)) FROM {T}", AdqlTypeError, (1, 12), "inside another aggregate"),
        (f"SELECT s_ra FROM {T} ORDER BY 4", AdqlTypeError, (1, 40), "has 1 columns"),
        (f"SELECT DISTINCT s_ra FROM {T} ORDER BY s_dec", AdqlTypeError, (1, 49), "DISTINCT"),
        (f"SELECT COUNT(*) FROM {T} GROUP BY 1", AdqlTypeError, (1, 44), "not their positions"),
        (f"SELECT POINT(1, 100) FROM {T}", AdqlTypeError, (1, 8), "between -90 and 90"),
        (f"SELECT CIRCLE(1, 2, -1) FROM {T}", AdqlTypeError, (1, 8), "between 0 and 180"),
        (f"SELECT POLYGON(0,0, 1,1, 1,0, 0,1) FROM {T}", AdqlTypeError, (1, 8), "cross"),
        (f"SELECT REGION('DONUT 1 2') FROM {T}", AdqlTypeError, (1, 8), "none of"),
        (
            f"SELECT CONTAINS(s_region, POINT(1, 2)) FROM {T}",
            AdqlTypeError,
            (1, 8),
            "lies in a point",
        ),
        (f"SELECT 1 FROM {T} UNION SELECT 1, 2 FROM {T}", AdqlTypeError, (1, 34), "are 1 and 2"),
        (f"SELECT 1 FROM {T} UNION SELECT 'a' FROM {T}", AdqlTypeError, (1, 34), "a number in the"),
        (
            f"(SELECT s_ra FROM {T}) ORDER BY s_dec",
            UnknownNameError,
            (1, 42),
            "no column s_dec among",
        ),
        (
            f"WITH x AS (SELECT 1 FROM {T}), X AS (SELECT 1 FROM x) SELECT * FROM x",
            UnknownNameError,
            (1, 41),
            "two queries",
        ),
        ("WITH x AS (SELECT 1 FROM x) SELECT * FROM x", UnknownNameError, (1, 26), "no table x"),
        (f"SELECT s_dec FROM (SELECT s_ra FROM {T}) AS x", UnknownNameError, (1, 8), "no column"),
        (f"SELECT y.s_ra FROM (SELECT s_ra FROM {T}) AS x", UnknownNameError, (1, 8), "it has x"),
        (f"SELECT (SELECT s_ra, s_dec FROM {T}) FROM {T}", AdqlTypeError, (1, 9), "not 2"),
        (f"SELECT 1 FROM {T} WHERE s_ra IN (SELECT * FROM {T})", AdqlTypeError, (1, 43), "column"),
        (
            f"SELECT 1 FROM {T} WHERE s_ra IN (SELECT obs_id FROM {T})",
            AdqlTypeError,
            (1, 34),
            "a number cannot",
        ),
        (f"SELECT (SELECT s_region FROM {T}) FROM {T}", AdqlTypeError, (1, 9), "no geometry"),
        (
            f"SELECT 1 FROM {T} a WHERE EXISTS (SELECT MAX(a.s_ra) FROM {T} b)",
            AdqlUnsupportedError,
            (1, 51),
            "the query around",
        ),
        (
            f"SELECT lsst_band, (SELECT COUNT(*) FROM {T} b WHERE b.s_ra = a.s_ra) FROM {T} a"
            " GROUP BY lsst_band",
            AdqlTypeError,
            (1, 1),
            "neither in GROUP BY",
        ),
        (f"SELECT CASE WHEN s_ra > 1 THEN 1 ELSE 'a' END FROM {T}", AdqlTypeError, (1, 39), "CASE"),
        (f"SELECT POINT('GALACTIC', s_ra, s_dec) FROM {T}", AdqlUnsupportedError, (1, 8), "ICRS"),
        (f"SELECT POINT('ECLIPTIC', 1, 2) FROM {T}", AdqlUnsupportedError, (1, 8), "ECLIPTIC"),
        (f"SELECT SQRT(RAND() - 1) FROM {T}", AdqlUnsupportedError, (1, 8), "RAND() inside SQRT"),
        (
            f"SELECT DISTANCE(0, 0, AVG(s_ra), 0) FROM {T}",
            AdqlUnsupportedError,
            (1, 8),
            "aggregates or RAND() inside DISTANCE",
        ),
    ],
)
@pytest.mark.parametrize("target", ["sqlite", "postgres"])
def test_fault(
    text: str, kind: type[AdqlError], place: tuple[int, int], words: str, target: str
) -> None:
    with pytest.raises(kind) as caught:
        compile_query(text, catalog=CATALOG, target=target, maxrec=10)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert (caught.value.line, caught.value.column) == place


@pytest.mark.parametrize(
    "name", ["row_id", "file_path", "image_ref", "recipe_key", '"row_id"', "obscore.file_path"]
)
@pytest.mark.parametrize(
    "place", ["SELECT {} FROM ivoa.ObsCore", "SELECT 1 FROM ivoa.ObsCore WHERE {} IS NULL"]
)
def test_hidden_columns_cannot_be_reached(name: str, place: str) -> None:
    with pytest.raises(UnknownNameError):
        compile_query(place.format(name), catalog=CATALOG, target="sqlite", maxrec=1)


@pytest.mark.parametrize("table", ["job", "obscore", '"public".job', "sqlite_master", "tap_tables"])
def test_physical_tables_cannot_be_reached(table: str) -> None:
    with pytest.raises(UnknownNameError):
        compile_query(f"SELECT * FROM {table}", catalog=CATALOG, target="sqlite", maxrec=1)


def test_functions_in_functions_cannot_blow_up_the_statement() -> None:
    text = "POWER(" * 40 + "s_ra" + ", 2)" * 40
    with pytest.raises(LimitError, match="size of a compiled query"):
        compile_query(f"SELECT {text} FROM {T}", catalog=CATALOG, target="postgres", maxrec=1)


@pytest.mark.parametrize("target", ["sqlite", "postgres"])
@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f"SELECT {'+'.join(['s_ra'] * 600)} FROM {T}", "terms of one sum"),
        (f"SELECT {'||'.join(['obs_id'] * 600)} FROM {T}", "terms of one sum"),
        (f"SELECT 1 FROM {' JOIN '.join([f'{T} USING (obs_id)'] * 300)[:-15]}", "tables"),
        (
            "SELECT * FROM (" * 7 + f"SELECT {'s_ra,' * 900}1 FROM {T}" + ") AS t" * 7,
            "columns of all",
        ),
        (f"SELECT 1 FROM {T} ORDER BY {'s_ra,' * 200}1", "expressions in ORDER BY"),
        (f"SELECT 1 FROM {T} WHERE s_ra IN ({','.join(map(str, range(3_000)))})", "words"),
    ],
    ids=["sum", "concatenation", "joins", "columns", "keys", "list"],
)
def test_what_the_engines_cannot_hold_is_refused(text: str, what: str, target: str) -> None:
    text = text.replace("USING (obs_id)", "", 1) if "JOIN" in text else text
    with pytest.raises(LimitError, match=what):
        compile_query(text, catalog=CATALOG, target=target, maxrec=1)  # type: ignore[arg-type]


SHAPES = Table(
    schema_name="up",
    name="up.shapes",
    physical="shapes",
    fields=(
        Field(name="p", column="c5", kind="point", datatype="double", arraysize="2", xtype="point"),
        Field(
            name="a", column="c7", kind="region", datatype="double", arraysize="*", xtype="polygon"
        ),
    ),
)


@pytest.mark.parametrize("target", ["sqlite", "postgres"])
def test_a_region_of_numbers_has_no_text_behind_distinct(target: str) -> None:
    catalog = Catalog(schemas=(Schema(name="up", description="", tables=(SHAPES,)),))
    test = "CONTAINS(p, CIRCLE(1, 2, 3)) = 1 AND CONTAINS(POINT(1, 2), a) = 1"

    def run(text: str) -> None:
        compile_query(text, catalog=catalog, target=target, maxrec=1)  # type: ignore[arg-type]

    run(f"SELECT p FROM (SELECT p, a FROM up.shapes) AS d WHERE {test}")
    run("SELECT p FROM (SELECT DISTINCT p FROM up.shapes) AS d WHERE CONTAINS(p, BOX(1,2,3,4)) = 1")
    with pytest.raises(AdqlUnsupportedError, match="has passed DISTINCT"):
        run(f"SELECT p FROM (SELECT DISTINCT p, a FROM up.shapes) AS d WHERE {test}")
