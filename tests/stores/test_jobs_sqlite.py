"""SQLite passes the suite of jobs."""

from __future__ import annotations

import pytest

from tests.stores.contract import JobStoreContract


@pytest.fixture
def database_url(fresh_sqlite_url: str) -> str:
    """SQLite only."""
    return fresh_sqlite_url


class TestJobs(JobStoreContract):
    pass
