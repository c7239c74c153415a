"""Two servers over one database and data folder, as behind a proxy, and settings read again."""

from __future__ import annotations

import io
import signal
import time
from collections.abc import Iterator
from functools import partial
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from astropy.io.votable import parse_single_table

from tests.flows.service import Service
from tests.flows.test_remote_images import write_image
from tests.services.survey import standard_exposures
from tests.waiting import wait_for, web

QUERY = {"LANG": "ADQL", "QUERY": "SELECT obs_id FROM ivoa.ObsCore", "FORMAT": "csv"}
IMAGE = "ivo://skyloom.local/field?i-1"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Service]]:
    """Both, with one image."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "images").mkdir()
    write_image(folder / "images", standard_exposures()[0])
    (folder / "data").mkdir()
    settings = folder / "data" / "skyloom.toml"
    settings.write_text('log_level = "warning"\n')
    servers = Service(data_dir=folder / "data"), Service(data_dir=folder / "data")
    servers[0].run("ingest", str(folder / "images"), "--collection", "field")
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.stop()


def is_completed(server: Service, path: str) -> bool:
    """Whether a job has come to its end."""
    return web.get(f"{server.url}{path}/phase").text == "COMPLETED"


def test_a_job_of_one_is_fetched_at_the_other(two: tuple[Service, Service]) -> None:
    for asked, told in (two, two[::-1]):
        job = web.post(f"{asked.url}/tap/async", data={**QUERY, "PHASE": "RUN"})
        path = urlsplit(job.headers["location"]).path
        wait_for(partial(is_completed, told, path))
        assert "i-1" in web.get(f"{told.url}{path}/results/result").text
        assert web.delete(f"{told.url}{path}").status_code == 303
        assert web.get(f"{asked.url}{path}").status_code == 404


def test_links_of_one_are_good_at_the_other(two: tuple[Service, Service]) -> None:
    contents = []
    for asked, told in (two, two[::-1]):
        found = web.get(f"{asked.url}/datalink/links", params={"ID": IMAGE}).content
        table = parse_single_table(io.BytesIO(found)).to_table()
        (url,) = [str(row["access_url"]) for row in table if row["semantics"] == "#this"]
        answer = web.get(told.url + urlsplit(url).path)
        assert answer.status_code == 200, answer.text
        contents.append(answer.content)
    assert contents[0] == contents[1] and contents[0].startswith(b"SIMPLE")


def test_a_connection_that_rested_takes_the_next_request(two: tuple[Service, Service]) -> None:
    proxy = HTTPConnection("127.0.0.1", two[0].port, timeout=60)
    try:
        for rest_s in (6.0, 0.0):  # httpx keeps a connection for 5 s, proxies for longer
            proxy.request("GET", "/health")
            assert b"alive" in proxy.getresponse().read()
            first = proxy.sock
            time.sleep(rest_s)
        assert proxy.sock is first is not None
    finally:
        proxy.close()


def test_keys_settings_and_a_restart_while_the_other_serves(two: tuple[Service, Service]) -> None:
    first, second = two
    process = first.process
    assert process is not None
    settings = first.data_dir / "skyloom.toml"
    settings.write_text('log_level = "loud"\n')
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: "settings are as they were" in first.log())
    settings.write_text('log_level = "info"\nmax_rows = 5\n')
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: "max_rows changed: it counts from the next start" in first.log())
    assert "log_level = info" in first.log()
    web.get(f"{first.url}/tap/availability", headers={"X-Request-ID": "after-the-signal"})
    wait_for(lambda: "after-the-signal" in first.log())

    first.run("key", "rotate")
    job = web.post(f"{first.url}/tap/async", data={**QUERY, "PHASE": "RUN"})
    path = urlsplit(job.headers["location"]).path
    first.stop()
    wait_for(partial(is_completed, second, path))
    first.start()
    assert "i-1" in web.get(f"{first.url}{path}/results/result").text
