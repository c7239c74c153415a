"""The lines offered for copying run as they stand, against the service that offers them."""

from __future__ import annotations

import html
import re
import socket
import textwrap
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import uvicorn

from app.config import Config
from app.demo.announce import announce
from app.main import create_app
from tests.pages.conftest import Site
from tests.waiting import web


@pytest.fixture(scope="module")
def service_url(site: Site) -> Iterator[str]:
    """The site on a real port: pyvo and astropy speak HTTP of their own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = create_app(Config(data_dir=site.data_dir, workers=1))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def snippets_of(url: str) -> list[str]:
    text = web.get(url).text
    return [html.unescape(t) for t in re.findall(r'class="copyable"><pre>(.*?)</pre>', text, re.S)]


def run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(code, "snippet", "exec"), names)
    return names


def test_python_of_the_landing_page(site: Site, service_url: str) -> None:
    code = next(s for s in snippets_of(service_url) if s.startswith("import pyvo"))
    names = run(code)
    assert len(names["images"]) >= 1
    assert [h.name for h in names["hdus"]][:2] == ["PRIMARY", "IMAGE"]


def test_python_of_an_image(site: Site, service_url: str) -> None:
    page = f"{service_url}/images?ID={quote(site.image_id, safe='')}"
    names = run(next(s for s in snippets_of(page) if "fits.open" in s))
    assert names["hdus"][0].header["DETECTOR"] == 1


def test_python_of_the_announcement(site: Site, service_url: str) -> None:
    text = announce(site.truth, base_url=service_url)
    code = textwrap.dedent(text[text.index("  import pyvo") : text.index("Ctrl-C")])
    names = run(code)
    assert len(names["found"]) >= 1 and names["hdus"][0].header["TELESCOP"] == "Simulated 8m"
