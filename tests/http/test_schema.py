"""Whatever schemathesis makes of the OpenAPI description, the service keeps what that promises."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.faults.sky import write_field
from benchmarks.hostile import schema
from tests.flows.service import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server with five images."""
    folder = tmp_path_factory.mktemp("schema")
    write_field(folder / "images")
    made = Service(data_dir=folder / "data")
    made.run("ingest", str(folder / "images"), "--collection", "field")
    yield made.start()
    made.stop()


def test_every_answer_is_as_described(service: Service) -> None:
    report = schema.run(service, examples=2, number=1)
    assert report.faults == {}
    assert report.operations > 150 and len(report.statuses) >= 6
