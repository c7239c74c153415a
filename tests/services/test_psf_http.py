"""PSFs at places over HTTP: of templates, of exposures, and of what has none."""

from __future__ import annotations

import html
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from astropy.wcs import WCS
from PIL import Image
from starlette.testclient import TestClient

from app.errors import LimitError
from app.pixels.detect import gaussian_psf
from app.services.psf import PsfService
from app.workers.embedded import EmbeddedEngine
from tests.psf_recipe import psf_stamp
from tests.services.builds_fixture import Field, open_field, standard_field
from tests.services.survey import CENTRE, SCALE_ARCSEC, SIZE_PX, Exposure, standard_exposures
from tests.services.test_builds_http import TEMPLATE, serving

POSITION = f"{CENTRE[0]} {CENTRE[1]}"
SCIENCE = standard_exposures()[4]
STARLESS = Exposure(visit=20, band="y", stars=0)
ELSEWHERE = "ivo://test.local/field?elsewhere"
UNPLACED = "ivo://test.local/field?unplaced"
LOST = Exposure(visit=21, band="y")


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory, engine: EmbeddedEngine) -> Iterator[Field]:
    """The standard exposures and some whose PSF cannot be told."""
    with open_field(tmp_path_factory.mktemp("psf"), engine) as opened:
        standard_field(opened)
        opened.add(STARLESS, LOST)
        opened.image(LOST).unlink()
        row = opened.stores.datasets.get(LOST.dataset_id)
        columns = {**row.columns, "obs_id": "other"}
        external = {**columns, "obs_publisher_did": ELSEWHERE, "access_url": "http://far.org/x"}
        unplaced = {**columns, "obs_publisher_did": UNPLACED}
        opened.stores.datasets.upsert(
            [
                replace(row, columns=external, origin="external", file_path="elsewhere"),
                replace(row, columns=unplaced, image_ref='{"dataset_id":"","planes":[],"grid":""}'),
            ]
        )
        yield opened


@pytest.fixture(scope="module")
def client(field: Field) -> Iterator[TestClient]:
    """A client of it."""
    with serving(field) as made:
        yield made


@pytest.fixture(scope="module")
def template(client: TestClient) -> str:
    """The identifier of a template."""
    asked = {"POS": POSITION, "BAND": "i", "TIME": "60000 60050"}
    built = client.get(f"{TEMPLATE}/sync", params=asked)
    assert built.status_code == 200, built.text
    return str(built.headers["x-skyloom-dataset"])


def test_the_psf_of_a_template_at_a_place(client: TestClient, tmp_path: Path) -> None:
    asked = {"POS": POSITION, "BAND": "i", "TIME": "60000 60050"}
    built = client.get(f"{TEMPLATE}/sync", params=asked)
    path = tmp_path / "template.fits"
    path.write_bytes(built.content)
    where = {"ID": built.headers["x-skyloom-dataset"], "POS": POSITION}
    told = client.get("/psf", params={**where, "RESPONSEFORMAT": "json"}).json()
    with fits.open(path) as hdus:
        x, y = WCS(hdus["IMAGE"].header).all_world2pix(*CENTRE, 0)
        assert told["fwhm_arcsec"] == pytest.approx(hdus[0].header["FWHM"], rel=0.1)
    assert (told["x"], told["y"]) == (pytest.approx(float(x)), pytest.approx(float(y)))
    area = told["ixx_px2"] * told["iyy_px2"] - told["ixy_px2"] ** 2
    assert told["determinant_radius_px"] == pytest.approx(area**0.25)
    answer = client.get("/psf", params={"ID": where["ID"], "X": float(x), "Y": float(y)})
    assert answer.headers["content-type"] == "application/fits"
    with fits.open(io.BytesIO(answer.content)) as hdus:
        stamp, header = hdus[0].data, hdus[0].header
    expected = psf_stamp(path, float(x), float(y))
    np.testing.assert_allclose(stamp, expected, atol=2e-3 * expected.max())
    assert header["FWHM"] == pytest.approx(told["fwhm_px"])
    picture = client.get("/psf", params=where, headers={"Accept": "image/png"})
    assert Image.open(io.BytesIO(picture.content)).size == (320, 320)


