"""PostgreSQL passes the suite of jobs."""

from __future__ import annotations

import pytest

from tests.stores.contract import JobStoreContract


@pytest.fixture
def database_url(fresh_postgres_url: str) -> str:
    """PostgreSQL only."""
    return fresh_postgres_url


class TestJobs(JobStoreContract):
    pass
