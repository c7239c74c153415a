"""SIA 2.0 as its clients use it, on both engines: pyvo with every argument it has, and STILTS."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvo
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time

from tests.flows.service import Service
from tests.flows.test_engines_agree import values
from tests.flows.test_votlint import FORMATS, findings
from tests.http.test_uploads import votable
from tests.waiting import web

INF = float("inf")


@pytest.fixture
def sia(service: Service) -> pyvo.dal.SIA2Service:
    """pyvo's view of it."""
    return pyvo.dal.SIA2Service(f"{service.url}/sia")


@pytest.fixture
def target(truth: dict[str, Any]) -> SkyCoord:
    """A transient of the survey."""
    found = truth["transients"][0]
    return SkyCoord(found["ra_deg"], found["dec_deg"], unit="deg")


def names(found: Any) -> list[str]:
    return sorted(str(name) for name in found["obs_publisher_did"])


def by_tap(tap: pyvo.dal.TAPService, condition: str) -> list[str]:
    query = f"SELECT obs_publisher_did FROM ivoa.ObsCore WHERE {condition}"
    return names(tap.search(query, maxrec=100_000))


def test_every_argument_of_pyvo(
    sia: pyvo.dal.SIA2Service, tap: pyvo.dal.TAPService, target: SkyCoord
) -> None:
    """Each alone, and all together, find what the like query of TAP finds."""
    ra, dec = float(target.ra.deg), float(target.dec.deg)
    one = tap.search(
        "SELECT TOP 1 * FROM ivoa.ObsCore WHERE calib_level = 2 AND "
        f"CONTAINS(POINT({ra!r}, {dec!r}), s_region) = 1 ORDER BY obs_id"
    )[0]
    circle = f"INTERSECTS(CIRCLE({ra!r}, {dec!r}, 0.02), s_region) = 1"
    polygon = (ra - 0.1, dec - 0.1, ra + 0.1, dec - 0.1, ra, dec + 0.1)
    corners = ", ".join(map(repr, polygon))
    middle = float(one["em_min"] + one["em_max"]) / 2
    start, stop = (Time(one[name], format="mjd") for name in ("t_min", "t_max"))
    asked: dict[str, tuple[dict[str, Any], str]] = {
        "pos": ({"pos": (target, 0.02 * u.deg)}, circle),
        "polygon": ({"pos": polygon}, f"INTERSECTS(POLYGON({corners}), s_region) = 1"),
        "band": ({"band": middle}, f"em_min <= {middle!r} AND em_max >= {middle!r}"),
        "bands": (
            {"band": [(-INF, 5e-7), (middle, INF)]},
            f"em_min <= 5e-7 OR em_max >= {middle!r}",
        ),
        "time": (
            {"time": (start, stop)},
            f"t_min <= {float(stop.mjd)!r} AND t_max >= {float(start.mjd)!r}",
        ),
        "pol": ({"pol": ["I", "Q"]}, "pol_states LIKE '%/I/%' OR pol_states LIKE '%/Q/%'"),
        "fov": ({"field_of_view": (0.01, 1.0)}, "s_fov BETWEEN 0.01 AND 1"),
        "seeing": ({"spatial_resolution": (0.5, 1.2)}, "s_resolution BETWEEN 0.5 AND 1.2"),
        "power": ({"spectral_resolving_power": (1.0, INF)}, "em_res_power >= 1"),
        "exptime": ({"exptime": (30.0, 1000.0)}, "t_exptime BETWEEN 30 AND 1000"),
        "timeres": ({"timeres": (0.0, INF)}, "t_resolution >= 0"),
        "id": (
            {"publisher_did": str(one["obs_publisher_did"]).upper()},
            f"obs_publisher_did = '{one['obs_publisher_did']}'",
        ),
        "facility": (
            {"facility": str(one["facility_name"])},
            f"facility_name = '{one['facility_name']}'",
        ),
        "collection": (
            {"collection": ["demo", "other"]},
            "obs_collection = 'demo'",
        ),
        "instrument": (
            {"instrument": str(one["instrument_name"])},
            f"instrument_name = '{one['instrument_name']}'",
        ),
        "type": ({"data_type": "image"}, "dataproduct_type = 'image'"),
        "level": ({"calib_level": [2, 3]}, "calib_level IN (2, 3)"),
        "target": ({"target_name": "demo"}, "target_name = 'demo'"),
        "format": (
            {"res_format": "application/x-votable+xml;content=datalink"},
            "access_format = 'application/x-votable+xml;content=datalink'",
        ),
        "subtype": (
            {"DPSUBTYPE": ["lsst.visit_image", "lsst.difference_image"]},
            "dataproduct_subtype IN ('lsst.visit_image', 'lsst.difference_image')",
        ),
    }
    total = len(by_tap(tap, "calib_level >= 0"))
    finding = 0
    for name, (arguments, condition) in asked.items():
        found = names(sia.search(maxrec=100_000, **arguments))
        assert found == by_tap(tap, condition), name
        finding += 0 < len(found) <= total
    assert finding > len(asked) - 6, "searches that find nothing prove nothing"
    together = ("pos", "band", "time", "seeing", "exptime", "id", "facility", "collection")
    together += ("instrument", "type", "level", "format", "subtype")
    arguments = {k: v for name in together for k, v in asked[name][0].items()}
    condition = " AND ".join(f"({asked[name][1]})" for name in together)
    found = sia.search(maxrec=100_000, **arguments)
    assert names(found) == by_tap(tap, condition) == [str(one["obs_publisher_did"])]
    assert found[0].s_ra.value == one["s_ra"]


