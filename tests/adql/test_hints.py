"""What a user reads for common slips, and what FIX=true makes of them: pairs of text."""

from __future__ import annotations

import random

import pytest

from app.adql.compile import compile_query
from app.adql.judging import judge_query, split_queries
from app.adql.mending import Mended, mend
from app.errors import AdqlError, UsageError
from app.schema.catalog import CATALOG

HINTS: list[tuple[str, str]] = [
    ("SELECT s_ra FROM {t} LIMIT 5", "ADQL limits rows by SELECT TOP n (line 1, column 37)"),
    ("SELECT s_ra FROM {t} WHERE s_ra > 1 LIMIT 5", "SELECT TOP n (line 1, column 46)"),
    (
        "SELECT s_ra::int FROM {t}",
        "values are converted by CAST(value AS type) (line 1, column 12)",
    ),
    ("SELECT s_ra FROM {t} WHERE s_ra == 1", "equality is written = (line 1, column 43)"),
    ("SELECT `s_ra` FROM {t}", 'double quotes: "name" (line 1, column 8)'),
    ("SELECT now() FROM {t}", "no function now; ADQL has no clock: write the time itself"),
    ("SELECT CURRENT_TIMESTAMP FROM {t}", "ADQL has no clock: write the time itself"),
    ("SELECT ceil(s_ra) FROM {t}", "no function ceil; it is called CEILING"),
    ("SELECT substr(obs_id, 1) FROM {t}", "ADQL has no SUBSTRING"),
    ("SELECT sqroot(s_ra) FROM {t}", "did you mean SQRT?"),
    ("SELECT s_ra s_dec t_min FROM {t}", "expected ',' or FROM; is a comma missing before it?"),
    ("SELECT s_ra FROM {t} WHERE s_ra BETWEEN 1, 2", "a range is written: value BETWEEN low AND"),
    ("SELECT s_ra FROM {t} WHERE s_ra BETWEEN 1", "a range is written: value BETWEEN low AND"),
    (
        "SELECT s_ra FROM {t} WHERE CONTAINS(POINT(1, 2), s_region)",
        "CONTAINS gives 1 or 0: write CONTAINS(…) = 1 (line 1, column 68)",
    ),
    (
        "SELECT s_ra FROM {t} WHERE INTERSECTS(s_region, CIRCLE(1, 2, 3)) AND s_ra > 1",
        "INTERSECTS gives 1 or 0: write INTERSECTS(…) = 1",
    ),
    ("SELECT s_ra FROM {t} WHERE CONTAINS(POINT(1, 2), s_region) = TRUE", "no truth values"),
    ("SELECT distance FROM {t}", 'distance is a reserved word: write "distance" in double quotes'),
    ("SELECT s_ra AS size FROM {t}", 'size is a reserved word: write "size" in double quotes'),
    ("SELECT MIN FROM {t}", 'MIN is a reserved word: write "MIN" in double quotes'),
    (
        "SELECT obs_id FROM {t} GROUP BY obs_id HAVING COUNT > 2",
        "or COUNT(*) to call the function",
    ),
    ("SELECT s_ra FROM {t} WHERE s_ra > 1 ADN s_dec < 2", "did you mean AND instead of ADN?"),
    ("SELECT s_ra FROM {t} WHERE s_ra > 1 AN s_dec < 2", "did you mean AND instead of AN?"),
    ("SELECT s_ra FROM {t} WHERE s_ra SI NULL", "did you mean IS instead of SI?"),
    (
        "SELECT s_ra FROM {t} WHERE CONTAINS(POINT('12:30:00', '-30:15:00'), s_region) = 1",
        "coordinates are numbers in degrees: 12.5, or 187.5 if these are hours",
    ),
    (
        "SELECT s_ra FROM {t} WHERE DISTANCE(s_ra, s_dec, 12.5, '-30 15 36') < 1",
        "coordinates are numbers in degrees: -30.26 (line",
    ),
    ("SELECT POINT('12.5', -30) FROM {t}", "coordinates are degrees without quotes: 12.5"),
    ("SELECT POINT(12:30:00, -30) FROM {t}", "coordinates are numbers in degrees"),
    (
        "SELECT n FROM TAP_UPLOAD.mine",
        "no table came with the query; send it in a form item and name both, as in"
        " UPLOAD=mine,param:form_item",
    ),
    ("SELECT _RAJ2000 FROM {t}", 'names begin with a letter: write "_RAJ2000" in double quotes'),
    ("SELECT s_ra, FROM {t}", "found 'FROM'; expected a value; a comma too many stands before it"),
    (
        "SELECT s_ra FROM {t} ORDER BY s_ra WHERE s_ra > 1",
        "the clauses stand in this order: SELECT",
    ),
    ("DELETE FROM {t}", "only queries are answered"),
    ("SELECT s_ra FROM {t} WHERE obs_id = ‘a’", "this is a typographic quote: write the plain '"),
    ("SELECT s_ra FROM {t} WHERE s_dec > −5", "this is no minus sign"),
    ("SELECT s_ra % 2 FROM {t}", "the remainder is MOD(a, b)"),
    ("SELECT s_ra ** 2 FROM {t}", "powers are POWER(a, b)"),
    ("SELECT s_ra ^ 2 FROM {t}", "powers are POWER(a, b)"),
    ("SELECT /* all */ s_ra FROM {t}", "a comment begins with --"),
    ("SELECT s_ra FROM {t} WHERE s_ra > 1 && s_dec > 1", "conditions are joined by AND"),
    ("SELECT s_ra FROM {t} WHERE s_ra > ?", "a query has no parameters"),
    ("SELECT\u200b s_ra FROM {t}", "this character cannot be seen: delete it"),
    ("SELECT ra FROM {t}", "did you mean s_ra?"),
    ("SELECT s_ra FORM {t}", "did you mean FROM instead of FORM?"),
    (
        "SELECT s_ra FROM {t} WERE s_ra > 1",
        "did you mean WHERE instead of WERE? (line 1, column 36)",
    ),
    ("SELECT s_ra FROM {t} ODER BY s_ra", "did you mean ORDER instead of ODER?"),
    ("SELECT s_ra FROM {t} ORDER BY s_ra DSC", "did you mean DESC instead of DSC?"),
    ("SELEC s_ra FROM {t}", "did you mean SELECT instead of SELEC?"),
    ("SELECT * TOP 10 FROM {t}", "TOP n stands at the start: SELECT TOP n"),
    ("SELECT TOP 10 DISTINCT s_ra FROM {t}", "DISTINCT stands right behind SELECT, before TOP"),
    ("SELECT s_ra FROM {t} WHERE t_min > '2026-01-31'", "is ivo_to_mjd('2026-01-31') (line 1"),
    ("SELECT s_ra", "every query says behind FROM which tables it asks"),
    ("SELECT s_rra FROM {t}", "no column s_rra in ivoa.ObsCore; did you mean s_ra?"),
    ("SELECT s_region2 FROM {t}", "did you mean s_region?"),
    ("SELECT s_ra FROM ivoa.obscor", "no table ivoa.obscor; did you mean ivoa.ObsCore?"),
]

