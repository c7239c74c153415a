"""STILTS votlint and the IVOA's schemas on the answers of the running service."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from tests.flows.service import Service
from tests.http.test_uploads import votable
from tests.waiting import web
from tests.xsd import assert_valid_votable

FORMATS: Final = ("votable", "votable/b", "votable/b2")

GEOMETRIES: Final = (
    "SELECT o.*, POINT(s_ra, s_dec) AS p, CIRCLE(s_ra, s_dec, 0.5) AS c, "
    "POLYGON(10, 10, 10, 20, 20, 20) AS q, BOX(s_ra, s_dec, 1, 1) AS b, "
    "CENTROID(s_region) AS m, AREA(s_region) AS a, DISTANCE(POINT(1, 2), POINT(s_ra, s_dec)) AS d "
    "FROM ivoa.ObsCore AS o"
)
_TYPES: Final = {
    "SMALLINT": "{}",
    "INTEGER": "{}",
    "BIGINT": "{}",
    "REAL": "{}",
    "DOUBLE PRECISION": "{}",
    "CHAR(4)": "{}",
    "VARCHAR(9)": "{}",
    "VARCHAR": "{}",
    "TIMESTAMP": "CASE WHEN {} = 2 THEN '2026-01-02T03:04:05' END",
}
_VALUES: Final = ", ".join(
    f"CAST({value.format('calib_level')} AS {name}) AS v{n}, "
    f"CAST({value.format('NULLIF(calib_level, calib_level)')} AS {name}) AS n{n}"
    for n, (name, value) in enumerate(_TYPES.items())
)
QUERIES: Final = {
    "obscore": "SELECT * FROM ivoa.ObsCore",
    "geometries": GEOMETRIES,
    "casts": f"SELECT {_VALUES} FROM ivoa.ObsCore".replace(
        "NULLIF(calib_level, calib_level)", "CASE WHEN calib_level > 9 THEN calib_level END"
    ),
    "nothing": f"{GEOMETRIES} WHERE calib_level > 9",
    "groups": "SELECT calib_level, COUNT(*) AS n, AVG(t_exptime) AS t, MIN(target_name) AS w "
    "FROM ivoa.ObsCore GROUP BY calib_level",
    **{
        name: f"SELECT * FROM TAP_SCHEMA.{name}"
        for name in ("schemas", "tables", "columns", "keys", "key_columns")
    },
}


def findings(document: bytes, path: Path) -> str:
    """What votlint says of a document, binary polygons of any size aside.

    votlint 3.4.7 misreads them in what STILTS writes as well (the last test here), so that they are
    declared as the arrays of numbers that they are; not a byte of the data is another.
    """
    assert_valid_votable(document)
    if b"<STREAM" in document:
        document = re.sub(
            rb'(<FIELD (?:(?!xtype)[^>])*arraysize="\*"[^>]*) xtype="polygon"', rb"\1", document
        )
    path.write_bytes(document)
    report = subprocess.run(
        ["stilts", "votlint", f"votable={path}"], capture_output=True, text=True, check=False
    )
    return report.stdout + report.stderr


def asked(service: Service, form: str, query: str, **more: str) -> bytes:
    data = {"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": form, **more}
    return web.post(f"{service.url}/tap/sync", data=data, timeout=60).content


@pytest.mark.needs("stilts")
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", QUERIES)
def test_answers(service: Service, tmp_path: Path, name: str, form: str) -> None:
    document = asked(service, form, QUERIES[name])
    assert b'value="OK"' in document, document[:2000]
    assert findings(document, tmp_path / "answer.xml") == ""


@pytest.mark.needs("stilts")
@pytest.mark.parametrize("form", FORMATS)
def test_cut_answers_and_metadata_alone(service: Service, tmp_path: Path, form: str) -> None:
    for rows in ("0", "2"):
        document = asked(service, form, GEOMETRIES, MAXREC=rows)
        assert b'value="OVERFLOW"' in document
        assert findings(document, tmp_path / "cut.xml") == ""


@pytest.mark.needs("stilts")
def test_error_documents_and_links(service: Service, tmp_path: Path) -> None:
    for query in ("SELECT nowhere FROM ivoa.ObsCore", "SELECT 'a<b' FROM", ""):
        document = asked(service, "votable", query)
        assert b'value="ERROR"' in document
        assert findings(document, tmp_path / "error.xml") == ""
    ids = "SELECT TOP 2 obs_publisher_did FROM ivoa.ObsCore"
    data = {"LANG": "ADQL", "QUERY": ids, "FORMAT": "csv"}
    known = web.post(f"{service.url}/tap/sync", data=data).text.split()[1:]
    for given in (known, [*known, "ivo://nowhere/else"], []):
        links = web.get(f"{service.url}/datalink/links", params={"ID": given})
        assert b"<TABLE" in links.content, links.text
        assert findings(links.content, tmp_path / "links.xml") == ""


@pytest.mark.needs("stilts")
def test_plans_patches_and_light_curves(service: Service, tmp_path: Path) -> None:
    there = {"POS": "61.98 -37.07", "BAND": "r"}
    for path, more in (
        ("/builds/template/sync", {"PLAN": "true"}),
        ("/skymap", {}),
        ("/lightcurve", {"KIND": "science"}),
    ):
        answer = web.get(service.url + path, params={**there, **more})
        assert answer.status_code == 200 and b"<TABLE" in answer.content, answer.text
        assert findings(answer.content, tmp_path / "answer.xml") == ""


def _shapes() -> bytes:
    """Geometries of every kind, each with a NULL, and arrays of a fixed and of any size."""
    fields = (
        ("p", "double", "2", "point", "1 2"),
        ("c", "double", "3", "circle", "1 2 3"),
        ("q", "double", "*", "polygon", "1 1 2 1 2 2"),
        ("i", "double", "2", "interval", "1 2"),
        ("v", "float", "*", "", "1 2 3 4"),
        ("k", "int", "*", "", "7 8"),
        ("w", "int", "2", "", "7 8"),
        ("u", "unicodeChar", "*", "", "ż"),
    )
    declared = "".join(
        f'<FIELD name="{name}" datatype="{datatype}" arraysize="{size}"'
        + (f' xtype="{xtype}"/>' if xtype else "/>")
        for name, datatype, size, xtype, _ in fields
    )
    full = "".join(f"<TD>{value}</TD>" for *_, value in fields)
    text = (
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
        f"{declared}<DATA><TABLEDATA><TR>{full}</TR><TR>{'<TD/>' * len(fields)}</TR>"
        "</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    )
    return text.encode()


def _types() -> bytes:
    mask = [False, True, False]
    numbers = np.array([1, 0, 3])
    table = Table(
        {name: MaskedColumn(numbers.astype(name), mask=mask) for name in ("u1", "i2", "i4", "i8")}
        | {name: np.array([1.5, np.nan, np.inf], name) for name in ("f4", "f8")}
        | {"flag": np.array([True, False, True]), "text": np.array(["a & <b>", "", "c"], object)}
        | {"pairs": np.arange(6, dtype="f8").reshape(3, 2)}
    )
    return votable(table)


@pytest.mark.needs("stilts")
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("make", [_shapes, _types])
def test_uploads_echoed(service: Service, tmp_path: Path, make: object, form: str) -> None:
    assert callable(make)
    data = {"LANG": "ADQL", "QUERY": "SELECT * FROM TAP_UPLOAD.t", "RESPONSEFORMAT": form}
    answer = web.post(
        f"{service.url}/tap/sync",
        data=data | {"UPLOAD": "t,param:t"},
        files={"t": make()},
    )
    assert answer.status_code == 200, answer.text
    assert findings(answer.content, tmp_path / "echo.xml") == ""


@pytest.mark.needs("stilts")
def test_votlint_misreads_the_binary_polygons_that_stilts_writes(tmp_path: Path) -> None:
    """Why :func:`findings` takes their xtype away. Fails once votlint is mended."""
    text, binary = tmp_path / "text.xml", tmp_path / "binary.xml"
    text.write_bytes(
        b'<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
        b'<FIELD name="k" datatype="int"/>'
        b'<FIELD name="q" datatype="double" arraysize="*" xtype="polygon"/>'
        b"<DATA><TABLEDATA><TR><TD>1</TD><TD>1 1 2 1 2 2</TD></TR></TABLEDATA></DATA>"
        b"</TABLE></RESOURCE></VOTABLE>"
    )
    written = ["stilts", "tcopy", f"in={text}", f"out={binary}", "ofmt=votable(format=BINARY)"]
    subprocess.run(written, check=True, capture_output=True)
    lint = ["stilts", "votlint", f"votable={binary}"]
    report = subprocess.run(lint, capture_output=True, text=True, check=False)
    assert "Row count (7) not equal to nrows attribute (1)" in report.stdout
    assert findings(binary.read_bytes(), tmp_path / "bare.xml") == ""
