"""From text to tree: structure, positions, bounds."""

from __future__ import annotations

from typing import Any

import pytest

from app.adql import tree
from app.adql.parse import MAX_CHARACTERS, MAX_DEPTH, parse
from app.errors import AdqlSyntaxError, LimitError


def select(text: str) -> tree.Select:
    body = parse(text).body
    assert isinstance(body, tree.Select)
    return body


def value(text: str) -> Any:
    item = select(f"SELECT {text} FROM t").items[0]
    assert isinstance(item, tree.SelectItem)
    return item.value


def shown(node: Any) -> str:
    """A value with all its parentheses."""
    if isinstance(node, tree.Chain):
        text = shown(node.first)
        for operator, operand in node.rest:
            text = f"({text}{operator}{shown(operand)})"
        return text
    if isinstance(node, tree.Signed):
        return f"(-{shown(node.operand)})"
    return str(node.value) if isinstance(node, tree.Number) else node.parts[-1].text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a-b-c", "((a-b)-c)"),
        ("a-(b-c)", "(a-(b-c))"),
        ("a/b/c*d", "(((a/b)/c)*d)"),
        ("a+b*c-d", "((a+(b*c))-d)"),
        ("-a*b", "((-a)*b)"),
        ("a*-b", "(a*(-b))"),
        ("(a+b)*c", "((a+b)*c)"),
        ("+a", "a"),
        ("1.5e3+.5+2.", "((1500.0+0.5)+2.0)"),
    ],
)
def test_operators_bind_from_the_left(text: str, expected: str) -> None:
    assert shown(value(text)) == expected


def test_and_binds_before_or_and_not_before_both() -> None:
    where = select("SELECT a FROM t WHERE NOT a=1 AND b=2 OR c BETWEEN 1 AND 2 AND d=4").where
    assert isinstance(where, tree.Junction)
    assert where.word == "OR"
    first, second = where.terms
    assert isinstance(first, tree.Junction)
    assert isinstance(second, tree.Junction)
    assert [type(term) for term in first.terms] == [tree.Not, tree.Comparison]
    assert [type(term) for term in second.terms] == [tree.Between, tree.Comparison]


def test_positions_are_those_of_the_text() -> None:
    items = select("SELECT a,\n  b + 1\nFROM t").items
    assert [item.value.at for item in items if isinstance(item, tree.SelectItem)] == [
        (1, 8),
        (2, 3),
    ]


def test_identifiers() -> None:
    names = value('"My ""odd"" name"').parts
    assert names == (tree.Name('My "odd" name', True, tree.At(1, 1)),)
    assert [name.text for name in value("c.s.t.col").parts] == ["c", "s", "t", "col"]


def test_set_operators_apply_from_the_left_and_intersect_first() -> None:
    body = parse("SELECT a FROM t UNION ALL SELECT a FROM u INTERSECT SELECT a FROM v").body
    assert isinstance(body, tree.SetOperation)
    assert [(word, everything) for word, everything, _ in body.rest] == [("UNION", True)]
    assert isinstance(body.rest[0][2], tree.SetOperation)


def test_joins_with_tables_subqueries_and_parentheses() -> None:
    text = "SELECT * FROM a JOIN (b LEFT JOIN c USING (x)) ON a.y = b.y, (SELECT * FROM d) AS e"
    first, second = select(text).tables
    assert isinstance(first, tree.Join)
    assert isinstance(first.right, tree.Join)
    assert first.right.using[0].text == "x"
    assert isinstance(second, tree.DerivedTable)


def test_comments_and_blank_space_are_nothing() -> None:
    assert parse("SELECT--one\n a -- two\nFROM\tt;") == parse("select a from t")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT " + "(" * MAX_DEPTH + "1" + ")" * MAX_DEPTH + " FROM t",
        "SELECT a FROM t WHERE " + " AND ".join(["a=1"] * 900),
        "SELECT " + "+".join(["a"] * 1900) + " FROM t",
        "SELECT a FROM " + " JOIN ".join(["t USING (a)"] * 600).replace("t USING (a)", "t", 1),
        "SELECT a FROM t UNION " * 750 + "SELECT a FROM t",
    ],
    ids=["parentheses", "and", "plus", "joins", "unions"],
)
def test_large_queries_need_no_recursion(text: str) -> None:
    parse(text)


def test_bounds() -> None:
    with pytest.raises(AdqlSyntaxError, match="are nested more than 100"):
        parse("SELECT " + "(" * 10_000)
    with pytest.raises(AdqlSyntaxError, match="are nested more than 100"):
        parse("SELECT " + "CASE WHEN 1 = " * 200 + "1" + " THEN 1 END" * 200 + " FROM t")
    with pytest.raises(LimitError, match="characters"):
        parse("SELECT a FROM t -- " + "x" * MAX_CHARACTERS)
    with pytest.raises(LimitError, match="words"):
        parse("SELECT " + "a,a," * 3_000)


def test_an_unclosed_quote_is_named() -> None:
    with pytest.raises(AdqlSyntaxError, match="never closed"):
        parse("SELECT '" + "''" * 9_000 + " FROM t")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SELECT POINT(1) FROM t", "POINT takes lon, lat"),
        ("SELECT POINT('junk', 1, 2) FROM t", "no coordinate system"),
        ("SELECT POLYGON(1, 2, 3, 4) FROM t", "POLYGON takes"),
        ("SELECT DISTANCE(1, 2, 3) FROM t", "DISTANCE takes"),
        ("SELECT CENTROID(3) FROM t", "CENTROID takes"),
        ("SELECT SQRT() FROM t", "SQRT takes 1 argument, not 0"),
        ("SELECT ATAN2(1) FROM t", "ATAN2 takes 2 arguments"),
        ("SELECT ROUND(a, b) FROM t", "whole number"),
        ("SELECT 1 + POINT(1, 2) FROM t", "geometry is no number"),
        ("SELECT a.b.c.d.e FROM t", "four words"),
        ("SELECT a FROM a.b.c.d", "three words"),
        ("SELECT TOP 99999999999999999999 a FROM t", "too large"),
        (f"SELECT TOP {'9' * 5000} a FROM t", "too large"),
        (f"SELECT a FROM t OFFSET {'9' * 5000}", "too large"),
        (f"SELECT CAST(a AS CHAR({'9' * 5000})) FROM t", "too large"),
        ("SELECT 1e999 FROM t", "too large"),
    ],
)
def test_faults_beyond_the_grammar(text: str, reason: str) -> None:
    with pytest.raises(AdqlSyntaxError, match=reason):
        parse(text)
