"""Engines: how SQLite and PostgreSQL are opened, and the two kinds of transaction."""

from __future__ import annotations

import select
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
import sqlalchemy as sa
from psycopg import pq
from sqlalchemy import event
from sqlalchemy.pool import ConnectionPoolEntry

from app.adql.sqlite_functions import FUNCTIONS
from app.adql.sqlite_more_functions import AGGREGATES, MORE_FUNCTIONS
from app.errors import StoreUnavailableError
from app.stores.database_faults import database_faults
from app.stores.sqlite_guard import guard
from app.stores.sqlite_native import native_sqlite
from app.stores.sqlite_statements import forget_statements

BUSY_TIMEOUT_S = 60.0
"""How long a SQLite writer waits for another one before it gives up."""

_SQLITE_CACHE_KIB = 16_384
"""Pages a connection keeps for itself: all of them together must stay small, and what is not
kept is in the system's cache of files."""

TRUSTED_S = 30.0
"""For how long an idle connection to PostgreSQL is taken to be alive unless it says otherwise."""

_WRITE = "skyloom_write"
_CHECKED_IN = "checked_in_s"


def open_engine(url: str, *, pool_size: int = 20) -> sa.Engine:
    """An engine for ``sqlite:///file`` or ``postgresql://…``; nothing is connected yet.

    ``pool_size`` connections are kept and as many again opened under load; who asks for one more
    waits 30 s and then gets StoreUnavailableError.
    """
    parsed = _parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, pool_size)
    return _open_postgres(parsed, pool_size)


def open_reader(engine: sa.Engine, *, pool_size: int) -> sa.Engine:
    """An engine for the queries of users: its connections can only read, and on SQLite each has
    its guard (:mod:`app.stores.sqlite_guard`)."""
    if engine.dialect.name == "sqlite":
        return _open_sqlite(engine.url, pool_size, reads_only=True)
    return _open_postgres(engine.url, pool_size, reads_only=True)


@contextmanager
def read_transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A consistent view; nothing is written. Database faults leave as ServiceErrors."""
    with database_faults(), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def write_transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """All or nothing. On SQLite the write lock is taken at the start, so that no statement inside
    can meet "database is locked". Database faults leave as ServiceErrors."""
    with database_faults(), engine.execution_options(**{_WRITE: True}).begin() as connection:
        yield connection


@contextmanager
def write_transaction_with(engine: sa.Engine, file: Path, name: str) -> Iterator[sa.Connection]:
    """The same on SQLite, with another database ``file`` attached as ``name``."""
    with database_faults(), engine.connect() as connection:
        inner = sqlite_connection(connection)
        inner.execute(f"ATTACH ? AS {name}", (str(file),))
        try:
            with connection.execution_options(**{_WRITE: True}).begin():
                yield connection
        finally:
            inner.execute(f"DETACH {name}")


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite URL, None for PostgreSQL."""
    parsed = _parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    return Path(str(parsed.database))


def _parse_url(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise StoreUnavailableError(f"the database URL cannot be read: {error}") from error
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise StoreUnavailableError(
                "a SQLite URL must name a file: sqlite:////absolute/path.sqlite3"
            )
        return parsed
    if parsed.get_backend_name() in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise StoreUnavailableError(
        f"{parsed.get_backend_name()!r} is no known engine: use sqlite:///file or postgresql://…"
    )


def _open_sqlite(url: sa.URL, pool_size: int, *, reads_only: bool = False) -> sa.Engine:
    if reads_only:
        only = {"mode": "ro", "uri": "true"}
        url = url.set(database=f"file:{quote(str(url.database))}", query=only)
    engine = sa.create_engine(
        url,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S},
        poolclass=sa.pool.QueuePool,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=30.0,
        # Whoever asks next finds the pages that were read last, and the others stay small.
        pool_use_lifo=True,
    )
    native_sqlite()  # listens for connections from now on
    event.listen(engine, "connect", _prepare_sqlite)
    if reads_only:
        event.listen(engine, "connect", _guard_sqlite)
    event.listen(engine, "checkout", _refresh_sqlite)
    event.listen(engine, "close", _forget_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
    """Our own BEGIN, write-ahead log, foreign keys, and the functions compiled queries call."""
    connection.isolation_level = None
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal":
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{_SQLITE_CACHE_KIB:d}")
    for name, argument_count, function in (*FUNCTIONS, *MORE_FUNCTIONS):
        connection.create_function(name, argument_count, function, deterministic=True)
    for name, argument_count, aggregate in AGGREGATES:
        connection.create_aggregate(name, argument_count, aggregate)
    native = native_sqlite()
    if native is not None:
        native.adopt(entry.info)


def _guard_sqlite(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
    guard(connection, entry.info)


def _refresh_sqlite(
    connection: sqlite3.Connection, entry: ConnectionPoolEntry, _: sa.PoolProxiedConnection
) -> None:
    """The functions that were compiled since the connection was opened."""
    native = native_sqlite()
    if native is not None:
        native.refresh(entry.info)


def _forget_sqlite(_: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
    forget_statements(entry.info)


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _open_postgres(url: sa.URL, pool_size: int, *, reads_only: bool = False) -> sa.Engine:
    read_only = " -c default_transaction_read_only=on" if reads_only else ""
    engine = sa.create_engine(
        url,
        connect_args={
            "connect_timeout": 10,
            "application_name": "skyloom",
            # The planner counts an exact test for every candidate, few of which come to it, and
            # would compile for longer than the query takes.
            "options": f"-c timezone=UTC -c jit=off{read_only}",
            "autocommit": reads_only,
            # A generic plan would not know how small a cone is.
            "prepare_threshold": None,
        },
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=30.0,
    )
    event.listen(engine, "checkin", _note_checkin)
    event.listen(engine, "checkout", _replace_lost)
    return engine


def _note_checkin(_: psycopg.Connection[tuple[object]] | None, entry: ConnectionPoolEntry) -> None:
    entry.info[_CHECKED_IN] = time.monotonic()


def _replace_lost(
    connection: psycopg.Connection[tuple[object]],
    entry: ConnectionPoolEntry,
    _: sa.PoolProxiedConnection,
) -> None:
    """Have the pool open another connection when this one is lost.

    A server that went away has left something to read (its last words, or the end), so a
    connection used a moment ago need not be asked.
    """
    pgconn = connection.pgconn
    idle_s = time.monotonic() - entry.info.get(_CHECKED_IN, time.monotonic())
    if pgconn.status == pq.ConnStatus.OK and idle_s < TRUSTED_S and not _has_news(pgconn.socket):
        return
    if pgconn.status != pq.ConnStatus.OK or pgconn.exec_(b"").status != pq.ExecStatus.EMPTY_QUERY:
        raise sa.exc.DisconnectionError


def _has_news(socket: int) -> bool:
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))


def sqlite_connection(connection: sa.Connection) -> sqlite3.Connection:
    """The connection of Python's ``sqlite3`` inside."""
    inner = connection.connection.driver_connection
    if not isinstance(inner, sqlite3.Connection):
        raise TypeError(f"not a SQLite connection: {type(inner).__name__}")
    return inner


def postgres_connection(connection: sa.PoolProxiedConnection) -> psycopg.Connection[tuple[object]]:
    """psycopg's own connection inside a pooled one."""
    inner = connection.driver_connection
    if not isinstance(inner, psycopg.Connection):
        raise TypeError(f"not a psycopg connection: {type(inner).__name__}")
    return inner
