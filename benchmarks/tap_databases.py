"""The million ObsCore rows of the neutral generator in Skyloom's own databases, made once for each
layout of its tables."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import sqlalchemy as sa

from app.schema.obscore import OBSCORE
from app.stores.database import postgres_connection, write_transaction
from app.stores.metadata import open_stores
from app.stores.tables.spatial import index_rows
from benchmarks.contains import GENERATOR
from benchmarks.figures import workspace
from tests.flows.service import Service
from tests.postgres import find_postgres, private_server

ROWS: Final = 1_000_000
DATABASE: Final = "skyloom_tap"
SERVER: Final = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "512MB",
    "effective_cache_size": "2GB",
    "work_mem": "64MB",
    "max_wal_size": "4GB",
    "jit": "off",
    "autovacuum": "off",
}
HIDDEN: Final = {
    "file_path": "/none.fits",
    "file_hdu": 0,
    "file_size": 0,
    "file_mtime_ns": 0,
    "file_checksum": "",
    "image_ref": "{}",
    "origin": "ingested",
}
_CHUNK_ROWS: Final = 20_000
_MARK: Final = "filled"
_ROOT: Final = Path(__file__).parents[1]


def generated() -> Path:
    """``…/obscore_1m`` without its suffix: .parquet, .csv and .truth.json lie there."""
    stem = workspace() / "obscore_1m"
    if not stem.with_suffix(".truth.json").exists():
        command = [sys.executable, str(GENERATOR), "--rows", str(ROWS), "--out", str(stem)]
        subprocess.run(command, check=True, capture_output=True)
    return stem


def sqlite_service() -> Service:
    """A service over the rows in SQLite, not started."""
    folder = workspace() / "tap-sqlite"
    if not _is_filled(folder):
        shutil.rmtree(folder, ignore_errors=True)
    service = Service(data_dir=folder)
    _fill(service, f"sqlite:///{folder / 'skyloom.sqlite3'}")
    return service


@contextmanager
def postgres_service() -> Iterator[Service | str]:
    """A service over the rows in PostgreSQL, not started, or what the machine lacks."""
    binaries = find_postgres()
    if isinstance(binaries, str):
        yield binaries
        return
    folder = workspace() / "tap-postgres"
    with private_server(binaries, kept=folder / "server", settings=SERVER) as server:
        with psycopg.connect(server.admin_url, autocommit=True) as connection:
            if not _is_filled(folder):
                connection.execute(f"DROP DATABASE IF EXISTS {DATABASE}".encode())
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(query, (DATABASE,)).fetchone() is None:
                connection.execute(f"CREATE DATABASE {DATABASE}".encode())
        url = server.url_of(DATABASE)
        service = Service(data_dir=folder, environment={"SKYLOOM_DATABASE_URL": url})
        _fill(service, url)
        yield service


def _fill(service: Service, url: str) -> None:
    """Bring the database up to date and put the rows in, unless they are there."""
    service.data_dir.mkdir(parents=True, exist_ok=True)
    service.run("init")
    if _is_filled(service.data_dir):
        return
    rows = generated()
    if "--rows" in service.run("ingest", "--help").stdout:
        parquet = str(rows.with_suffix(".parquet"))
        service.run("ingest", "--rows", parquet)
    else:
        _insert(rows.with_suffix(".parquet"), url)
    (service.data_dir / _MARK).write_text(_layout())


def _is_filled(folder: Path) -> bool:
    """Whether the rows lie there as this version of Skyloom lays them out."""
    mark = folder / _MARK
    return mark.exists() and mark.read_text() == _layout()


def _layout() -> str:
    """A digest of the code that says what lies beside the rows."""
    files = sorted(
        path for path in (_ROOT / "migrations").rglob("*") if path.suffix in (".py", ".sql")
    )
    stores = _ROOT / "app" / "stores" / "tables"
    files += [stores / name for name in ("region_columns.py", "spatial.py", "packed_tree.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _insert(path: Path, url: str) -> None:
    """Straight into the table, then the indexes: the quickest way there is."""
    table = pq.read_table(path)
    rows = table.num_rows
    columns = {name: table[name] for name in table.column_names if OBSCORE.find_field(name)}
    columns["obs_publisher_did"] = pa.array([f"ivo://bench/{n}" for n in range(rows)])
    columns["access_url"] = pa.array([f"/datalink/links?ID={n}" for n in range(rows)])
    for name, value in HIDDEN.items():
        columns[name] = pa.array([value] * rows)
    stores = open_stores(url)
    try:
        with write_transaction(stores.engine) as connection:
            put = _by_copy if stores.engine.dialect.name == "postgresql" else _by_insert
            put(connection, pa.table(columns))
            index_rows(connection, OBSCORE)
        stores.datasets.refresh_statistics()
    finally:
        stores.close()


def _by_insert(connection: sa.Connection, table: pa.Table) -> None:
    names = ", ".join(f'"{name}"' for name in table.column_names)
    marks = ", ".join("?" * table.num_columns)
    cursor = connection.connection.cursor()
    for batch in table.to_batches(max_chunksize=_CHUNK_ROWS):
        rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
        cursor.executemany(f"INSERT INTO obscore ({names}) VALUES ({marks})", rows)


def _by_copy(connection: sa.Connection, table: pa.Table) -> None:
    names = ", ".join(f'"{name}"' for name in table.column_names)
    cursor = postgres_connection(connection.connection).cursor()
    statement = f"COPY obscore ({names}) FROM STDIN (FORMAT csv)"
    options = pcsv.WriteOptions(include_header=False)
    with cursor.copy(statement.encode()) as copy:
        for batch in table.to_batches(max_chunksize=_CHUNK_ROWS):
            sink = io.BytesIO()
            pcsv.write_csv(batch, sink, options)
            copy.write(sink.getvalue())
