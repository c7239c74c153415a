"""Each query in turns over HTTP, as our own SQL through the bare driver, and as SQL by hand."""

from __future__ import annotations

import csv
import http.client
import urllib.parse
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from typing import Any, Final

import psycopg
import sqlalchemy as sa

from app.adql.compile import compile_query
from app.schema.catalog import CATALOG
from app.stores.metadata import MetadataStores, open_stores
from app.stores.sqlite_compiled import load_geometry
from benchmarks.figures import interleaved
from benchmarks.tap_by_hand import (
    LAT,
    LON,
    postgres_by_hand,
    postgres_statements,
    sqlite_statements,
)
from benchmarks.tap_databases import generated
from tests.flows.service import Service

RUNS: Final = 40
LONG_RUNS: Final = 7
LONG: Final = ("circle_0.5", "groupby_subtype")
MAXREC: Final = 1_000_000

Sides = Mapping[str, Mapping[str, float]]
"""Name of a query -> median seconds of ``http``, ``ours`` and ``by_hand``."""


def queries() -> dict[str, str]:
    """Under the names of the neutral client, where it has them."""
    table = "ivoa.ObsCore"
    point = f"CONTAINS(POINT('ICRS', {LON}, {LAT}), s_region) = 1"
    small, large = (
        f"INTERSECTS(CIRCLE('ICRS', {LON}, {LAT}, {r}), s_region) = 1" for r in (0.1, 0.5)
    )
    every, count = (
        f"SELECT {_columns()} FROM {table} WHERE",
        f"SELECT COUNT(*) AS n FROM {table} WHERE",
    )
    return {
        "contains_all": f"{every} {point}",
        "contains_count": f"{count} {point}",
        "circle_0.1": f"{every} {small}",
        "circle_0.1_count": f"{count} {small}",
        "circle_0.5": f"{every} {large}",
        "circle_0.5_count": f"{count} {large}",
        "groupby_subtype": f"SELECT dataproduct_subtype, COUNT(*) AS n FROM {table} "
        "GROUP BY dataproduct_subtype",
    }


def side_by_side(service: Service, url: str, *, quick: bool) -> Sides:
    """Each query on a running service and its database, all sides giving the same number of rows.

    SQLite's exact tests are compiled, as in a server that has started up.
    """
    load_geometry()
    seconds: dict[str, Mapping[str, float]] = {}
    with ExitStack() as stack:
        stores = stack.enter_context(closing(open_stores(url)))
        is_postgres = stores.engine.dialect.name == "postgresql"
        ours = stack.enter_context(closing(stores.engine.raw_connection()))
        by_hand: Any = ours
        if is_postgres:
            hand_url = postgres_by_hand(url)
            # Planned for each run, as Skyloom's are.
            by_hand = stack.enter_context(psycopg.connect(hand_url, prepare_threshold=None))
            by_hand.execute("SET jit = off")
        statements = (postgres_statements if is_postgres else sqlite_statements)(_columns())
        client = stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", service.port)))
        for name, query in queries().items():
            sides: dict[str, Callable[[], object]] = {
                "http": _by_http(client, query),
                "ours": _by_driver(ours, *_our_statement(stores, query)),
                "by_hand": _by_driver(by_hand, statements[name], ()),
            }
            rows = sides["ours"]()
            if rows != sides["by_hand"]():
                raise ValueError(f"{name}: the statement by hand finds other rows")
            sides["http"]()
            runs = 3 if quick else LONG_RUNS if name in LONG else RUNS
            seconds[name] = interleaved(runs, **sides)
    return seconds


def _columns() -> str:
    """The columns that the generator fills, as the neutral client lists them."""
    with generated().with_suffix(".csv").open() as file:
        return ", ".join(sorted(next(csv.reader(file))))


def _by_http(client: http.client.HTTPConnection, query: str) -> Callable[[], int]:
    """Ask on a connection that stays; the number of bytes that came."""
    parameters = {"LANG": "ADQL", "QUERY": query, "MAXREC": str(MAXREC)}
    body = urllib.parse.urlencode(parameters)

    def ask() -> int:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        client.request("POST", "/tap/sync", body, headers)
        answer = client.getresponse()
        document = answer.read()
        if answer.status != http.client.OK:
            raise ValueError(document[:500])
        return len(document)

    return ask


def _by_driver(connection: Any, sql: str, parameters: Any) -> Callable[[], int]:
    """Run on a connection and fetch all; the number of rows, or the number that a count gives."""

    def run() -> int:
        cursor = connection.cursor()
        cursor.execute(sql, parameters)
        rows = cursor.fetchall()
        return int(rows[0][0]) if len(rows) == len(rows[0]) == 1 else len(rows)

    return run


def _our_statement(stores: MetadataStores, query: str) -> tuple[str, Any]:
    """The compiled statement with the driver's own marks for its values."""
    compiled = compile_query(
        query,
        catalog=CATALOG,
        target=stores.tables.target,
        maxrec=MAXREC,
        prefixes={"service_url": "http://127.0.0.1"},
    )
    statement = sa.text(compiled.sql).bindparams(**compiled.binds).compile(stores.engine)
    if statement.positiontup is None:
        return str(statement), statement.params
    return str(statement), [statement.params[name] for name in statement.positiontup]