def test_the_psf_of_an_exposure_is_measured_on_its_stars(client: TestClient, field: Field) -> None:
    exposure = standard_exposures()[0]
    asked = {"ID": exposure.dataset_id, "POS": POSITION, "RESPONSEFORMAT": "json"}
    told = client.get("/psf", params=asked).json()
    assert told["origin"] == "measured" and told["n_stars"] > 10
    assert told["fwhm_px"] == pytest.approx(exposure.fwhm_px, rel=0.1)
    assert told["fwhm_arcsec"] == pytest.approx(told["fwhm_px"] * SCALE_ARCSEC, rel=1e-3)

    path = field.image(exposure)
    whole = path.read_bytes()
    with fits.open(io.BytesIO(whole)) as hdus:
        hdus["IMAGE"].data[:] = 0
        hdus.writeto(path, overwrite=True)
    try:
        assert client.get("/psf", params=asked).json() == told, "measured once"
    finally:
        path.write_bytes(whole)


def test_an_exposure_may_bring_its_psf_and_a_damaged_one_counts_as_none(
    client: TestClient, field: Field
) -> None:
    exposure = Exposure(visit=22, band="y", fwhm_px=3.2)
    stamp = gaussian_psf(5.0)
    told = []
    for stored in (stamp, np.full_like(stamp, np.nan)):
        field.add(exposure)
        fits.append(field.image(exposure), stored, fits.Header({"EXTNAME": "PSF"}))
        asked = {"ID": exposure.dataset_id, "POS": POSITION, "RESPONSEFORMAT": "json"}
        told.append(client.get("/psf", params=asked).json())
    assert [each["origin"] for each in told] == ["file", "measured"]
    assert [each["fwhm_px"] for each in told] == [
        pytest.approx(5.0, rel=0.02),
        pytest.approx(3.2, rel=0.1),
    ]


def test_the_psf_of_a_template_is_that_of_its_file(client: TestClient, template: str) -> None:
    asked = {"ID": template, "POS": POSITION, "FORMAT": "json"}
    told = client.get("/psf", params=asked).json()
    assert told["origin"] == "file"
    each = [
        client.get("/psf", params={**asked, "ID": e.dataset_id}).json()["n_stars"]
        for e in standard_exposures()[:4]
    ]
    assert told["n_stars"] == sum(each)


@pytest.mark.parametrize("x, y", [(-0.5, -0.5), (SIZE_PX - 0.501, SIZE_PX - 0.501)])
def test_the_outer_edges_of_pixels_belong_to_the_image(
    client: TestClient, x: float, y: float
) -> None:
    asked = {"ID": SCIENCE.dataset_id, "X": x, "Y": y, "RESPONSEFORMAT": "json"}
    told = client.get("/psf", params=asked).json()
    assert (told["x"], told["y"]) == (x, y)
    assert np.isfinite([value for value in told.values() if isinstance(value, float)]).all()


AREA = "deg of RA 1"


