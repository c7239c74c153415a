"""What NATURAL and USING make of two lists of columns."""

from __future__ import annotations

from collections.abc import Sequence

from app.adql import tree, typed
from app.adql.kinds import are_comparable, common_kind
from app.adql.scope import Visible, matches
from app.adql.wording import describe
from app.errors import AdqlTypeError, LimitError, UnknownNameError, shortened

_MAX_TABLES = 60
"""SQLite joins 64 at most."""


def check_count(references: tuple[tree.TableReference, ...]) -> None:
    """LimitError for too many tables in one FROM.

    Counts without recursion: a chain of joins is as deep as it is long.
    """
    left, count = list(references), 0
    while left:
        reference = left.pop()
        if isinstance(reference, tree.Join):
            left += [reference.left, reference.right]
        else:
            count += 1
    if count > _MAX_TABLES:
        raise LimitError("tables in one FROM", count, _MAX_TABLES)


def shared_names(
    join: tree.Join, left: Sequence[Visible], right: Sequence[Visible]
) -> list[tree.Name]:
    """The columns that USING lists, or that NATURAL finds on both sides."""
    if join.using:
        return list(join.using)
    theirs = {column.field.name.lower() for column in right}
    both = [column.field.name for column in left if column.field.name.lower() in theirs]
    return [tree.Name(name, False, join.at) for name in both]


def merge(
    join: tree.Join, names: list[tree.Name], left: Sequence[Visible], right: Sequence[Visible]
) -> tuple[typed.Condition | None, list[Visible]]:
    """USING: pairs of columns equal, each pair one column of the result (SQL-92, 7.5)."""
    tests: list[typed.Condition] = []
    merged: list[Visible] = []
    dropped: set[int] = set()
    lefts, rights = _by_name(left), _by_name(right)
    for name in names:
        ours, theirs = _one(name, lefts), _one(name, rights)
        _check_kinds(name, ours, theirs)
        dropped |= {id(ours), id(theirs)}
        tests.append(typed.Comparison("=", ours.expression, theirs.expression))
        merged.append(Visible(ours.field, _merged(join.kind, ours, theirs)))
    rest = [column for column in (*left, *right) if id(column) not in dropped]
    if not tests:
        return None, merged + rest
    return (tests[0] if len(tests) == 1 else typed.Junction("AND", tuple(tests))), merged + rest


def _check_kinds(name: tree.Name, ours: Visible, theirs: Visible) -> None:
    a, b = ours.expression.kind, theirs.expression.kind
    if a == "region" == b and isinstance(ours.expression, typed.Column):
        return
    if not are_comparable(a, b):
        reason = f"column {name.text} is {describe(a)} on one side and {describe(b)} on the other"
        if a == b:
            reason = f"column {name.text} is {describe(a)}: join by INTERSECTS or DISTANCE"
        raise AdqlTypeError(reason, *name.at)


def _merged(kind: str, ours: Visible, theirs: Visible) -> typed.Expression:
    if kind == "FULL":
        pair = (ours.expression, theirs.expression)
        return typed.Function("COALESCE", pair, common_kind([e.kind for e in pair]))
    return theirs.expression if kind == "RIGHT" else ours.expression


def _by_name(columns: Sequence[Visible]) -> dict[str, list[Visible]]:
    named: dict[str, list[Visible]] = {}
    for column in columns:
        named.setdefault(column.field.name.lower(), []).append(column)
    return named


def _one(name: tree.Name, columns: dict[str, list[Visible]]) -> Visible:
    alike = columns.get(name.text.lower(), [])
    found = [column for column in alike if matches(name, column.field.name)]
    if len(found) == 1:
        return found[0]
    reason = "is ambiguous" if found else "is not on both sides of the join"
    raise UnknownNameError(f"column {shortened(name.text)} {reason}", *name.at)
