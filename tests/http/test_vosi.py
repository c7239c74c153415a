"""The service describes itself as the IVOA's schemas and registries want it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from app.schema.catalog import CATALOG
from app.services.formats import FORMATS
from tests.http.archive import Archive, open_archive, serving
from tests.waiting import web
from tests.xsd import (
    assert_valid_availability,
    assert_valid_capabilities,
    assert_valid_tables,
)

XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"


def test_capabilities(archive: Archive, client: httpx.Client) -> None:
    answer = client.get("/tap/capabilities")
    assert answer.headers["content-type"].startswith("text/xml")
    root = assert_valid_capabilities(answer.content)
    found = {element.get("standardID"): element for element in root}
    assert set(found) == {
        "ivo://ivoa.net/std/TAP",
        "ivo://ivoa.net/std/VOSI#capabilities",
        "ivo://ivoa.net/std/VOSI#availability",
        "ivo://ivoa.net/std/VOSI#tables-1.1",
        "ivo://skyloom/std#skymap",
        "ivo://skyloom/std#lightcurve",
        "ivo://skyloom/std#stamps",
        "ivo://skyloom/std#moc",
        "ivo://ivoa.net/std/DataLink#links-1.1",
    }
    tap = found["ivo://ivoa.net/std/TAP"]
    assert tap.get(XSI_TYPE) == "tr:TableAccess"
    interface = tap.find("interface")
    assert interface is not None
    assert (interface.get("role"), interface.get("version")) == ("std", "1.1")
    assert tap.findtext("interface/accessURL") == f"{archive.url}/tap"
    assert [v.get("ivo-id") for v in tap.findall("language/version")] == [
        "ivo://ivoa.net/std/ADQL#v2.0",
        "ivo://ivoa.net/std/ADQL#v2.1",
    ]
    methods = [str(m.get("ivo-id")).rpartition("#")[2] for m in tap.findall("uploadMethod")]
    assert methods == ["upload-inline", "upload-http", "upload-https"]
    assert tap.findtext("uploadLimit/hard") == "1000000"
    assert tap.findtext("outputLimit/hard") == "5000"


def test_every_declared_format_is_accepted(client: httpx.Client) -> None:
    root = assert_valid_capabilities(client.get("/tap/capabilities").content)
    declared = [
        element.text or ""
        for output in root.iter("outputFormat")
        for element in (*output.findall("mime"), *output.findall("alias"))
    ]
    assert len(declared) > len(FORMATS.formats)
    for name in declared:
        FORMATS.choose(name)


def test_tables(client: httpx.Client) -> None:
    full = assert_valid_tables(client.get("/tap/tables").content)
    names = [table.findtext("name") for table in full.iter("table")]
    assert names == [table.name for table in CATALOG.tables]
    for table, element in zip(CATALOG.tables, full.iter("table"), strict=True):
        columns = [c.findtext("dataType") for c in element.findall("column")]
        assert columns == [field.datatype for field in table.fields]
    short = assert_valid_tables(client.get("/tap/tables?DETAIL=min").content)
    assert [table.findtext("name") for table in short.iter("table")] == names
    assert not list(short.iter("column"))
    assert client.get("/tap/tables?detail=some").status_code == 400


def test_names_that_adql_reserves_are_delimited(client: httpx.Client) -> None:
    root = assert_valid_tables(client.get("/tap/tables/tap_schema.columns").content)
    assert '"size"' in [column.findtext("name") for column in root.iter("column")]


@pytest.mark.parametrize("table", CATALOG.tables, ids=lambda t: t.name)
def test_each_table_has_its_document(client: httpx.Client, table: object) -> None:
    name = getattr(table, "name", "")
    root = assert_valid_tables(client.get(f"/tap/tables/{name.upper()}").content)
    assert root.findtext("name") == name
    assert root.find("column") is not None


def test_an_unknown_table_is_not_found(client: httpx.Client) -> None:
    assert client.get("/tap/tables/ivoa.nothing").status_code == 404


def test_availability(client: httpx.Client) -> None:
    root = assert_valid_availability(client.get("/tap/availability").content)
    assert root.findtext("{*}available") == "true"


def test_availability_is_really_looked_at(tmp_path: Path) -> None:
    with open_archive(tmp_path) as archive, serving(archive.app) as url:
        archive.stores.engine.dispose()
        (tmp_path / "archive.sqlite3").unlink()
        root = assert_valid_availability(web.get(f"{url}/tap/availability").content)
        assert root.findtext("{*}available") == "false"
        assert str(tmp_path) not in (root.findtext("{*}note") or "")