@pytest.mark.parametrize(
    ("parameters", "status", "words"),
    [
        ({}, 400, ("POS", "X and Y")),
        ({"POS": "CIRCLE 1 2 3"}, 400, ("POS", "one place")),
        ({"POS": "150"}, 400, ("POS",)),
        ({"POS": "nan 2"}, 400, ("POS", "NaN")),
        ({"POS": "150 inf"}, 400, ("POS", "-90 to 90")),
        ({"POS": "510 2"}, 400, ("POS", "0 to 360")),
        ({"POS": ["150 2", "150 2.001"]}, 400, ("POS", "once")),
        ({"X": "5"}, 400, ("Y", "beside X")),
        ({"Y": "5"}, 400, ("X", "beside Y")),
        ({"X": "five", "Y": "5"}, 400, ("X", "number", "five")),
        ({"X": "nan", "Y": "5"}, 400, ("X", "NaN")),
        ({"X": "5", "Y": "NaN"}, 400, ("Y", "NaN")),
        ({"X": "inf", "Y": "5"}, 400, ("X", "-0.5 <= X < 199.5")),
        ({"X": "5", "Y": "-inf"}, 400, ("Y", "-0.5 <= Y < 199.5")),
        ({"X": "1e308", "Y": "5"}, 400, ("X", "-0.5 <= X < 199.5", "1e+308")),
        ({"X": "5", "Y": "-0.51"}, 400, ("Y", "-0.5 <= Y < 199.5")),
        ({"X": "199.5", "Y": "5"}, 400, ("X", "-0.5 <= X < 199.5")),
        ({"POS": "1 2", "X": "5"}, 400, ("X", "already where")),
        ({"POS": "330 -2"}, 400, ("POS", AREA)),
        ({"POS": "150 -88"}, 400, ("POS", AREA)),
        ({"POS": "150 2.02"}, 400, ("POS", AREA)),
        ({"POS": POSITION, "RESPONSEFORMAT": "gif"}, 400, ("RESPONSEFORMAT", "fits, png, json")),
        ({"POS": POSITION, "ID": ""}, 400, ("ID", "obs_publisher_did")),
        ({"POS": POSITION, "ID": [SCIENCE.dataset_id, "ivo://x/y"]}, 400, ("ID", "once")),
        ({"POS": POSITION, "ID": ELSEWHERE}, 400, ("ID", "http://far.org/x")),
        ({"POS": POSITION, "ID": UNPLACED}, 400, ("ID", "grid")),
        ({"POS": POSITION, "ID": "ivo://test.org/none"}, 404, ("ivo://test.org/none",)),
        ({"POS": POSITION, "ID": STARLESS.dataset_id}, 404, ("no stars", STARLESS.dataset_id)),
        ({"POS": POSITION, "ID": LOST.dataset_id}, 422, (LOST.dataset_id,)),
    ],
)
@pytest.mark.parametrize("way", ["GET", "POST"])
def test_psfs_that_cannot_be_told(
    client: TestClient, way: str, parameters: dict[str, Any], status: int, words: tuple[str, ...]
) -> None:
    asked = {"ID": SCIENCE.dataset_id, **parameters}
    answer = client.request(way, "/psf", **{"params" if way == "GET" else "data": asked})
    assert answer.status_code == status, answer.text
    told = html.unescape(answer.text)
    assert all(word in told for word in words), told
    assert len(told) < 400


def test_a_place_that_no_input_reaches(client: TestClient) -> None:
    ids = ",".join(e.dataset_id for e in standard_exposures()[1:3])
    built = client.get(f"{TEMPLATE}/sync", params={"ID": SCIENCE.dataset_id, "TEMPLATE_IDS": ids})
    name = built.headers["x-skyloom-dataset"]
    with fits.open(io.BytesIO(built.content)) as hdus:
        empty = np.argwhere(hdus["NIMAGE"].data == 0)
        corner = empty[empty.sum(axis=1).argmin()]
    answer = client.get("/psf", params={"ID": name, "X": corner[1], "Y": corner[0]})
    assert answer.status_code == 404
    assert f"pixel ({corner[1]:.1f}, {corner[0]:.1f})" in answer.text


def test_an_image_that_is_too_large_is_not_measured(field: Field, template: str) -> None:
    psfs = PsfService(datasets=field.stores.datasets, psfs=field.psfs(max_pixels=1000))
    psfs.evaluate(template, (10.0, 10.0))
    with pytest.raises(LimitError, match="whose PSF is measured"):
        psfs.evaluate(SCIENCE.dataset_id, (10.0, 10.0))


def shape_of(field: Field, dataset_id: str) -> tuple[int, int]:
    """(ny, nx) of an image."""
    size = field.stores.datasets.get(dataset_id).columns
    if size.get("s_xel1") is None:
        return SIZE_PX, SIZE_PX
    return int(size["s_xel2"]), int(size["s_xel1"])


def test_datalink_says_how_psfs_are_asked_for(
    client: TestClient, field: Field, template: str
) -> None:
    for name in (SCIENCE.dataset_id, template):
        answer = client.get("/datalink/links", params={"ID": name})
        document = parse(io.BytesIO(answer.content))
        (service,) = [each for each in document.resources if each.ID == "psf"]
        inputs = {param.name: param for param in service.groups[0].entries}
        assert inputs["ID"].value == name
        (example,) = [param.value for param in service.params if param.name == "exampleURL"]
        told = client.get(example).json()
        assert told["obs_publisher_did"] == name
        ny, nx = shape_of(field, name)
        for axis, size in (("X", nx), ("Y", ny)):
            limits = inputs[axis].values
            assert (limits.min, limits.max) == (0, size - 1)
    external = client.get("/datalink/links", params={"ID": ELSEWHERE})
    assert external.status_code == 200 and 'ID="psf"' not in external.text
