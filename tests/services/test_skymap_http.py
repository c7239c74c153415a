"""The sky map as a client asks it: which patches, what is there to build from, what was built."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.wcs import WCS
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.http import files, skymap
from app.http.context import ServiceAddress
from app.http.faults import install_fault_handlers
from app.services.links import LinkService
from app.services.signatures import FileSigner
from app.sky.predicates import intersects
from app.sky.shapes import Circle, Point
from app.sky.stcs import parse_region
from app.uws.job import Phase
from app.workers.embedded import EmbeddedEngine
from tests.services.builds_fixture import SKYMAP, Field, now, open_field, standard_field
from tests.services.survey import CENTRE

POSITION = f"{CENTRE[0]} {CENTRE[1]}"
HOME = SKYMAP.locate(Point(*CENTRE))


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory, engine: EmbeddedEngine) -> Iterator[Field]:
    """The standard exposures and a template of the patch they lie on."""
    with open_field(tmp_path_factory.mktemp("field"), engine) as opened:
        standard_field(opened)
        job = opened.run("template", POS=POSITION, BAND="i")
        assert job.phase is Phase.COMPLETED, job.error
        yield opened


@pytest.fixture(scope="module")
def client(field: Field) -> Iterator[TestClient]:
    """A client of the sky map of ``field``."""
    signer = FileSigner(keys=lambda: [b"k" * 32], clock=now, lifetime_s=60)
    links = LinkService(datasets=field.stores.datasets, signer=signer)
    app = FastAPI()
    install_fault_handlers(app)
    address = ServiceAddress(base_url=None)
    app.include_router(skymap.router(skymap=field.skymap, links=links, address=address))
    app.include_router(files.router(links=links))
    with TestClient(app, follow_redirects=False, raise_server_exceptions=False) as made:
        yield made


def rows(client: TestClient, **parameters: Any) -> list[dict[str, str]]:
    """The answer as CSV."""
    answer = client.get("/skymap", params={"RESPONSEFORMAT": "csv", **parameters})
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_a_position_has_its_patches_with_exposures_and_templates(client: TestClient) -> None:
    found = rows(client, POS=POSITION)
    assert {(int(r["tract"]), int(r["patch"])) for r in found} == set(
        SKYMAP.find_numbers(Point(*CENTRE))
    )
    home = {r["band"]: r for r in found if int(r["patch"]) == HOME.patch}
    assert {band: int(r["n_exposures"]) for band, r in home.items()} == {"i": 5, "z": 1}
    assert home["i"]["template"].startswith("ivo://test.local/products?template/")
    assert (home["i"]["n_templates"], home["z"]["n_templates"]) == ("1", "0")
    assert int(home["i"]["patch_column"]) == HOME.column
    assert int(home["i"]["outer_x_min"]) == HOME.outer.x_min


def test_a_region_has_exactly_the_patches_it_touches(client: TestClient) -> None:
    circle = Circle(*CENTRE, 0.1)
    found = rows(client, POS=f"CIRCLE {POSITION} 0.1")
    numbers = {(int(r["tract"]), int(r["patch"])) for r in found}
    assert len(numbers) > 4
    assert all(intersects(circle, parse_region(r["s_region"])) for r in found)
    empty = [r for r in found if not r["band"]]
    assert empty and {r["n_exposures"] for r in empty} == {"0"}
    for text in (
        f"POLYGON {CENTRE[0]} {CENTRE[1]} {CENTRE[0] + 0.1} {CENTRE[1]} {CENTRE[0]} 2.1",
        f"RANGE {CENTRE[0]} {CENTRE[0] + 0.05} {CENTRE[1]} {CENTRE[1] + 0.05}",
    ):
        assert {int(r["patch"]) for r in rows(client, POS=text)} >= {HOME.patch}


def test_bands_and_maxrec_narrow_the_answer(client: TestClient) -> None:
    assert {r["band"] for r in rows(client, POS=POSITION, BAND="z")} <= {"z", ""}
    votable = client.get("/skymap", params={"POS": f"CIRCLE {POSITION} 0.1", "MAXREC": 2})
    assert votable.text.count("<TR>") == 2
    assert 'value="OVERFLOW"' in votable.text
    everything = client.get("/skymap", params={"POS": POSITION})
    assert "OVERFLOW" not in everything.text


def test_a_votable_describes_its_columns_and_the_wcs_is_that_of_the_pixels(
    client: TestClient,
) -> None:
    answer = client.get("/skymap", params={"POS": POSITION})
    assert answer.headers["content-type"].startswith("application/x-votable+xml")
    table = parse_single_table(io.BytesIO(answer.content)).to_table()
    row = next(r for r in table if r["patch"] == HOME.patch)
    assert table["s_ra"].unit == "deg" and table["outer_x_min"].unit == "pix"
    wcs = WCS(fits.Header.fromstring(str(row["wcs"]), sep="\n"))
    ny, nx = HOME.shape
    corner = wcs.pixel_to_world_values(-0.5, -0.5)
    outline = [float(v) for v in str(row["s_region"]).split()[2:]]
    assert np.allclose(corner, outline[:2], atol=1e-8)
    assert (row["outer_x_max"] - row["outer_x_min"], row["outer_y_max"] - row["outer_y_min"]) == (
        nx,
        ny,
    )


def test_json_by_accept(client: TestClient) -> None:
    answer = client.get("/skymap", params={"POS": POSITION}, headers={"Accept": "application/json"})
    assert answer.headers["content-type"].startswith("application/json")
    names = [column["name"] for column in answer.json()["metadata"]]
    assert names[:2] == ["tract", "patch"] and answer.json()["query_status"] == "OK"


def test_a_patch_by_its_numbers_leads_to_its_template(client: TestClient) -> None:
    patch = client.get(f"/skymap/{HOME.tract}/{HOME.patch}").json()
    assert patch["header"] == HOME.header and patch["shape"] == list(HOME.shape)
    bands = {band["band"]: band for band in patch["bands"]}
    assert bands["i"]["n_exposures"] == 5 and "BAND=i" in bands["i"]["build"]
    (template,) = bands["i"]["templates"]
    assert "/datalink/links?ID=" in template["links"]
    sent = client.get(f"/skymap/{HOME.tract}/{HOME.patch}/i")
    assert sent.status_code == 303
    with fits.open(io.BytesIO(client.get(sent.headers["location"]).content)) as hdus:
        assert hdus[0].header["OBSPUBID"] == template["obs_publisher_did"]
        assert hdus[0].header["PATCH"] == HOME.patch


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/skymap", 400, "Parameter POS: required"),
        ("/skymap?POS=CIRCLE 10 20", 400, "POS"),
        ("/skymap?POS=CIRCLE 10 20 30", 400, "5 deg"),
        ("/skymap?POS=1 2&POS=3 4", 400, "once only"),
        ("/skymap?POS=1 2&RESPONSEFORMAT=gif", 400, "RESPONSEFORMAT"),
        ("/skymap?POS=1 2&MAXREC=-1", 400, "MAXREC"),
        ("/skymap/999999999/0", 404, "tracts are numbered 0 to"),
        ("/skymap/0/x", 404, "numbers are needed"),
        ("/skymap/0/1_0", 404, "numbers are needed"),
        (f"/skymap/{HOME.tract}/{HOME.patch}/z", 404, "band 'z'"),
    ],
)
def test_errors_name_what_is_wrong(client: TestClient, path: str, status: int, words: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert 'value="ERROR"' in answer.text and words in answer.text.replace("&apos;", "'")
