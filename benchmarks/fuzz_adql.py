"""``python -m benchmarks.fuzz_adql [--count N] [--seed S]``: no query text may break the service.

Every mutated query is compiled for both engines, and what compiles is run on a small database of
each. It must end in an answer or in an error that the caller is told (4xx). On SQLite an
authorizer sees every table, column and function that a statement touches; on PostgreSQL the role
may read published columns only. Exits with 1 when anything else happened.
"""

from __future__ import annotations

import argparse
import gc
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import psycopg
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.pool import ConnectionPoolEntry

from app.adql.compile import compile_query
from app.adql.compiled import CompiledQuery
from app.errors import ServiceError, TimeLimitError
from app.http.faults import fault_of
from app.schema.catalog import CATALOG
from app.services.setup import init_database
from app.stores.metadata import MetadataStores, open_stores
from app.stores.sqlite_guard import SqliteGuard, guard_of
from benchmarks.contains import as_row
from benchmarks.fuzz_mutations import PREFIXES, mutated
from tests.postgres import PostgresServer, find_postgres, private_server

COMPILE_LIMIT_S: Final = 0.05
STATEMENT_LIMIT_S: Final = 0.5
MAXREC: Final = 20
ROLE: Final = "skyloom_fuzz"

READABLE: Final = {
    table.physical: {each.physical for each in table.fields} | {"", "ROWID", "row_id"}
    for table in CATALOG.tables
}
"""Published columns, and the row numbers by which the spatial indexes are joined."""
FORBIDDEN_FUNCTIONS: Final = {"load_extension", "readfile", "writefile", "fts3_tokenizer", "edit"}


@dataclass
class Report:
    """What happened, counted; ``faults`` holds an example of everything that must not."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)
    compile_s: list[float] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")

    def fault(self, what: str, text: str) -> None:
        """Remember an outcome that must not be."""
        self.outcomes["FAULT"] += 1
        self.faults.setdefault(what[:160], text)

    def compiled(self, seconds: float, text: str) -> None:
        """Remember how long one text took."""
        self.compile_s.append(seconds)
        if seconds > self.slowest[0]:
            self.slowest = (seconds, text)


class Target:
    """One engine with a small database, and the breaches that its guard saw."""

    def __init__(self, stores: MetadataStores) -> None:
        self.stores = stores
        self.breaches: list[str] = []
        if stores.engine.dialect.name == "sqlite":
            event.listen(stores.reader, "connect", self._watch)

    def _watch(self, connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
        virtual = "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL%'"
        for (name,) in connection.execute(virtual).fetchall():
            # An R*Tree declares its columns when it is first used: a write, to the authorizer.
            connection.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone()
        connection.set_authorizer(partial(self._authorize, guard_of(entry.info)))

    def _authorize(
        self,
        guard: SqliteGuard,
        action: int,
        first: str | None,
        second: str | None,
        base: str | None,
        by: str | None,
    ) -> int:
        """SQLite asks this about everything a statement wants to do. The service's own guard goes
        first; what it lets through or refuses of a user's statement is judged here again."""
        answer = guard(action, first, second, base, by)
        if guard.open or answer == sqlite3.SQLITE_IGNORE:
            return answer
        table, column = first or "", second or ""
        if action == sqlite3.SQLITE_READ:
            of_index = any(table.startswith(f"{name}_") for name in READABLE)
            known = column in READABLE.get(table, ()) or (of_index and table not in READABLE)
            allowed = known or table.startswith("sqlite_stat") or table not in self._tables()
        elif action == sqlite3.SQLITE_FUNCTION:
            allowed = column.lower() not in FORBIDDEN_FUNCTIONS
        elif action == sqlite3.SQLITE_PRAGMA:
            allowed = table in {"query_only", "journal_mode", "synchronous", "data_version"}
        else:
            allowed = action in {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_TRANSACTION}
        if not allowed:
            self.breaches.append(f"action {action} on {table}.{column}")
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    def _tables(self) -> set[str]:
        """Tables of the database; other names in a statement are its own (WITH, subqueries)."""
        if not hasattr(self, "_known_tables"):
            url = self.stores.engine.url.database or ""
            with closing(sqlite3.connect(url)) as other:
                names = other.execute("SELECT name FROM sqlite_master").fetchall()
            self._known_tables = {str(name) for (name,) in names} | {"sqlite_master"}
        return self._known_tables

    def run(self, compiled: CompiledQuery) -> None:
        """Read the whole answer."""
        with closing(
            self.stores.tables.stream(compiled, time_limit_s=STATEMENT_LIMIT_S)
        ) as batches:
            for _ in batches:
                pass


def fuzz(texts: Iterable[str], targets: Iterable[Target]) -> Report:
    """Compile and run every text on every target."""
    report, every = Report(), list(targets)
    for text in texts:
        for target in every:
            _try(text, target, report)
    return report


def _try(text: str, target: Target, report: Report) -> None:
    try:
        compiled = _compile(text, target, report)
        outcome = "refused by the compiler"
        if compiled is not None:
            target.run(compiled)
            outcome = "answered"
        report.outcomes[outcome] += 1
    except TimeLimitError:
        report.outcomes["over the time limit"] += 1
    except ServiceError as error:
        if fault_of(type(error)).status >= 500:
            report.fault(f"{target.stores.tables.target}: {error!r}", text)
        else:
            report.outcomes["refused by the data"] += 1
    except Exception as error:
        report.fault(f"{target.stores.tables.target}: {error!r}", text)
    for breach in target.breaches:
        report.fault(f"{target.stores.tables.target}: {breach}", text)
    target.breaches.clear()


