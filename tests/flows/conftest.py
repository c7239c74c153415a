"""One demo survey, published by one service on SQLite and by one on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pyvo

from tests.flows.service import Service


@pytest.fixture(scope="session")
def demo_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo as ``skyloom demo`` makes it: simulated, ingested, not yet served.

    Of processes side by side one runs the tests that use it (``tests/distribution.py``).
    """
    folder = tmp_path_factory.mktemp("demo")
    Service(data_dir=folder).run("demo", "--no-serve", "--data-dir", str(folder))
    return folder


@pytest.fixture(scope="session")
def sqlite_service(demo_dir: Path) -> Iterator[Service]:
    """The demo on SQLite, served."""
    service = Service(data_dir=demo_dir).start()
    yield service
    service.stop()


@pytest.fixture(scope="session")
def postgres_service(
    demo_dir: Path, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """The same files ingested into PostgreSQL, served."""
    folder = tmp_path_factory.mktemp("demo-postgres")
    environment = {"SKYLOOM_DATABASE_URL": postgres_url}
    demo_settings = demo_dir / "skyloom.toml"
    if demo_settings.exists():
        environment["SKYLOOM_CONFIG"] = str(demo_settings)
    service = Service(data_dir=folder, environment=environment)
    service.run("ingest", str(demo_dir / "survey" / "images"), "--collection", "demo")
    service.start()
    yield service
    service.stop()


@pytest.fixture(params=["sqlite", "postgres"])
def service(request: pytest.FixtureRequest) -> Service:
    """Each flow runs on both engines."""
    started: Service = request.getfixturevalue(f"{request.param}_service")
    return started


@pytest.fixture
def tap(service: Service) -> pyvo.dal.TAPService:
    """pyvo's view of it."""
    return pyvo.dal.TAPService(f"{service.url}/tap")


@pytest.fixture(scope="session")
def truth(demo_dir: Path) -> dict[str, Any]:
    """What was put into the simulated images."""
    return dict(json.loads((demo_dir / "survey" / "truth.json").read_text()))
