"""SQL in every parameter that the description of the service tells: it stays a text, and the
database stays as it was."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.config import Config
from app.main import create_app
from app.wiring_database import initialise
from benchmarks.hostile.requests import LEAKS

CANARY = "canary-7f3a"
TEXTS = (
    "'",
    "1' OR '1'='1",
    "'; DROP TABLE obscore; --",
    "x'); DELETE FROM job; --",
    "1 UNION SELECT parameters FROM job",
    "' UNION SELECT sql, 2, 3 FROM sqlite_master --",
    "1; ATTACH DATABASE '/tmp/x' AS x; --",
    '" OR ""="',
    "%27%20OR%201=1--",
    "1) OR load_extension('x') IS NOT NULL --",
    "$$; UPDATE job SET phase='COMPLETED'; $$",
    "\\'; VACUUM; --",
    "1/**/OR/**/1=1",
)
"""Ends of texts and brackets, second statements, unions, comments, and spellings of quotes."""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("injections") / "data"


@pytest.fixture(scope="module")
def client(data_dir: Path) -> Iterator[TestClient]:
    """A service with one job, whose query nobody else may read."""
    config = Config(data_dir=data_dir, workers=1)
    initialise(config)
    with TestClient(create_app(config), follow_redirects=False) as made:
        asked = {"LANG": "ADQL", "QUERY": f"SELECT '{CANARY}' AS c FROM ivoa.ObsCore"}
        assert made.post("/tap/async", data=asked).status_code == 303
        yield made


def contents(data_dir: Path) -> tuple[list[Any], list[Any]]:
    """Tables, and the jobs."""
    (path,) = data_dir.glob("*.sqlite3")
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        jobs = connection.execute("SELECT job_id, phase, parameters FROM job").fetchall()
    return tables, jobs


def told(client: TestClient) -> Iterator[tuple[str, str]]:
    """(path, parameter) of all that is read by GET and has no place to fill in."""
    paths = client.get("/openapi.json").json()["paths"]
    for path, methods in sorted(paths.items()):
        for parameter in methods.get("get", {}).get("parameters", ()):
            if parameter["in"] == "query" and "{" not in path:
                yield path, parameter["name"]


def test_sql_in_a_parameter_is_a_text(client: TestClient, data_dir: Path) -> None:
    before, asked = contents(data_dir), 0
    for path, name in told(client):
        needed = {"LANG": "ADQL"} if path == "/tap/sync" else {}
        for text in TEXTS:
            answer = client.get(path, params=needed | {name: text})
            asked += 1
            assert answer.status_code < 500 or answer.status_code == 503, (path, name, text)
            found = [word for word in (*LEAKS, CANARY.encode()) if word in answer.content]
            assert not found, (path, name, text)
    assert asked > 800
    assert contents(data_dir) == before


@pytest.mark.parametrize("text", TEXTS)
def test_sql_in_a_text_of_a_query_finds_nothing(client: TestClient, text: str) -> None:
    quoted = text.replace("'", "''")
    query = f"SELECT COUNT(*) AS n FROM ivoa.ObsCore WHERE obs_id = '{quoted}' OR target_name = 'x'"
    asked = {"LANG": "ADQL", "QUERY": query, "FORMAT": "json"}
    answer = client.get("/tap/sync", params=asked)
    assert (answer.status_code, answer.json()["data"]) == (200, [[0]])