MENDED: list[tuple[str, str, list[str]]] = [
    ("SELECT s_ra FROM {t} LIMIT 5", "SELECT TOP 5 s_ra FROM {t} ", ["LIMIT 5 became TOP 5"]),
    (
        "SELECT DISTINCT s_ra FROM {t} ORDER BY s_ra LIMIT 5 OFFSET 3",
        "SELECT DISTINCT TOP 5 s_ra FROM {t} ORDER BY s_ra  OFFSET 3",
        ["LIMIT 5 became TOP 5"],
    ),
    (
        "SELECT s_ra FROM {t} FETCH FIRST 3 ROWS ONLY",
        "SELECT TOP 3 s_ra FROM {t} ",
        ["FETCH 3 became TOP 3"],
    ),
    ("SELECT s_ra FROM {t};;", "SELECT s_ra FROM {t};", ["semicolons at the end are left out"]),
    (
        "SELECT o.s_ra::int FROM {t} AS o",
        "SELECT CAST(o.s_ra AS INTEGER) FROM {t} AS o",
        ["o.s_ra::int became CAST(o.s_ra AS INTEGER)"],
    ),
    (
        "SELECT s_ra FROM {t} WHERE s_ra == 1",
        "SELECT s_ra FROM {t} WHERE s_ra = 1",
        ["== became ="],
    ),
    ("SELECT `s_ra` FROM {t}", 'SELECT "s_ra" FROM {t}', ['`s_ra` became "s_ra"']),
    (
        "SELECT s_ra FROM {t} WHERE CONTAINS(POINT(1, 2), s_region) AND (NOT INTERSECTS(s_region,"
        " CIRCLE(1, 2, 3))) OR 1 = CONTAINS(POINT(3, 2), s_region)",
        "SELECT s_ra FROM {t} WHERE CONTAINS(POINT(1, 2), s_region) = 1 AND (NOT INTERSECTS("
        "s_region, CIRCLE(1, 2, 3)) = 1) OR 1 = CONTAINS(POINT(3, 2), s_region)",
        ["= 1 was added behind CONTAINS(…)", "= 1 was added behind INTERSECTS(…)"],
    ),
    (
        "SELECT s_ra FROM {t} WHERE CONTAINS(POINT(1, 2), s_region) = TRUE",
        "SELECT s_ra FROM {t} WHERE CONTAINS(POINT(1, 2), s_region) = 1",
        ["TRUE became 1"],
    ),
    (
        "SELECT s_ra AS distance, s_dec AS public, t_min AS _RAJ2000 FROM {t}",
        'SELECT s_ra AS "distance", s_dec AS "public", t_min AS "_RAJ2000" FROM {t}',
        [
            'distance became "distance"',
            'public became "public"',
            '_RAJ2000 became "_RAJ2000"',
        ],
    ),
    (
        "SELECT SIZE FROM tap_schema.columns",
        'SELECT "size" FROM tap_schema.columns',
        ['SIZE became "size"'],
    ),
    ("SELECT s_ra, FROM {t}", "SELECT s_ra FROM {t}", ["the comma before FROM is left out"]),
    (
        "SELECT s_ra FROM {t} WHERE obs_id = ‘a’ AND s_dec > −5",
        "SELECT s_ra FROM {t} WHERE obs_id = 'a' AND s_dec > -5",
        ["‘ became '", "’ became '", "− became -"],
    ),
    (
        'SELECT s_ra FROM {t} WHERE obs_id = "it\'s" OR lsst_band IN ("g", "r")',
        "SELECT s_ra FROM {t} WHERE obs_id = 'it''s' OR lsst_band IN ('g', 'r')",
        [
            "\"it's\" became the string 'it''s'",
            "\"g\" became the string 'g'",
            "\"r\" became the string 'r'",
        ],
    ),
    ('SELECT "S_RA" FROM {t}', "SELECT s_ra FROM {t}", ['"S_RA" became s_ra']),
    (
        "SELECT s_ra FROM obscore",
        "SELECT s_ra FROM ivoa.ObsCore",
        ["table obscore became ivoa.ObsCore"],
    ),
    (
        "SELECT 1 AS x FROM {t} o, columns c JOIN ivoa.obscor q ON q.obs_id = c.column_name",
        "SELECT 1 AS x FROM {t} o, tap_schema.columns c JOIN ivoa.ObsCore q"
        " ON q.obs_id = c.column_name",
        ["table columns became tap_schema.columns", "table ivoa.obscor became ivoa.ObsCore"],
    ),
    (
        "SELECT\u200bs_ra /* x */ FROM {t}",
        "SELECT s_ra   FROM {t}",
        ["the invisible U+200B is left out", "a comment /* … */ is left out"],
    ),
]

