"""The application over an empty archive, started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.config import Config
from app.main import create_app
from app.wiring_database import initialise

LOCAL = ("127.0.0.1", 40_000)


@contextmanager
def running(data_dir: Path, **settings: Any) -> Iterator[TestClient]:
    """A client of a fresh application; errors that leave it become answers."""
    config = Config(data_dir=data_dir, workers=1, **settings)
    initialise(config)
    app = create_app(config)
    with TestClient(app, client=LOCAL, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One for the tests of a module that change nothing."""
    with running(tmp_path_factory.mktemp("operations"), slow_query_s=1e-6) as made:
        yield made
