"""TAP queries as clients send them."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from pathlib import Path

import httpx
import pyarrow.parquet
import pytest
import pyvo
from astropy.io.votable import parse
from astropy.table import Table

from app.services.catalog_rows import CatalogRows
from app.services.coverage import CoverageService
from app.services.coverage_request import CoverageRequest
from app.services.formats import FORMATS
from tests.http.archive import DATALINK, Archive
from tests.waiting import web
from tests.xsd import assert_valid_votable

ALL = "SELECT obs_publisher_did, s_ra, lsst_visit, access_url FROM ivoa.ObsCore ORDER BY obs_id"
DIDS = [
    "ivo://skyloom.test/products?template/1",
    *(f"ivo://skyloom.test/demo?Visit-{n}" for n in range(3)),
]


def _sync(client: httpx.Client, query: str = ALL, **more: str) -> httpx.Response:
    return client.get("/tap/sync", params={"LANG": "ADQL", "QUERY": query, **more})


def _table(answer: httpx.Response) -> Table:
    assert answer.status_code == 200, answer.text
    assert_valid_votable(answer.content)
    return parse(io.BytesIO(answer.content)).get_first_table().to_table()


def _error(answer: httpx.Response) -> str:
    root = assert_valid_votable(answer.content)
    (info,) = root.xpath("//*[local-name()='INFO']")
    assert info.get("value") == "ERROR"
    assert not root.xpath("//*[local-name()='TABLE']")
    return str(info.text)


@pytest.mark.parametrize("serialization", ["votable", "votable/b", "votable/b2"])
def test_a_query_in_every_serialization(client: httpx.Client, serialization: str) -> None:
    table = _table(_sync(client, RESPONSEFORMAT=serialization))
    assert [str(did) for did in table["obs_publisher_did"]] == DIDS
    assert table["s_ra"].tolist() == [10.0, 10.0, 10.01, 10.02]
    assert table["lsst_visit"].mask.tolist() == [True, False, False, False]
    base = str(client.base_url).rstrip("/")
    assert all(str(url).startswith(f"{base}/datalink/links?ID=") for url in table["access_url"])


@pytest.mark.parametrize("send", ["query", "urlencoded", "multipart"])
def test_parameters_may_come_in_any_way(client: httpx.Client, send: str) -> None:
    pairs = {
        "lang": "ADQL",
        "Query": ALL,
        "maxREC": "1",
        "DUMMY": "ignore-me",
        "request": "doQuery",
    }
    if send == "query":
        answer = client.get("/tap/sync", params=pairs)
    elif send == "urlencoded":
        answer = client.post("/tap/sync", data=pairs)
    else:
        answer = client.post("/tap/sync", files={k: (None, v) for k, v in pairs.items()})
    assert len(_table(answer)) == 1
    assert 'value="OVERFLOW"' in answer.text


@pytest.mark.parametrize("language", ["ADQL", "ADQL-2.0", "ADQL-2.1", "adql"])
def test_languages(client: httpx.Client, language: str) -> None:
    answer = client.get("/tap/sync", params={"LANG": language, "QUERY": ALL})
    assert len(_table(answer)) == 4


@pytest.mark.parametrize(
    ("maxrec", "rows", "overflow"),
    [("0", 0, True), ("3", 3, True), ("4", 4, False), ("99999", 4, False)],
)
def test_maxrec_flags_only_real_truncation(
    client: httpx.Client, maxrec: str, rows: int, overflow: bool
) -> None:
    answer = _sync(client, MAXREC=maxrec)
    assert len(_table(answer)) == rows
    assert ('value="OVERFLOW"' in answer.text) is overflow


def test_top_is_no_truncation(client: httpx.Client) -> None:
    answer = _sync(client, "SELECT TOP 2 obs_id FROM ivoa.ObsCore", MAXREC="2")
    assert len(_table(answer)) == 2
    assert "OVERFLOW" not in answer.text


def test_the_answer_tells_the_query_and_how_to_follow_datasets(client: httpx.Client) -> None:
    answer = _sync(client)
    votable = parse(io.BytesIO(answer.content))
    (query,) = [info for info in votable.resources[0].infos if info.name == "QUERY"]
    assert query.value == ALL
    service = votable.resources[1]
    assert service.utype == "adhoc:service"
    assert service.groups[0].entries[0].ref == "obs_publisher_did"
    without = _sync(client, "SELECT s_ra FROM ivoa.ObsCore")
    assert len(parse(io.BytesIO(without.content)).resources) == 1


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"QUERY": ""}, "QUERY"),
        ({"LANG": "OOBLECK"}, "LANG"),
        ({"MAXREC": "-1"}, "MAXREC"),
        ({"MAXREC": "many"}, "MAXREC"),
        ({"RESPONSEFORMAT": "image/png"}, "RESPONSEFORMAT"),
        ({"FORMAT": "image/png"}, "FORMAT"),
        ({"REQUEST": "getEverything"}, "REQUEST"),
        ({"UPLOAD": "t1,ftp://example.org/t.xml"}, "UPLOAD"),
        ({"QUERY": "SELECT nothing FROM ivoa.ObsCore"}, "line 1, column 8"),
        ({"QUERY": "SELECT * FROM nowhere"}, "nowhere"),
        ({"QUERY": "DROP TABLE obscore"}, "line 1"),
    ],
)
def test_errors_are_documents(client: httpx.Client, more: dict[str, str], named: str) -> None:
    answer = client.get("/tap/sync", params={"LANG": "ADQL", "QUERY": ALL, **more})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/x-votable+xml"
    text = _error(answer)
    assert text.startswith("UsageFault: ") and named in text


def test_twice_the_same_parameter(client: httpx.Client) -> None:
    answer = client.get("/tap/sync", params=[("LANG", "ADQL"), ("QUERY", ALL), ("query", ALL)])
    assert answer.status_code == 400
    assert "QUERY" in _error(answer)


def test_csv_json_fits_and_parquet(client: httpx.Client) -> None:
    rows = list(csv.DictReader(io.StringIO(_sync(client, FORMAT="csv").text)))
    assert [row["obs_publisher_did"] for row in rows] == DIDS
    assert rows[0]["lsst_visit"] == ""
    document = json.loads(_sync(client, RESPONSEFORMAT="json").content)
    assert [row[0] for row in document["data"]] == DIDS
    fits_table = Table.read(io.BytesIO(_sync(client, RESPONSEFORMAT="fits").content), hdu=1)
    assert [str(did).strip() for did in fits_table["obs_publisher_did"]] == DIDS
    content = _sync(client, RESPONSEFORMAT="parquet").content
    parquet = pyarrow.parquet.read_table(io.BytesIO(content))
    assert parquet.column("obs_publisher_did").to_pylist() == DIDS
    metadata = parquet.schema.metadata[b"IVOA.VOTable-Parquet.content"]
    assert_valid_votable(metadata)


@pytest.mark.parametrize("output", FORMATS.formats, ids=lambda f: f.name)
def test_the_answer_is_labelled_as_asked(client: httpx.Client, output: object) -> None:
    for asked in getattr(output, "media_types", ()):
        answer = _sync(client, RESPONSEFORMAT=asked)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == asked


def test_a_blank_for_a_plus_in_the_format(client: httpx.Client) -> None:
    url = f"/tap/sync?LANG=ADQL&RESPONSEFORMAT=application/x-votable+xml&QUERY={ALL}"
    answer = client.get(url)
    assert answer.headers["content-type"] == "application/x-votable+xml"


def test_pyvo(archive: Archive) -> None:
    tap = pyvo.dal.TAPService(f"{archive.url}/tap")
    assert "ivoa.ObsCore" in tap.tables
    assert tap.hardlimit == 5000
    results = tap.search(
        "SELECT * FROM ivoa.ObsCore WHERE CONTAINS(POINT('ICRS', 10.005, 0.02), s_region) = 1 "
        "AND calib_level = 2"
    )
    assert len(results) == 3
    assert results[0]["access_format"] == DATALINK
    assert web.get(results[0].getdataurl()).headers["content-type"] == DATALINK
    with pytest.raises(pyvo.dal.DALQueryError, match=r"(?s)obs_idd.*line 1"):
        tap.search("SELECT obs_idd FROM ivoa.ObsCore")


def test_pyvo_follows_the_links_of_rows(archive: Archive) -> None:
    tap = pyvo.dal.TAPService(f"{archive.url}/tap")
    results = tap.search("SELECT * FROM ivoa.ObsCore WHERE calib_level = 2 ORDER BY obs_id")
    links = list(results.iter_datalinks())
    assert len(links) == 3
    for row, link in zip(results, links, strict=True):
        assert "#this" in {record.semantics for record in link}
        assert {record.id for record in link} == {row["obs_publisher_did"]}


def test_every_table_can_be_read(client: httpx.Client, archive: Archive) -> None:
    stores = archive.stores
    rows = CatalogRows(tables=stores.tables, catalogs=stores.catalogs)
    coverage = CoverageService(store=stores.coverage, rows=rows, clock=archive.clock)
    coverage.find(
        CoverageRequest(conditions=(), order=None)
    )  # it is made when it is first asked for
    names = re.findall(r"<table>\s*<name>([^<]+)", client.get("/tap/tables").text)
    for name in names:
        assert len(_table(_sync(client, f"SELECT TOP 3 * FROM {name}"))) >= 1, name


FEATURES = {
    "POINT": "SELECT POINT(s_ra, s_dec) FROM ivoa.ObsCore",
    "CIRCLE": "SELECT CIRCLE(s_ra, s_dec, 1) FROM ivoa.ObsCore",
    "POLYGON": "SELECT POLYGON(1, 2, 3, 4, 5, 6) FROM ivoa.ObsCore",
    "BOX": "SELECT s_ra FROM ivoa.ObsCore WHERE 1 = CONTAINS(POINT(s_ra, s_dec), BOX(10, 0, 1, 1))",
    "REGION": "SELECT REGION('CIRCLE 1 2 3') FROM ivoa.ObsCore",
    "CONTAINS": "SELECT CONTAINS(POINT(10, 0), s_region) FROM ivoa.ObsCore",
    "INTERSECTS": "SELECT INTERSECTS(CIRCLE(10, 0, 1), s_region) FROM ivoa.ObsCore",
    "DISTANCE": "SELECT DISTANCE(s_ra, s_dec, 10, 0) FROM ivoa.ObsCore",
    "AREA": "SELECT AREA(s_region) FROM ivoa.ObsCore",
    "COORD1": "SELECT COORD1(POINT(s_ra, s_dec)) FROM ivoa.ObsCore",
    "COORD2": "SELECT COORD2(POINT(s_ra, s_dec)) FROM ivoa.ObsCore",
    "COORDSYS": "SELECT COORDSYS(s_region) FROM ivoa.ObsCore",
    "LOWER": "SELECT LOWER(obs_id) FROM ivoa.ObsCore",
    "UPPER": "SELECT UPPER(obs_id) FROM ivoa.ObsCore",
    "ILIKE": "SELECT obs_id FROM ivoa.ObsCore WHERE obs_id ILIKE '%T%'",
    "OFFSET": "SELECT obs_id FROM ivoa.ObsCore ORDER BY obs_id OFFSET 1",
    "WITH": "WITH q AS (SELECT obs_id FROM ivoa.ObsCore) SELECT obs_id FROM q",
    "UNION": "SELECT obs_id FROM ivoa.ObsCore UNION SELECT obs_title FROM ivoa.ObsCore",
    "EXCEPT": "SELECT obs_id FROM ivoa.ObsCore EXCEPT SELECT obs_title FROM ivoa.ObsCore",
    "INTERSECT": "SELECT obs_id FROM ivoa.ObsCore INTERSECT SELECT obs_id FROM ivoa.ObsCore",
    "CAST": "SELECT CAST(s_ra AS SMALLINT), CAST(s_ra AS REAL), CAST(s_ra AS CHAR(3)),"
    " CAST(s_ra AS INTEGER), CAST('1 2 3' AS CIRCLE) FROM ivoa.ObsCore",
    "IN_UNIT": "SELECT IN_UNIT(s_ra, 'rad') FROM ivoa.ObsCore",
    "ivo_healpix_index": "SELECT ivo_healpix_index(8, s_ra, s_dec) AS a,"
    " ivo_healpix_index(8, POINT(s_ra, s_dec)) AS b FROM ivoa.ObsCore",
    "ivo_hasword": "SELECT ivo_hasword(obs_id, 'visit') FROM ivoa.ObsCore",
    "ivo_nocasematch": "SELECT ivo_nocasematch(obs_id, '%T%') FROM ivoa.ObsCore",
    "ivo_hashlist_has": "SELECT ivo_hashlist_has('a#b', obs_id) FROM ivoa.ObsCore",
    "ivo_interval_overlaps": "SELECT ivo_interval_overlaps(s_ra, s_ra, 1, 99) FROM ivoa.ObsCore",
    "ivo_interval_has": "SELECT ivo_interval_has(s_ra, '9 +Inf') FROM ivoa.ObsCore",
    "ivo_to_jd": "SELECT ivo_to_jd('2026-01-31') FROM ivoa.ObsCore",
    "ivo_to_mjd": "SELECT ivo_to_mjd('2026-01-31T12:00:00') FROM ivoa.ObsCore",
    "ivo_string_agg": "SELECT ivo_string_agg(obs_id, ', ') FROM ivoa.ObsCore",
}


def test_every_declared_feature_works(client: httpx.Client) -> None:
    declared = re.findall(r"<form>([^<(]+)[^<]*</form>", client.get("/tap/capabilities").text)
    assert set(declared) == set(FEATURES)
    for query in FEATURES.values():
        for serialization in ("votable", "votable/b2"):
            assert len(_table(_sync(client, query, RESPONSEFORMAT=serialization))) >= 1, query


@pytest.mark.parametrize("serialization", ["votable", "votable/b", "votable/b2"])
def test_geometry_is_arrays_of_numbers(client: httpx.Client, serialization: str) -> None:
    query = "SELECT POINT(s_ra, 0.0) AS p, s_region FROM ivoa.ObsCore WHERE lsst_visit = 1"
    table = _table(_sync(client, query, RESPONSEFORMAT=serialization))
    assert table["p"][0].tolist() == [10.01, 0.0]
    assert str(table["s_region"][0]).startswith("POLYGON ICRS 9.9")


@pytest.mark.needs("stilts")
def test_stilts_taplint(archive: Archive) -> None:
    stages = ["TMV", "TME", "TMS", "TMC", "CPV", "CAP", "AVV", "QGE", "QPO", "QAS", "UWS", "MDQ"]
    stages += ["UPL"]
    command = ["stilts", "taplint", f"tapurl={archive.url}/tap", "report=EWF"]
    command.append(f"stages={' '.join([*stages, 'OBS'])}")
    report = subprocess.run(command, capture_output=True, text=True, check=False)
    findings = re.findall(r"^[EWF]-.*$", report.stdout, re.M)
    assert findings == [], "\n".join(findings)
    assert "Totals: Errors: 0" in report.stdout, report.stderr


@pytest.mark.needs("stilts")
@pytest.mark.parametrize("name", ["votable", "votable/b", "votable/b2"])
def test_stilts_votlint(client: httpx.Client, tmp_path: Path, name: str) -> None:
    path = tmp_path / "answer.xml"
    query = "SELECT t.*, POINT(s_ra, s_dec) AS p FROM ivoa.ObsCore AS t"
    path.write_bytes(_sync(client, query, RESPONSEFORMAT=name).content)
    command = ["stilts", "votlint", f"votable={path}"]
    report = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (report.stdout.strip(), report.returncode) == ("", 0)