LEFT_ALONE = [
    "SELECT s_ra FROM {t}",
    "SELECT s_rra FROM {t}",
    "SELECT s_ra FROM {t}; DROP TABLE job",
    "SELECT TOP 3 s_ra FROM {t} LIMIT 5",
    "SELECT s_ra FROM {t} UNION SELECT s_dec FROM {t} LIMIT 5",
    "SELECT s_ra FROM {t} LIMIT 5, 10",
    "SELECT s_ra FROM nothing.like_it",
    "SELECT s_ra FROM {t} WHERE s_ra BETWEEN 1",
    "SELECT 'a FROM {t}",
    "SELECT s_ra FROM {t} WHERE obs_title = 'LIMIT 5; ‘x’ == TRUE'",
    "",
]


def fault_of(text: str) -> UsageError | None:
    try:
        compile_query(text, catalog=CATALOG, target="sqlite", maxrec=1)
    except UsageError as fault:
        return fault
    return None


def mended(text: str) -> Mended | None:
    return mend(text, CATALOG, fault_of)


@pytest.mark.parametrize(("text", "words"), HINTS)
def test_hint(text: str, words: str) -> None:
    fault = fault_of(text.format(t="ivoa.obscore"))
    assert isinstance(fault, AdqlError)
    assert words in str(fault)


