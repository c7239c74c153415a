"""A worker and published exposures that many tests of services share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.workers.embedded import EmbeddedEngine
from tests.services.builds_fixture import Field, open_field, standard_field


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEngine]:
    """One worker process for all tests: it takes seconds to start."""
    made = EmbeddedEngine(workers=1, data_dir=tmp_path_factory.mktemp("engine"))
    yield made
    made.close()


@pytest.fixture
def field(tmp_path: Path, engine: EmbeddedEngine, database_url: str) -> Iterator[Field]:
    """The standard exposures, published, on each kind of database in turn."""
    with open_field(tmp_path, engine, url=database_url) as opened:
        standard_field(opened)
        yield opened
