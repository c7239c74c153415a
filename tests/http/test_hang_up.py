"""A client that hangs up frees the statement, the connection and the thread, on both engines."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from fastapi import FastAPI

from app.http import tap
from app.http.context import ServiceAddress
from app.http.faults import install_fault_handlers
from app.services.jobs import JobService
from app.services.links import LinkService
from app.services.query import QueryService
from app.services.signatures import FileSigner
from app.stores.metadata import MetadataStores
from app.stores.results import ResultStore
from tests.http.archive import LIFETIME_S, Clock, make_uploads, serving
from tests.waiting import wait_for

MANY = ", ".join(f"tap_schema.columns AS {alias}" for alias in "abcdef")
BEFORE_THE_FIRST_ROW = f"SELECT COUNT(*) AS n FROM {MANY}"
ENDLESS_ROWS = f"SELECT a.description AS x, b.description AS y FROM {MANY}"


@pytest.fixture
def url(stores: MetadataStores, tmp_path: Path) -> Iterator[str]:
    """TAP over one database; queries may take far longer than the tests wait."""
    results, clock = ResultStore(data_dir=tmp_path), Clock()
    queries = QueryService(
        tables=stores.tables,
        catalogs=stores.catalogs,
        default_rows=10**9,
        max_rows=10**9,
        time_limit_s=600,
    )
    jobs = JobService(
        jobs=stores.jobs,
        results=results,
        clock=clock,
        lifetime_s=LIFETIME_S,
        execution_limits_s={},
    )
    signer = FileSigner(keys=lambda: [b"key" * 8], clock=clock, lifetime_s=60)
    app = FastAPI()
    install_fault_handlers(app)
    app.include_router(
        tap.router(
            queries=queries,
            jobs=jobs,
            results=results,
            links=LinkService(datasets=stores.datasets, signer=signer),
            uploads=make_uploads(results),
            address=ServiceAddress(base_url=None),
            retention_s=LIFETIME_S,
        )
    )
    with serving(app) as address:
        yield address


@contextmanager
def asking(url: str, query: str) -> Iterator[socket.socket]:
    """A connection on which a query was sent."""
    with sending(url, f"/tap/sync?LANG=ADQL&FORMAT=csv&QUERY={quote(query)}") as client:
        yield client


@contextmanager
def sending(url: str, target: str) -> Iterator[socket.socket]:
    """A connection on which something was asked for."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port)) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield client


def running(stores: MetadataStores) -> int:
    """Connections that work on a query."""
    return int(stores.reader.pool.status().split("Checked out connections: ")[1].split()[0])


def test_while_the_database_looks_for_the_first_row(url: str, stores: MetadataStores) -> None:
    with asking(url, BEFORE_THE_FIRST_ROW):
        wait_for(lambda: running(stores) == 1)
    wait_for(lambda: running(stores) == 0)


def test_while_rows_are_sent(url: str, stores: MetadataStores) -> None:
    with asking(url, ENDLESS_ROWS) as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        assert running(stores) == 1
    wait_for(lambda: running(stores) == 0)