@pytest.mark.parametrize(("text", "expected", "changes"), MENDED)
def test_mended(text: str, expected: str, changes: list[str]) -> None:
    found = mended(text.format(t="ivoa.ObsCore"))
    assert found is not None
    assert found.text == expected.format(t="ivoa.ObsCore")
    assert list(found.changes) == changes
    assert fault_of(found.text) is None


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_left_alone(text: str) -> None:
    assert mended(text.format(t="ivoa.ObsCore")) is None


def test_mending_ends() -> None:
    """However many slips: a text with too many is left to its author."""
    many = " AND ".join(["CONTAINS(POINT(1, 2), s_region)"] * 15)
    assert mended(f"SELECT s_ra FROM ivoa.ObsCore WHERE {many}") is not None
    assert mended(f"SELECT s_ra FROM ivoa.ObsCore WHERE {many} AND {many} AND {many}") is None
    assert mended("SELECT s_ra FROM obscore -- " + "x" * 30_000) is None


def test_no_text_breaks_mending() -> None:
    """Mended queries with words dropped, doubled and marred: a verdict, never anything else."""
    rng = random.Random(4)
    marks = [
        '"',
        "‘",
        "==",
        "LIMIT 5",
        "::int",
        "`",
        "TRUE",
        "(",
        ")",
        ";",
        "/*",
        "'",
        "FETCH",
        ",",
    ]
    mended_ones = 0
    for _ in range(40):
        for text, _, _ in MENDED:
            words = text.format(t="ivoa.ObsCore").split(" ")
            place = rng.randrange(len(words))
            words[place : place + rng.randrange(2)] = rng.choices(
                [*marks, *words], k=rng.randrange(3)
            )
            verdict = judge_query(" ".join(words), CATALOG)
            assert verdict.valid or verdict.message
            if verdict.mended is not None:
                mended_ones += 1
                assert judge_query(verdict.mended.text, CATALOG).valid
    assert mended_ones > 50


@pytest.mark.parametrize(
    ("text", "passages"),
    [
        ("SELECT 1", [("SELECT 1", 1, 1)]),
        (";; ;", []),
        (
            "-- a; b\n SELECT ';' ; --\n\tSELECT 2 -- x",
            [("SELECT ';'", 2, 2), ("SELECT 2", 3, 2)],
        ),
        ('SELECT "a;b" FROM t;SELECT 2', [('SELECT "a;b" FROM t', 1, 1), ("SELECT 2", 1, 21)]),
    ],
)
def test_queries_of_a_text(text: str, passages: list[tuple[str, int, int]]) -> None:
    assert [(p.text, p.line, p.column) for p in split_queries(text)] == passages
