"""The scripts of the pages: what is locked, what is served, and pages without them."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from app.pages.static_files import StaticFiles
from tests.pages.conftest import Site

WEB = Path("app/pages/web")


def test_the_lock_names_exact_versions_with_digests_and_no_registry() -> None:
    wanted = json.loads((WEB / "package.json").read_text())
    names = wanted["dependencies"] | wanted["devDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in names.values())
    locked = json.loads((WEB / "package-lock.json").read_text())["packages"]
    assert locked.pop("")["dependencies"] == wanted["dependencies"]
    for name, package in locked.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name


@pytest.mark.needs("bundles")
def test_every_package_in_a_bundle_brings_its_licence(site: Site) -> None:
    text = site.client.get("/static/built/licences.txt").text
    wanted = json.loads((WEB / "package.json").read_text())
    for name, version in wanted["dependencies"].items():
        assert f"{name} {version} (" in text
    assert "axe-core" not in text and "esbuild" not in text


def test_a_page_without_its_bundle_names_none(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    address = StaticFiles.address

    def unbuilt(files: StaticFiles, name: str) -> str | None:
        return None if name.startswith("built/") else address(files, name)

    monkeypatch.setattr(StaticFiles, "address", unbuilt)
    page = site.client.get("/query")
    assert page.status_code == 200
    assert "/static/built" not in page.text and "<textarea" in page.text


def test_a_bundle_is_sent_compressed_to_whoever_takes_that(tmp_path: Path) -> None:
    (tmp_path / "built").mkdir()
    script = b"void 0;" * 100
    (tmp_path / "built" / "page.js").write_bytes(script)
    (tmp_path / "built" / "page.js.gz").write_bytes(gzip.compress(script))
    files = StaticFiles(tmp_path)
    assert files.get("built/page.js.gz") is None
    file = files.get("built/page.js")
    assert file is not None and file.media_type == "text/javascript"
    assert str(files.address("built/page.js")).startswith("/static/built/page.js?v=")
    content, headers = file.encoded("br, gzip")
    assert gzip.decompress(content) == script and headers["Content-Encoding"] == "gzip"
    content, headers = file.encoded("identity")
    assert content == script and headers == {"Vary": "Accept-Encoding"}