def _compile(text: str, target: Target, report: Report) -> CompiledQuery | None:
    """The statement, or None when the text is refused. A slow one is timed again: the machine may
    have been busy elsewhere."""
    best, compiled = float("inf"), None
    for _ in range(3):
        start = time.perf_counter()
        try:
            compiled = compile_query(
                text,
                catalog=CATALOG,
                target=target.stores.tables.target,
                maxrec=MAXREC,
                prefixes=PREFIXES,
            )
        except ServiceError as error:
            if fault_of(type(error)).status >= 500:
                raise
        best = min(best, time.perf_counter() - start)
        if best < COMPILE_LIMIT_S / 2:
            break
    report.compiled(best, text)
    if compiled is not None and not compiled.sql.lstrip("( ").startswith(("SELECT", "WITH")):
        report.fault("not a SELECT", compiled.sql)
    return compiled


def fill(url: str) -> None:
    """A small survey."""
    init_database(url)
    stores = open_stores(url)
    try:
        stores.datasets.upsert([as_row(n, _record(n)) for n in range(30)])
        stores.datasets.refresh_statistics()
    finally:
        stores.close()


def _record(number: int) -> dict[str, str]:
    ra, dec = 10 + 0.05 * number, 0.02 * number
    corners = [(ra - 0.1, dec - 0.1), (ra + 0.1, dec - 0.1), (ra + 0.1, dec + 0.1)]
    return {
        "obs_id": f"visit-{number}",
        "obs_collection": "fuzz",
        "obs_title": "a 'title'",
        "dataproduct_type": "image",
        "calib_level": str(number % 4),
        "s_ra": str(ra),
        "s_dec": str(dec),
        "s_region": "POLYGON ICRS " + " ".join(f"{x:.6f} {y:.6f}" for x, y in corners),
        "t_min": str(60000 + number),
        "t_max": str(60000.1 + number),
        "em_min": "5e-7" if number % 3 else "",
        "lsst_band": "ugrizy"[number % 6],
    }


def sqlite_target(folder: Path, stack: ExitStack) -> Target:
    """A database of its own in ``folder``."""
    url = f"sqlite:///{folder / 'fuzz.sqlite3'}"
    fill(url)
    stores = open_stores(url)
    stack.callback(stores.close)
    return Target(stores)


def postgres_target(server: PostgresServer, stack: ExitStack) -> Target:
    """A database of its own, used by a role that may read what is published and nothing else."""
    url = server.create()
    stack.callback(server.drop, url)
    fill(url)
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in _grants(connection):
            connection.execute(statement.encode())
    restricted = sa.make_url(url).set(username=ROLE).render_as_string(hide_password=False)
    stores = open_stores(restricted)
    stack.callback(stores.close)
    return Target(stores)


def _grants(connection: psycopg.Connection[tuple[object, ...]]) -> Iterator[str]:
    known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,)).fetchone()
    if known is None:
        yield f"CREATE ROLE {ROLE} LOGIN"
    rows = connection.execute(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'public'"
    ).fetchall()
    columns: dict[str, list[str]] = {}
    for table, column in rows:
        columns.setdefault(str(table), []).append(str(column))
    for table, names in columns.items():
        if table in READABLE:
            # Beside what is published: row numbers and the geometry that the indexes compare.
            kept = [n for n in names if n in READABLE[table] or n.startswith("s_region")]
            quoted = ", ".join(f'"{name}"' for name in kept)
            yield f'GRANT SELECT ({quoted}) ON "{table}" TO {ROLE}'
        elif any(table.startswith(f"{name}_") for name in READABLE):
            yield f'GRANT SELECT ON "{table}" TO {ROLE}'


def show(report: Report) -> None:
    """Print what was found."""
    for outcome, count in sorted(report.outcomes.items()):
        print(f"  {count:>8} {outcome}")
    times = sorted(report.compile_s)
    typical, slowest = times[len(times) // 2], report.slowest
    print(f"  compile: typical {1e3 * typical:.2f} ms, slowest {1e3 * slowest[0]:.1f} ms:")
    print(f"    {slowest[1][:200]!r} ({len(slowest[1])} characters)")
    for what, text in report.faults.items():
        print(f"  FAULT {what}\n    {text[:500]!r}")


def main() -> int:
    """Run and print; 1 when something happened that must not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz_adql")
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        targets = [sqlite_target(folder, stack)]
        binaries = find_postgres()
        if isinstance(binaries, str):
            print(f"  not run: PostgreSQL ({binaries})")
        else:
            server = stack.enter_context(private_server(binaries))
            targets.append(postgres_target(server, stack))
        gc.freeze()
        start = time.perf_counter()
        report = fuzz(mutated(options.seed, options.count), targets)
        seconds = time.perf_counter() - start
    engines = ", ".join(target.stores.tables.target for target in targets)
    print(f"{options.count} mutated queries (seed {options.seed}) on {engines}: {seconds:.0f} s")
    show(report)
    return int(bool(report.faults) or report.slowest[0] > COMPILE_LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