def test_a_range_across_a_field(
    sia: pyvo.dal.SIA2Service, tap: pyvo.dal.TAPService, target: SkyCoord
) -> None:
    ra, dec = float(target.ra.deg), float(target.dec.deg)
    found = sia.search(pos=(ra, ra + 0.001, dec, dec + 0.001), maxrec=100_000)
    at_corner = by_tap(tap, f"CONTAINS(POINT({ra!r}, {dec!r}), s_region) = 1")
    assert at_corner and set(at_corner) <= set(names(found))
    aside = f"INTERSECTS(CIRCLE({ra!r}, {dec!r}, 0.01), s_region) = 1"
    assert set(names(found)) <= set(by_tap(tap, aside))
    assert len(sia.search(pos=(ra, ra + 0.001, -dec, 0.001 - dec))) == 0


def test_rows_lead_to_their_files(sia: pyvo.dal.SIA2Service, target: SkyCoord) -> None:
    found = sia.search(pos=(target, 0.001 * u.deg), calib_level=2, maxrec=3)
    links = list(found.iter_datalinks())
    assert len(links) == len(found) > 0
    for row, linked in zip(found, links, strict=True):
        assert {link["ID"] for link in linked} == {row["obs_publisher_did"]}
        this = next(linked.bysemantics("#this", include_narrower=False))
        assert web.head(this.access_url, follow_redirects=False).status_code in (200, 303)


def test_a_row_is_cut_out_without_a_look_at_its_links(
    sia: pyvo.dal.SIA2Service, target: SkyCoord
) -> None:
    found = sia.search(pos=(target, 0.001 * u.deg), calib_level=2, maxrec=1)
    described = found.get_adhocservice_by_ivoid("ivo://ivoa.net/std/SODA#sync-1")
    assert described.ID == "soda_sync"
    circle = [target.ra.deg, target.dec.deg, 0.002] * u.deg
    with fits.open(io.BytesIO(found[0].processed(circle=circle).read())) as cutout:
        assert cutout[0].header["OBSPUBID"] == found[0]["obs_publisher_did"]
        assert 0 < cutout["IMAGE"].data.size < 10_000


def test_differences_that_can_be_built_are_found(
    sia: pyvo.dal.SIA2Service, tap: pyvo.dal.TAPService, target: SkyCoord
) -> None:
    found = sia.search(pos=(target, 0.001 * u.deg), DPSUBTYPE="lsst.difference_image")
    states = set(found["build_state"])
    assert "buildable" in states
    assert len(found) == len(sia.search(pos=(target, 0.001 * u.deg), publisher_did=names(found)))


