"""What the database expects a statement to cost, before it is run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from app.adql.compiled import CompiledQuery
from app.stores.database import read_transaction

_ALIAS: Final = re.compile(r'"(\w+)" AS (\w+)')
_STEP: Final = re.compile(r"(SCAN|SEARCH) (\w+)(.*)")
_VIRTUAL_FRACTION: Final = 1e-3
"""The part of an R*Tree that a search of the sky visits, roughly."""


def statement_cost(engine: sa.Engine, query: CompiledQuery) -> float:
    """The cost in a unit of the engine's own, above 0: PostgreSQL's planner tells it, on SQLite it
    is the number of rows that the loops of the plan visit.

    It serves to compare statements of one database. Raises what running the statement would.
    """
    with read_transaction(engine) as connection:
        if engine.dialect.name == "sqlite":
            return _visited_rows(connection, query)
        plan = connection.execute(sa.text(f"EXPLAIN (FORMAT JSON) {query.sql}"), query.binds)
        found = plan.scalar_one()
    tree = json.loads(found) if isinstance(found, str) else found
    return max(1.0, float(tree[0]["Plan"]["Total Cost"]))


def _visited_rows(connection: sa.Connection, query: CompiledQuery) -> float:
    """Sum over the query and its subqueries: what stands under one parent of the plan are loops
    inside each other."""
    plan = connection.execute(sa.text(f"EXPLAIN QUERY PLAN {query.sql}"), query.binds).all()
    names = {alias: name for name, alias in _ALIAS.findall(query.sql)}
    averages = _index_averages(connection)
    sizes: dict[str, float] = {}
    loops: dict[int, float] = {}
    total = 1.0
    for _, parent, _, detail in plan:
        step = _STEP.match(detail)
        if step is None:
            continue
        kind, alias, how = (str(part) for part in step.groups())
        table = names.get(alias, alias)
        if table not in sizes:
            sizes[table] = _size(connection, table)
        rows = _rows_of_step(kind, how, sizes[table], averages)
        loops[parent] = loops.get(parent, 1.0) * max(1.0, rows)
        total += loops[parent]
    return total


def _rows_of_step(kind: str, how: str, size: float, averages: Mapping[str, float]) -> float:
    """How many rows of a table one pass of its loop visits."""
    if "VIRTUAL TABLE INDEX" in how:
        return size * _VIRTUAL_FRACTION
    if kind == "SCAN":
        return size
    if "INTEGER PRIMARY KEY (rowid=?)" in how:
        return 1.0
    index = re.search(r"INDEX (\w+)", how)
    return averages.get(index[1] if index else "", size**0.5)


def _index_averages(connection: sa.Connection) -> dict[str, float]:
    """Index -> rows with one value of its first column, as ANALYZE counted them."""
    known = connection.execute(
        sa.text("SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_stat1'")
    ).scalar_one()
    if not known:
        return {}
    rows = connection.execute(sa.text("SELECT idx, stat FROM sqlite_stat1 WHERE idx IS NOT NULL"))
    return {name: float(stat.split()[1]) for name, stat in rows if len(stat.split()) > 1}


def _size(connection: sa.Connection, table: str) -> float:
    """Rows of a table, from its largest row number; 1 for what is none."""
    found = connection.execute(
        sa.text("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name"),
        {"name": table},
    ).first()
    if found is None:
        return 1.0
    largest = connection.execute(sa.text(f'SELECT max(rowid) FROM "{table}"')).scalar()
    return float(largest or 1)
