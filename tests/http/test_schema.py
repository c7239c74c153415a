"""Whatever schemathesis makes of the OpenAPI description, the service keeps what that promises.

``python -m benchmarks.hostile schema`` asks every operation, and more often."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.hostile import schema
from tests.flows.service import Service

ALIKE = ("/soda/async", "/builds/template/async", "/builds/difference/async")
"""Job lists that are made and described by the same code as that of TAP."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server without images."""
    made = Service(data_dir=tmp_path_factory.mktemp("schema"))
    yield made.start()
    made.stop()


def test_every_answer_is_as_described(service: Service) -> None:
    def among(method: str, path: str) -> bool:
        return method != "HEAD" and not path.startswith(ALIKE)

    report = schema.run(service, examples=1, number=1, among=among)
    assert report.faults == {}
    assert report.operations > 50 and {200, 303, 400, 404} <= set(report.statuses)
