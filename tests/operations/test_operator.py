"""The operator's page."""

from __future__ import annotations

import html
import logging
import re
from datetime import timedelta
from pathlib import Path

from starlette.testclient import TestClient

from app.config import Config
from app.pages.operator_view import size_of, words_of
from app.schema.access import Role
from app.wiring_database import open_tokens
from tests.operations.conftest import running

QUERY = "SELECT TOP 2 table_name FROM tap_schema.tables WHERE 'a' <> '<b>'"


def page(client: TestClient, **headers: str) -> str:
    """The text of the page, unescaped."""
    answer = client.get("/operator", headers={"Accept": "text/html", **headers})
    assert answer.status_code == 200, answer.text
    assert "<b>'" not in answer.text
    return html.unescape(answer.text)


def test_what_an_operator_looks_for(client: TestClient) -> None:
    assert client.get("/tap/sync", params={"LANG": "ADQL", "QUERY": QUERY}).status_code == 200
    job = client.post("/tap/async", data={"LANG": "ADQL", "QUERY": QUERY}, follow_redirects=False)
    assert job.status_code == 303
    logging.getLogger("app.test").warning("the roof is open")
    text = page(client)
    assert QUERY in text and "the roof is open" in text
    assert re.search(r'<th scope="row">tap</th><td class="number">1</td>', text)
    assert re.search(r'<th scope="row">database</th><td>well</td><td>SQLite answers</td>', text)
    assert re.search(r"<b>[0-9.]+ [GT]B</b><span>left on the disk", text)
    assert '<th scope="row">(files)</th>' in text


def test_who_may_see_it(tmp_path: Path) -> None:
    with running(tmp_path, operator_page="off", anonymous="none") as client:
        assert client.get("/operator").status_code == 404
        roles: tuple[tuple[Role, int], ...] = (("user", 404), ("operator", 200))
        for role, status in roles:
            with open_tokens(Config(data_dir=tmp_path)) as tokens:
                secret = tokens.create(f"the-{role}", role=role, collections=(), days=1)
            headers = {"Authorization": f"Bearer {secret}"}
            assert client.get("/operator", headers=headers).status_code == status
        assert client.get("/health").status_code == client.get("/ready").status_code == 200
        assert client.get("/tap/tables/operator").status_code == 401


def test_spans_and_sizes_in_words() -> None:
    assert words_of(timedelta(days=3, hours=4, minutes=5)) == "3 d 4 h"
    assert words_of(timedelta(seconds=61)) == "1 min 1 s"
    assert words_of(timedelta(0)) == "0 s"
    assert (size_of(999), size_of(1_500_000), size_of(3e12)) == ("999 bytes", "1.5 MB", "3 TB")
