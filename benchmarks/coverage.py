"""Coverage maps of 1,000,000 rows: the first one, one row more, and an answer.

``python -m benchmarks coverage``. The rows are those of :mod:`benchmarks.tap_databases` in SQLite.
The peer is mocpy alone, given the corners of the same polygons as arrays, at the same order.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

import numpy as np
import sqlalchemy as sa
from mocpy import MOC

from app.http.moc import NAMES
from app.services.catalog_rows import CatalogRows
from app.services.coverage import CoverageService
from app.services.coverage_request import CoverageRequest, parse_coverage
from app.services.parameters import ParameterSet
from app.sky.moc import WRITERS
from app.stores.database import read_transaction, write_transaction
from app.stores.metadata import MetadataStores, open_stores
from benchmarks.figures import Figure, interleaved
from benchmarks.tap_databases import sqlite_service

RUNS = 20
ADDED = 100


def figures() -> Iterator[Figure]:
    """SQLite."""
    folder = sqlite_service().data_dir
    stores = open_stores(f"sqlite:///{folder / 'skyloom.sqlite3'}")
    try:
        yield from _of_stores(stores)
    finally:
        stores.close()


def _of_stores(stores: MetadataStores) -> Iterator[Figure]:
    service = CoverageService(
        store=stores.coverage,
        rows=CatalogRows(tables=stores.tables, catalogs=stores.catalogs),
        clock=lambda: datetime.now(UTC),
    )
    _forget(stores, through=0)
    before = _peak_mb()
    ours = _seconds(service.refresh)
    grown = _peak_mb() - before
    peer = _seconds(lambda: _mocpy_alone(stores))
    yield Figure(
        name="first map of 1M rows", ours=ours, unit="s", peer_name="mocpy alone", peer=peer
    )
    yield Figure(name="memory that it takes more", ours=grown, unit="MB")
    newest = stores.coverage.state().newest
    _forget(stores, through=newest - ADDED)
    yield Figure(
        name=f"brought up to date, {ADDED} rows more",
        ours=1e3 * _seconds(service.refresh),
        unit="ms",
    )
    for order in (6, 13):
        asked = parse_coverage(ParameterSet([("ORDER", str(order))]))
        for name in ("fits", "json"):
            write = WRITERS[NAMES[name]]
            size = len(write(service.find(asked).moc))

            seconds = interleaved(RUNS, answer=partial(_answer, service, asked, write))["answer"]
            yield Figure(
                name=f"answer of order {order} as {name}, {size / 1e6:.2f} MB",
                ours=1e3 * seconds,
                unit="ms",
            )


def _answer(
    service: CoverageService, asked: CoverageRequest, write: Callable[[MOC], bytes]
) -> bytes:
    return write(service.find(asked).moc)


def _forget(stores: MetadataStores, *, through: int) -> None:
    """Let the maps hold the rows up to a number only; without any, none are kept."""
    with write_transaction(stores.engine) as connection:
        if not through:
            connection.execute(sa.text("DELETE FROM coverage"))
        connection.execute(
            sa.text("UPDATE coverage_state SET through = :through, version = version + 1"),
            {"through": through},
        )


def _mocpy_alone(stores: MetadataStores) -> MOC:
    """One map of all polygons, by pieces."""
    query = sa.text("SELECT s_region FROM obscore WHERE s_region IS NOT NULL")
    order = max(int(MOC.from_string(text).max_order) for text in stores.coverage.maps().values())
    whole = MOC.new_empty(order)
    with read_transaction(stores.engine) as connection:
        found = connection.execute(query).scalars()
        while texts := found.fetchmany(10_000):
            by_size: dict[int, list[object]] = {}
            for text in texts:
                corners = np.array(text.split()[2:], float).reshape(-1, 2).T
                by_size.setdefault(corners.shape[1], []).append(corners)
            for alike in by_size.values():
                lists = np.array(alike).reshape(2 * len(alike), -1)
                whole = whole.union(*MOC.from_polygons(lists, max_depth=order, n_threads=1))
    return whole


def _seconds(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
