"""One archive for the module that asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.http.archive import Archive, add_images, open_archive, serving
from tests.waiting import PATIENCE_S


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Three images and a template, served on a real socket."""
    with open_archive(tmp_path_factory.mktemp("archive")) as made:
        add_images(made)
        with serving(made.app) as url:
            made.url = url
            yield made


@pytest.fixture(scope="session")
def client(archive: Archive) -> Iterator[httpx.Client]:
    """A client that follows no redirect."""
    with httpx.Client(base_url=archive.url, timeout=PATIENCE_S) as made:
        yield made
