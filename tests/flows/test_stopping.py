"""A server that is told to stop: what runs may end, jobs are handed back, others are sent away."""

from __future__ import annotations

import json
import signal
import socket
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import httpx

from app.stores.jobs import JobStore
from app.stores.metadata import open_stores
from app.uws.job import Phase
from tests.flows.service import Service
from tests.waiting import wait_for, web

MANY = ", ".join(f"tap_schema.columns AS {alias}" for alias in "abcdef")
ENDLESS = f"SELECT a.description AS x, b.description AS y FROM {MANY}"


def _ask(service: Service, query: str) -> socket.socket:
    asked = socket.create_connection(("127.0.0.1", service.port))
    target = f"/tap/sync?LANG=ADQL&FORMAT=csv&MAXREC=1000000&QUERY={quote(query)}"
    asked.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return asked


def _phase(jobs: JobStore, job_id: str) -> Phase:
    return jobs.get(job_id).phase


def test_a_stop_in_good_order(tmp_path: Path) -> None:
    settings = {"SKYLOOM_LOG_FORMAT": "json", "SKYLOOM_SHUTDOWN_WAIT_S": "60"}
    service = Service(data_dir=tmp_path, environment=settings).start()
    process = service.process
    assert process is not None
    stores = open_stores(f"sqlite:///{tmp_path / 'skyloom.sqlite3'}")
    kept = httpx.Client(base_url=service.url)
    with closing(stores), kept, _ask(service, ENDLESS) as slow:
        asked = {"LANG": "ADQL", "QUERY": f"SELECT COUNT(*) AS n FROM {MANY}", "PHASE": "RUN"}
        answer = kept.post("/tap/async", data=asked, headers={"X-Request-ID": "the-asker"})
        job_id = answer.headers["location"].rsplit("/", 1)[1]
        wait_for(lambda: _phase(stores.jobs, job_id) is Phase.EXECUTING)
        assert slow.recv(100).startswith(b"HTTP/1.1 200")

        process.send_signal(signal.SIGTERM)
        wait_for(lambda: _phase(stores.jobs, job_id) is Phase.QUEUED)
        assert stores.jobs.get(job_id).attempts == 0  # another server takes it at once
        for refused in (kept.get("/tap/tables"), web.get(f"{service.url}/search")):
            assert refused.status_code == 503 and refused.headers["retry-after"] == "10"
        ready = kept.get("/ready")
        assert ready.status_code == 503 and ready.json()["status"] == "stopping"
        assert b">false<" in kept.get("/tap/availability").content
        assert process.poll() is None and slow.recv(100)  # what was begun goes on
    process.wait(50)  # as soon as nobody waits any more
    assert process.returncode == -signal.SIGTERM

    lines = [json.loads(line) for line in service.log().splitlines()]
    assert any(each.get("request") == "the-asker" and each.get("job") for each in lines)
    assert any(each.get("hung_up") and each["route"] == "/tap/sync" for each in lines)
