"""Databases for the tests, and the line that names what a machine lacks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer

from app.services.setup import init_database
from app.stores.metadata import MetadataStores, open_stores
from tests.databases import database_at
from tests.distribution import FileScheduling
from tests.machine import TOOLS, require, summary_line
from tests.postgres import PostgresServer, find_postgres, private_server

if TYPE_CHECKING:
    from tests.truth.exposures import Truth
settings.register_profile("skyloom", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("skyloom")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", f"needs(*tools): the test uses programs that may be missing: {', '.join(TOOLS)}"
    )


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FileScheduling | None:
    """How ``--dist loadfile`` distributes."""
    return FileScheduling(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Do not run (with CI=true: fail) what the machine has no tools for."""
    for marker in item.iter_markers("needs"):
        for tool in marker.args:
            require(tool)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """At the very end one line that names every missing tool; nothing is skipped silently."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    line = summary_line(str(report.longrepr[-1]) for report in skipped)
    if line:
        terminalreporter.write_line(line, yellow=True, bold=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The server named by SKYLOOM_TEST_POSTGRES_URL, or a private one."""
    url = os.environ.get("SKYLOOM_TEST_POSTGRES_URL")
    if url:
        yield PostgresServer(admin_url=url)
        return
    bin_dir = find_postgres()
    if isinstance(bin_dir, str):
        require("postgresql", bin_dir)
        return
    with private_server(bin_dir) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> Iterator[str]:
    """An initialised database that nobody connects to: tests get copies."""
    url = postgres_server.create()
    init_database(url)
    yield url
    postgres_server.drop(url)


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    """An initialised, empty PostgreSQL database for the whole session."""
    url = postgres_server.create(template=postgres_template)
    yield url
    postgres_server.drop(url)


@pytest.fixture
def fresh_postgres_url(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    """An initialised, empty PostgreSQL database for one test."""
    url = postgres_server.create(template=postgres_template)
    yield url
    postgres_server.drop(url)


@pytest.fixture
def fresh_sqlite_url(tmp_path: Path) -> str:
    """An initialised, empty SQLite database for one test."""
    return database_at(tmp_path / "skyloom.sqlite3")


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An initialised, empty database for one test, on each engine in turn."""
    return str(request.getfixturevalue(f"fresh_{request.param}_url"))


@pytest.fixture
def stores(database_url: str) -> Iterator[MetadataStores]:
    """The stores over ``database_url``."""
    opened = open_stores(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def truth() -> Truth:
    """The simulated field of :class:`tests.truth.settings.TruthSettings`: do not change pixels."""
    from tests.truth.exposures import simulate

    return simulate()
