"""The OpenAPI description tells the truth about every route for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from app.config import Config
from app.http.faults import FAULTS
from app.main import create_app
from app.services.build_descriptors import build_inputs
from app.services.light_curve_descriptor import light_curve_inputs
from app.services.psf_descriptor import psf_inputs
from app.services.stamp_descriptor import stamp_inputs
from app.wiring_database import initialise
from tests.http.access_matrix import routes_of


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service without images."""
    config = Config(data_dir=tmp_path_factory.mktemp("description") / "data", workers=1)
    initialise(config)
    with TestClient(create_app(config)) as made:
        yield made


@pytest.fixture(scope="module")
def paths(client: TestClient) -> dict[str, Any]:
    """What is told, path by path."""
    found: dict[str, Any] = client.get("/openapi.json").json()["paths"]
    return found


def hidden_in(routes: Any) -> Iterator[tuple[str, str]]:
    """(path, method) of what is for people, or the description itself."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from hidden_in(included.routes)
        elif not (isinstance(route, APIRoute) and route.include_in_schema):
            for method in route.methods:
                yield route.path, method


def test_no_route_for_programs_is_missing(client: TestClient, paths: dict[str, Any]) -> None:
    routes = set(routes_of(client.app.routes))
    hidden = set(hidden_in(client.app.routes))
    told = {(path, method.upper()) for path in paths for method in paths[path]}
    missing = {(path.replace(":path", ""), m) for path, m in routes - hidden} - told
    assert missing == set()
    protocols = ("/tap/", "/sia/", "/soda/", "/datalink/", "/builds/", "/moc", "/hips/", "/files/")
    assert {path for path, _ in hidden if path.startswith(protocols)} == {
        "/tap/examples",
        "/tap/examples/targets.xml",
    }


@pytest.mark.parametrize(
    ("path", "inputs"),
    [
        ("/psf", psf_inputs()),
        ("/stamps", stamp_inputs()),
        ("/lightcurve", light_curve_inputs()),
        ("/builds/difference/sync", build_inputs((), "difference")),
    ],
)
def test_parameters_are_those_of_datalink(paths: dict[str, Any], path: str, inputs: Any) -> None:
    told = {each["name"]: each for each in paths[path]["get"]["parameters"]}
    form = paths[path]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]
    assert list(told) == [each.name for each in inputs] == list(form["schema"]["properties"])
    assert all(each["description"] for each in told.values())


def test_numbers_have_their_types_and_limits(paths: dict[str, Any]) -> None:
    told = {each["name"]: each for each in paths["/builds/difference/sync"]["get"]["parameters"]}
    assert told["MAX_INPUTS"]["schema"]["type"] == "integer"
    assert told["FWHM_FRACTION"]["schema"] == {"type": "number", "minimum": 0, "maximum": 1}
    query = {each["name"]: each for each in paths["/tap/sync"]["get"]["parameters"]}
    assert query["QUERY"]["required"] and query["MAXREC"]["schema"]["minimum"] == 0


def test_errors_are_those_of_the_table_of_faults(client: TestClient, paths: dict[str, Any]) -> None:
    known = {str(fault.status) for fault in FAULTS.values()} - {"204", "500"}
    for path in ("/tap/sync", "/sia/query", "/soda/sync", "/psf", "/stamps", "/moc"):
        assert known <= set(paths[path]["get"]["responses"])
        answer = client.get(path, params={"RESPONSEFORMAT": "nonsense", "ORDER": "x"})
        told = paths[path]["get"]["responses"][str(answer.status_code)]
        assert answer.headers["content-type"].partition(";")[0] in told["content"]
    assert "Retry-After" in paths["/tap/sync"]["get"]["responses"]["503"]["headers"]
    assert "content" not in paths["/tap/sync"]["head"]["responses"]["200"]
