"""What the database expects a statement to cost, before it is run.

Costs are above 0, in a unit of the engine's own: they compare statements of one database.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
import sqlalchemy as sa

from app.adql.compiled import CompiledQuery
from app.schema.uploads import UploadedTable

_ALIAS: Final = re.compile(r'"(\w+)" AS (\w+)')
_STEP: Final = re.compile(r"(SCAN|SEARCH) (\w+)(.*)")
_VIRTUAL_FRACTION: Final = 1e-3
"""The part of an R*Tree that a search of the sky visits, roughly."""


def planned_cost(cursor: psycopg.Cursor[tuple[object]], statement: sa.Compiled) -> float:
    """What PostgreSQL's planner tells."""
    cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}".encode(), statement.params)
    row = cursor.fetchone()
    assert row is not None
    found = row[0]
    tree: Any = json.loads(found) if isinstance(found, str) else found
    return max(1.0, float(tree[0]["Plan"]["Total Cost"]))


def visited_rows(
    connection: sqlite3.Connection, query: CompiledQuery, uploads: Sequence[UploadedTable]
) -> float:
    """How many rows the loops of SQLite's plan visit, summed over the query and its subqueries:
    what stands under one parent of the plan are loops inside each other."""
    plan = connection.execute(f"EXPLAIN QUERY PLAN {query.sql}", dict(query.binds)).fetchall()
    names = {alias: name for name, alias in _ALIAS.findall(query.sql)}
    averages = _index_averages(connection)
    sizes = {each.table.physical: float(each.rows.num_rows) for each in uploads}
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


def _index_averages(connection: sqlite3.Connection) -> dict[str, float]:
    """Index -> rows with one value of its first column, as ANALYZE counted them."""
    if not _is_table(connection, "sqlite_stat1"):
        return {}
    rows = connection.execute("SELECT idx, stat FROM sqlite_stat1 WHERE idx IS NOT NULL")
    return {name: float(stat.split()[1]) for name, stat in rows if len(stat.split()) > 1}


def _size(connection: sqlite3.Connection, table: str) -> float:
    """Rows of a table, from its largest row number; 1 for what is none."""
    if not _is_table(connection, table):
        return 1.0
    (largest,) = connection.execute(f'SELECT max(rowid) FROM "{table}"').fetchone()
    return float(largest or 1)


def _is_table(connection: sqlite3.Connection, name: str) -> bool:
    statement = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return connection.execute(statement, (name,)).fetchone() is not None
