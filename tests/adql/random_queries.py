"""Random queries that both engines must answer alike.

A query is built from a stream of choices (:data:`Choose`), which hypothesis or a seeded generator
supplies. What it may contain is all of the relational language, functions, geometry and NULLs; what
it may not contain are questions without one answer: TOP without a total order, sums of doubles in a
condition (their last digits depend on the order of the rows), RAND().
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

Choose = Callable[[int], int]
"""A number from 0 to n - 1."""

Columns = tuple[tuple[str, str], ...]
"""(how it is written, kind); the kinds are those below."""

INTEGER, REAL, TEXT, POINT, REGION = "integer", "real", "text", "point", "region"

TABLE: Final = "ivoa.ObsCore"
TABLE_COLUMNS: Final[Columns] = (
    ("calib_level", INTEGER),
    ("s_xel1", INTEGER),
    ("lsst_visit", INTEGER),
    ("s_ra", REAL),
    ("s_dec", REAL),
    ("s_fov", REAL),
    ("t_exptime", REAL),
    ("obs_id", TEXT),
    ("obs_title", TEXT),
    ("obs_collection", TEXT),
    ("lsst_band", TEXT),
    ("access_url", TEXT),
    ("s_region", REGION),
)

_LITERALS: Final = {
    INTEGER: (
        "0",
        "1",
        "2",
        "3",
        "-7",
        "448",
        "0x1F",
        "9223372036854775807",
        "4611686018427387904",
    ),
    REAL: ("0.0", "0.25", "-1.5", "2.5", "62.", "1e-8", "1e17", "1e300", "-1e200"),
    TEXT: (
        "' 12 '",
        "'-1.5e2'",
        "'2024-02-29T12:00'",
        "'a#g#Alpha'",
        "'0 +Inf'",
        "'g'",
        "'alpha'",
        "'Zeta'",
        "''",
        "'it''s'",
        "'äther'",
        "'v010'",
        "'%a_'",
    ),
}
_TEXTS = ("'a%'", "'%a'", "'_lpha'", "'50\\%%'", "'v0_5'", "'%'", "''", "'A*'")
_POINTS = ("POINT(62, -37)", "POINT(0.1, 0.1)", "POINT('ICRS', 359.9, 45)", "POINT(120, 80)")
_REGIONS = (
    "CIRCLE(62, -37, 0.8)",
    "CIRCLE('', 0, 0, 2)",
    "POLYGON(359,-1, 1,-1, 1,1, 359,1)",
    "BOX(120, 80, 3, 1)",
)


@dataclass(frozen=True)
class Answer:
    """A query and its columns."""

    text: str
    columns: Columns


class QueryMaker:
    """Builds one query; ``weight`` falls with every part, so that queries end."""

    def __init__(self, choose: Choose, weight: int = 26) -> None:
        self._choose = choose
        self._weight = weight
        self._names = 0
        self._named: list[tuple[str, Columns]] = []

    def query(self) -> str:
        """The text of a whole query."""
        parts = []
        for _ in range(self._choose(3) // 2 + (self._choose(4) == 0)):
            answer = self._body((), nested=True)
            name = self._name("w")
            parts.append(f"{name} AS ({answer.text})")
            self._named.append((name, answer.columns))
        text = self._body((), nested=False).text
        return f"WITH {', '.join(parts)} {text}" if parts else text

    def _pick(self, items: Sequence[str]) -> str:
        return items[self._choose(len(items))]

    def _one_in(self, count: int) -> bool:
        return self._choose(count) == count - 1

    def _spend(self, cost: int = 1) -> bool:
        self._weight -= cost
        return self._weight > 0

    def _name(self, letter: str) -> str:
        self._names += 1
        return f"{letter}{self._names}"

    # ---------------------------------------------------------------- queries

    def _body(self, outer: Columns, *, nested: bool, kinds: Sequence[str] = ()) -> Answer:
        if self._one_in(5) and self._spend(4):
            return self._set_query(outer, kinds)
        return self._select(outer, kinds=kinds)

    def _set_query(self, outer: Columns, kinds: Sequence[str]) -> Answer:
        wanted = kinds or [
            self._pick((INTEGER, REAL, TEXT, TEXT, INTEGER)) for _ in range(1 + self._choose(2))
        ]
        first = self._select(outer, kinds=wanted, cut=False)
        text = first.text
        for _ in range(1 + self._choose(2)):
            word = self._pick(
                ("UNION", "UNION ALL", "EXCEPT", "EXCEPT ALL", "INTERSECT", "INTERSECT ALL")
            )
            other = self._select(outer, kinds=wanted, cut=self._one_in(3))
            operand = (
                f"({other.text})" if self._one_in(2) or " ORDER BY " in other.text else other.text
            )
            text = f"{text} {word} {operand}"
        return Answer(self._ordered(text, len(wanted)), first.columns)

    def _ordered(self, text: str, count: int) -> str:
        if not self._one_in(3):
            return text
        keys = [f"{i}{self._pick(('', ' DESC', ' ASC'))}" for i in range(1, count + 1)]
        text += " ORDER BY " + ", ".join(keys)
        return f"{text} OFFSET {self._choose(5)}" if self._one_in(2) else text

    def _select(self, outer: Columns, *, kinds: Sequence[str] = (), cut: bool = True) -> Answer:
        tables, own = self._from(outer)
        columns = own + outer
        where = f" WHERE {self._condition(columns)}" if self._one_in(2) else ""
        if self._one_in(4) and self._spend(2):
            return self._grouped(tables, own, where, kinds)
        wanted = list(kinds) or [
            self._pick((INTEGER, REAL, TEXT, TEXT, REAL, REGION, POINT))
            for _ in range(1 + self._choose(3))
        ]
        items, shown = [], []
        for kind in wanted:
            name = self._name("x")
            items.append(f"{self._value(kind, columns)} AS {name}")
            shown.append((name, kind))
        plain = all(kind not in (POINT, REGION) for kind in wanted)
        distinct = "DISTINCT " if self._one_in(5) and plain else ""
        top, order = "", ""
        if cut and plain and self._one_in(4):
            order = " ORDER BY " + ", ".join(
                f"{i}{self._pick(('', ' DESC'))}" for i in range(1, len(wanted) + 1)
            )
            top = f"TOP {self._choose(9)} " if self._one_in(2) else ""
            order += f" OFFSET {self._choose(4)}" if self._one_in(3) else ""
        text = f"SELECT {distinct}{top}{', '.join(items)} FROM {tables}{where}{order}"
        return Answer(text, tuple(shown))

    def _grouped(self, tables: str, own: Columns, where: str, kinds: Sequence[str]) -> Answer:
        """Aggregates over groups of one plain column, or over everything."""
        plain = [name for name, kind in own if kind in (INTEGER, TEXT, REAL)]
        keys = [self._pick(plain)] if plain and self._one_in(2) else []
        by_name = dict(own)
        items, shown = [], []
        for key in keys if not kinds else []:
            name = self._name("x")
            items.append(f"{key} AS {name}")
            shown.append((name, by_name[key]))
        for kind in list(kinds) or [self._pick((INTEGER, REAL, TEXT))]:
            name = self._name("x")
            items.append(f"{self._aggregate(kind, own)} AS {name}")
            shown.append((name, kind))
        text = f"SELECT {', '.join(items)} FROM {tables}{where}"
        if keys:
            text += f" GROUP BY {', '.join(keys)}"
        if self._one_in(3):
            text += (
                f" HAVING {self._aggregate(INTEGER, own)} {self._comparison()} {self._choose(9)}"
            )
        return Answer(text, tuple(shown))

    def _aggregate(self, kind: str, columns: Columns) -> str:
        if kind == INTEGER:
            inner = self._value(self._pick((INTEGER, REAL, TEXT)), columns)
            whole = self._value(INTEGER, columns)
            return self._pick(
                (
                    "COUNT(*)",
                    f"COUNT({inner})",
                    f"COUNT(DISTINCT {inner})",
                    f"MAX({whole})",
                    f"SUM({whole})",
                    f"SUM(DISTINCT {whole})",
                )
            )
        if kind == REAL:
            return f"{self._pick(('MIN', 'MAX'))}({self._value(REAL, columns)})"
        return f"{self._pick(('MIN', 'MAX'))}({self._value(TEXT, columns)})"

    # ---------------------------------------------------------------- FROM

    def _from(self, outer: Columns) -> tuple[str, Columns]:
        left, columns = self._table(outer)
        if not self._one_in(3) or not self._spend(5):
            return left, columns
        right, others = self._table(outer)
        kind = self._pick(("JOIN", "LEFT JOIN", "RIGHT OUTER JOIN", "FULL JOIN", "CROSS JOIN", ","))
        both = columns + others
        if kind in ("CROSS JOIN", ","):
            return f"{left} {kind} {right}", both
        return f"{left} {kind} {right} ON {self._join_condition(columns, others)}", both

    def _join_condition(self, ours: Columns, theirs: Columns) -> str:
        kind = self._pick((INTEGER, TEXT, REAL))
        a = [name for name, own in ours if own == kind]
        b = [name for name, own in theirs if own == kind]
        if a and b and not self._one_in(4):
            test = f"{self._pick(a)} {self._pick(('=', '=', '<', '<>'))} {self._pick(b)}"
            return f"{test} AND {self._condition(ours + theirs)}" if self._one_in(3) else test
        regions = [[n for n, k in side if k == REGION] for side in (ours, theirs)]
        if all(regions) and self._one_in(2):
            return f"INTERSECTS({self._pick(regions[0])}, {self._pick(regions[1])}) = 1"
        return self._condition(ours + theirs)

    def _table(self, outer: Columns) -> tuple[str, Columns]:
        alias = self._name("t")
        if self._named and self._one_in(2):
            name, columns = self._named[self._choose(len(self._named))]
            return f"{name} AS {alias}", _of(alias, columns)
        if self._one_in(4) and self._spend(4):
            inner = self._body(outer, nested=True)
            return f"({inner.text}) AS {alias}", _of(alias, inner.columns)
        return f"{TABLE} AS {alias}", _of(alias, TABLE_COLUMNS)

    # ---------------------------------------------------------------- values

    def _value(self, kind: str, columns: Columns) -> str:
        if kind in (POINT, REGION):
            return self._geometry(kind, columns)
        if not self._one_in(3) or not self._spend():
            return self._leaf(kind, columns)
        if self._one_in(9) and self._spend(6):
            return self._scalar(kind, columns)
        if self._one_in(6):
            test = self._condition(columns)
            return (
                f"CASE WHEN {test} THEN {self._value(kind, columns)}"
                f" ELSE {self._value(kind, columns)} END"
            )
        if self._one_in(6):
            return f"COALESCE({self._value(kind, columns)}, {self._value(kind, columns)})"
        return {INTEGER: self._whole, REAL: self._real, TEXT: self._text}[kind](columns)

    def _leaf(self, kind: str, columns: Columns) -> str:
        names = [name for name, own in columns if own == kind]
        if names and not self._one_in(4):
            return self._pick(names)
        return "NULL" if kind != TEXT and self._one_in(12) else self._pick(_LITERALS[kind])

    def _scalar(self, kind: str, columns: Columns) -> str:
        tables, own = self._from(())
        where = f" WHERE {self._condition(own + columns)}" if self._one_in(2) else ""
        return f"(SELECT {self._aggregate(kind, own)} FROM {tables}{where})"

    def _whole(self, columns: Columns) -> str:
        a, b = self._value(INTEGER, columns), self._value(INTEGER, columns)
        forms = [f"({a} {sign} {b})" for sign in "+-*/"]
        forms += [f"MOD({a}, {b})", f"ABS({a})", f"(-{_operand(a)})", f"({a} + {b} - {b})"]
        point = self._geometry(POINT, columns)
        forms.append(f"CONTAINS({point}, {self._geometry(REGION, columns)})")
        forms += self._asked_of_texts(columns)
        forms += [f"CAST({a} AS {name})" for name in ("SMALLINT", "INTEGER", "BIGINT")]
        real = self._leaf(REAL, columns)
        forms += [f"CAST({real} AS INTEGER)", f"ivo_healpix_index(MOD({a}, 31), {real}, {b})"]
        forms += [f"ivo_interval_overlaps({real}, {a}, {b}, 2)"]
        return self._pick(forms)

    def _asked_of_texts(self, columns: Columns) -> list[str]:
        """Whole numbers that functions make of texts."""
        a, b = self._leaf(TEXT, columns), self._leaf(TEXT, columns)
        forms = [f"{name}({a}, {b})" for name in ("ivo_hasword", "ivo_hashlist_has")]
        forms += [f"ivo_nocasematch({a}, {self._pick(_TEXTS)})", f"CAST({a} AS BIGINT)"]
        return [*forms, f"ivo_interval_has(1, {a})", f"CAST({a} AS SMALLINT)"]

    def _real(self, columns: Columns) -> str:
        a = self._value(self._pick((REAL, REAL, INTEGER)), columns)
        b = self._value(REAL, columns)
        forms = [f"({a} {sign} {b})" for sign in "+-*/"]
        forms += [f"{name}({b})" for name in ("SQRT", "LOG10", "FLOOR", "CEILING", "ABS", "SIN")]
        forms += [f"ROUND({b}, 2)", f"TRUNCATE({b})", f"MOD({b}, 7)", f"ATAN2({a}, {b})"]
        forms += [f"(-{_operand(b)})", f"POWER({b}, 2)", f"EXP({b})", f"ACOS({b})"]
        forms += [f"COORD1({self._geometry(POINT, columns)})", f"CAST({a} AS REAL)"]
        text = self._leaf(TEXT, columns)
        forms += [f"CAST({text} AS DOUBLE PRECISION)", f"ivo_to_mjd({text})"]
        forms += [f"DISTANCE({self._geometry(POINT, columns)}, {self._pick(_POINTS)})"]
        return self._pick(forms)

    def _text(self, columns: Columns) -> str:
        a, b = self._value(TEXT, columns), self._value(TEXT, columns)
        whole = self._leaf(INTEGER, columns)
        forms = [f"({a} || {b})", f"LOWER({a})", f"UPPER({a})", f"({a} || '-')"]
        forms += [f"CAST({a} AS CHAR(3))", f"CAST({whole} AS VARCHAR)"]
        return self._pick([*forms, f"CAST({a} AS VARCHAR(2))"])

    def _geometry(self, kind: str, columns: Columns) -> str:
        names = [name for name, own in columns if own == kind]
        if names and not self._one_in(3):
            return self._pick(names)
        if kind == POINT:
            pairs = [name for name, _ in columns if name.endswith(".s_ra")]
            if pairs and self._one_in(2):
                lon = self._pick(pairs)
                return f"POINT({lon}, {lon[:-4]}s_dec)"
            return self._pick(_POINTS)
        return self._pick(_REGIONS)

    # ---------------------------------------------------------------- conditions

    def _comparison(self) -> str:
        return self._pick(("=", "<", ">", "<=", ">=", "<>", "!="))

    def _condition(self, columns: Columns) -> str:
        choice = self._choose(14)
        if choice < 2 and self._spend(2):
            word = self._pick(("AND", "OR"))
            return f"({self._condition(columns)} {word} {self._condition(columns)})"
        if choice == 2 and self._spend():
            return f"NOT ({self._condition(columns)})"
        if choice == 3 and self._spend(7):
            inner = self._select(columns, cut=False)
            return f"{self._pick(('', 'NOT '))}EXISTS ({inner.text})"
        if choice == 4 and self._spend(7):
            kind = self._pick((INTEGER, TEXT, REAL))
            inner = self._body((), nested=True, kinds=(kind,))
            word = self._pick(("IN", "NOT IN"))
            return f"{self._value(kind, columns)} {word} ({inner.text})"
        if choice in (5, 6):
            return self._spatial(columns)
        kind = self._pick((INTEGER, REAL, TEXT))
        value = self._value(kind, columns)
        if choice == 7:
            items = ", ".join(self._value(kind, columns) for _ in range(1 + self._choose(3)))
            return f"{value} {self._pick(('IN', 'NOT IN'))} ({items})"
        if choice == 8:
            low, high = self._value(kind, columns), self._value(kind, columns)
            return f"{value} {self._pick(('', 'NOT '))}BETWEEN {low} AND {high}"
        if choice == 9:
            word = self._pick(("LIKE", "NOT LIKE", "ILIKE"))
            return f"{self._value(TEXT, columns)} {word} {self._pick(_TEXTS)}"
        if choice == 10 and columns:
            name = columns[self._choose(len(columns))][0]
            return f"{name} IS {self._pick(('', 'NOT '))}NULL"
        other = self._value(self._pick((kind, REAL)) if kind != TEXT else TEXT, columns)
        return f"{value} {self._comparison()} {other}"

    def _spatial(self, columns: Columns) -> str:
        region = self._geometry(REGION, columns)
        point = self._geometry(POINT, columns)
        test = self._pick(
            (
                f"CONTAINS({point}, {region})",
                f"INTERSECTS({region}, {self._pick(_REGIONS)})",
                f"INTERSECTS({point}, {region})",
                f"CONTAINS({region}, {self._pick(_REGIONS)})",
            )
        )
        if self._one_in(4):
            return f"DISTANCE({point}, {self._pick(_POINTS)}) < {self._pick(('0.5', '1', '100'))}"
        return f"{test} = {self._choose(2)}"


def _of(alias: str, columns: Columns) -> Columns:
    return tuple((f"{alias}.{name}", kind) for name, kind in columns)


def _operand(text: str) -> str:
    return f"({text})" if text.startswith("-") else text