def test_metadata_alone(sia: pyvo.dal.SIA2Service, tap: pyvo.dal.TAPService) -> None:
    empty = sia.search(maxrec=0)
    assert len(empty) == 0
    columns = tap.search("SELECT TOP 1 * FROM ivoa.ObsCore")
    assert empty.fieldnames == columns.fieldnames
    (cut,) = sia.search(maxrec=1)
    assert cut.calib_level >= 1


def test_wrong_values_are_explained(sia: pyvo.dal.SIA2Service) -> None:
    with pytest.raises(pyvo.dal.DALQueryError, match=r"UsageFault: Parameter DPTYPE: one of image"):
        sia.search(data_type="sed")


def test_both_engines_give_one_table(
    sqlite_service: Service, postgres_service: Service, truth: dict[str, Any]
) -> None:
    place = truth["transients"][0]
    asked = {
        "POS": f"CIRCLE {place['ra_deg']} {place['dec_deg']} 0.02",
        "CALIB": ["2", "3"],
        "MAXREC": "100000",
    }
    tables: list[Table] = []
    for service in (sqlite_service, postgres_service):
        query = pyvo.dal.SIA2Query(f"{service.url}/sia/query")
        for name, value in asked.items():
            query[name] = value
        table = query.execute().to_table()
        # Other tests build on these services, on each at a moment of its own.
        table = table[[state != "built" for state in table["build_state"]]]
        table.sort("obs_publisher_did")
        table["access_url"] = [str(v).replace(service.url, "") for v in table["access_url"]]
        tables.append(table)
    ours, theirs = tables
    assert len(ours) > 3 and ours.colnames == theirs.colnames
    for column in ours.colnames:
        assert values(ours[column]) == values(theirs[column]), column


def test_a_list_of_positions(
    service: Service, tap: pyvo.dal.TAPService, truth: dict[str, Any]
) -> None:
    places = truth["transients"]
    targets = Table(
        {
            "ra": [*(each["ra_deg"] for each in places), 200.0],
            "dec": [*(each["dec_deg"] for each in places), 60.0],
        }
    )
    for radius in (0.0, 0.03):
        if radius:
            targets["radius"] = np.full(len(targets), radius)
        circles = (f"CIRCLE({float(r['ra'])!r}, {float(r['dec'])!r}, {radius})" for r in targets)
        wanted = (f"INTERSECTS({circle}, s_region) = 1" for circle in circles)
        answer = web.post(
            f"{service.url}/sia/query",
            data={"UPLOAD": "mine,param:list", "MAXREC": "100000", "RESPONSEFORMAT": "csv"},
            files={"list": votable(targets)},
        )
        assert answer.status_code == 200, answer.text
        found = Table.read(answer.text, format="ascii.csv")
        assert names(found) == by_tap(tap, " OR ".join(wanted))


@pytest.mark.needs("stilts")
def test_stilts_searches_about_each_row_of_a_table(
    service: Service, tap: pyvo.dal.TAPService, target: SkyCoord, tmp_path: Path
) -> None:
    ra, dec = float(target.ra.deg), float(target.dec.deg)
    (tmp_path / "targets.csv").write_text(f"ra,dec\n{ra!r},{dec!r}\n200,60\n")
    command = ["stilts", "coneskymatch", f"in={tmp_path / 'targets.csv'}", "ifmt=csv"]
    command += ["ra=ra", "dec=dec", "sr=0.02", "servicetype=sia2", "find=all"]
    command += [f"serviceurl={service.url}/sia/query", f"out={tmp_path / 'found.csv'}", "ofmt=csv"]
    subprocess.run(command, check=True, capture_output=True)
    found = Table.read(tmp_path / "found.csv", format="ascii.csv")
    assert names(found) == by_tap(tap, f"INTERSECTS(CIRCLE({ra!r}, {dec!r}, 0.02), s_region) = 1")


@pytest.mark.needs("stilts")
@pytest.mark.parametrize("form", FORMATS)
def test_votlint_has_nothing_to_say(service: Service, tmp_path: Path, form: str) -> None:
    for asked in ({"CALIB": "2"}, {"MAXREC": "0"}, {"MAXREC": "2"}, {"POL": "none"}):
        answer = web.get(f"{service.url}/sia/query", params={"RESPONSEFORMAT": form, **asked})
        assert findings(answer.content, tmp_path / "answer.xml") == ""
