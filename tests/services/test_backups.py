"""A backup made while the service runs answers, restored in another place, as the service did."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.config import Config
from app.errors import UsageError
from app.main import create_app
from app.recipes.recipe import ImageRef
from app.services.backups import back_up, restore
from app.services.setup import init_database
from app.stores.database import open_engine, write_transaction
from app.stores.metadata import open_stores
from tests.postgres import PostgresServer, find_postgres
from tests.stores.contract import dataset

NOW = datetime(2026, 11, 22, tzinfo=UTC)
QUERY = "SELECT obs_publisher_did, s_ra, lsst_visit FROM ivoa.ObsCore ORDER BY 1"
SEARCH = "SELECT obs_id FROM ivoa.ObsCore WHERE CONTAINS(POINT(10.3,-19.9),s_region)=1 ORDER BY 1"


@contextmanager
def served(data_dir: Path, url: str | None = None) -> Iterator[TestClient]:
    """The service over a data folder."""
    config = Config(data_dir=data_dir, database_url=url)
    with TestClient(create_app(config), base_url="http://backup.test") as client:
        yield client


def fill(url: str, folder: Path) -> None:
    """A hundred datasets, one of which has a file."""
    image = folder / "image.fits"
    image.write_bytes(b"SIMPLE  = these bytes")
    stores = open_stores(url)
    rows = [dataset(number) for number in range(100)]
    ref = ImageRef(dataset_id=rows[0].dataset_id, planes=(), grid="").to_text()
    rows[0] = replace(rows[0], file_path=str(image), file_size=21, image_ref=ref)
    stores.datasets.upsert(rows)
    stores.close()


def answers(client: TestClient) -> list[str]:
    """What users see: two queries and the list of jobs."""
    texts = [
        client.get("/tap/sync", params={"LANG": "ADQL", "QUERY": query, "FORMAT": "csv"}).text
        for query in (QUERY, SEARCH)
    ]
    assert texts[0].count("\n") == 101 and texts[1].count("\n") > 1
    return [*texts, client.get("/tap/async", params={"PHASE": ["PENDING", "COMPLETED"]}).text]


def start_job(client: TestClient) -> str:
    """The path of a job that waits to be started."""
    created = client.post(
        "/tap/async", data={"LANG": "ADQL", "QUERY": QUERY}, follow_redirects=False
    )
    assert created.status_code == 303
    return created.headers["location"].removeprefix("http://backup.test")


def signed(client: TestClient) -> str:
    """The path of a signed link to the file."""
    document = client.get("/datalink/links", params={"ID": "ivo://test.example/survey?image-0000"})
    found = re.search(r"http://backup.test(/files/[^<]+)<", document.text)
    assert found, document.text
    return found.group(1)


def test_a_sqlite_backup_answers_as_the_service_did(tmp_path: Path) -> None:
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "skyloom.backup"
    old.mkdir()
    (old / "skyloom.toml").write_text('title = "Backed up"\n')
    url = f"sqlite:///{old / 'skyloom.sqlite3'}"
    init_database(url)
    fill(url, tmp_path)
    with served(old) as client:
        link, job = signed(client), start_job(client)
        expected, told = answers(client), client.get(job).text
        engine = open_engine(url)
        with write_transaction(engine) as connection:  # a writer at work hinders nothing
            connection.exec_driver_sql("DELETE FROM obscore")
            report = back_up(url, data_dir=old, file=file, now=NOW)
            connection.rollback()
        engine.dispose()
        client.post("/tap/async", data={"LANG": "ADQL", "QUERY": QUERY})  # too late for it
    assert report.names == ("skyloom.sqlite3", "signing.key", "skyloom.toml")
    assert file.stat().st_mode & 0o777 == 0o600
    shutil.rmtree(old)
    new.mkdir()
    restore(f"sqlite:///{new / 'skyloom.sqlite3'}", data_dir=new, file=file)
    assert init_database(f"sqlite:///{new / 'skyloom.sqlite3'}").changed is False
    with served(new) as client:
        assert answers(client) == expected
        assert client.get(job).text == told
        assert client.get(link).content == b"SIMPLE  = these bytes"
        assert "Backed up" in client.get("/").text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.fits", "new", file.name]


def test_nothing_is_overwritten_and_damage_is_found(tmp_path: Path) -> None:
    old, file = tmp_path / "old", tmp_path / "skyloom.backup"
    url = f"sqlite:///{old / 'skyloom.sqlite3'}"
    with pytest.raises(UsageError, match="run skyloom init"):
        back_up(url, data_dir=old, file=file, now=NOW)
    init_database(url)
    back_up(url, data_dir=old, file=file, now=NOW)
    with pytest.raises(UsageError, match="a file already"):
        back_up(url, data_dir=old, file=file, now=NOW)
    with pytest.raises(UsageError, match="there already"):
        restore(url, data_dir=old, file=file)
    with pytest.raises(UsageError, match="names PostgreSQL"):
        restore("postgresql://u@h/d", data_dir=tmp_path / "pg", file=file)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    other = tmp_path / "other"
    with pytest.raises(UsageError, match=r"skyloom\.sqlite3 in it is damaged"):
        restore(f"sqlite:///{other / 'skyloom.sqlite3'}", data_dir=other, file=file)
    assert list(other.iterdir()) == []
    file.write_bytes(b"no backup")
    with pytest.raises(UsageError, match="no backup"):
        restore(url, data_dir=other, file=file)


@pytest.mark.needs("postgresql")
def test_a_postgres_dump_answers_as_the_service_did(
    tmp_path: Path, fresh_postgres_url: str, postgres_server: PostgresServer
) -> None:
    old, new, keys = tmp_path / "old", tmp_path / "new", tmp_path / "keys.backup"
    for folder in (old, new):
        folder.mkdir()
    fill(fresh_postgres_url, tmp_path)
    with served(old, fresh_postgres_url) as client:
        link, job = signed(client), start_job(client)
        expected, told = answers(client), client.get(job).text
    dump, other = str(tmp_path / "skyloom.dump"), postgres_server.create()
    programs = find_postgres()
    assert isinstance(programs, Path)
    environment = {**os.environ, "LC_ALL": "C"}
    for command in (
        ("pg_dump", "--format=custom", f"--file={dump}", fresh_postgres_url),
        ("pg_restore", "--no-owner", "--exit-on-error", f"--dbname={other}", dump),
    ):
        subprocess.run([programs / command[0], *command[1:]], check=True, env=environment)
    report = back_up(fresh_postgres_url, data_dir=old, file=keys, now=NOW)
    assert report.names == ("signing.key",) and not report.has_database
    restore(other, data_dir=new, file=keys)
    with served(new, other) as client:
        assert answers(client) == expected
        assert client.get(job).text == told
        assert client.get(link).content == b"SIMPLE  = these bytes"
    postgres_server.drop(other)
