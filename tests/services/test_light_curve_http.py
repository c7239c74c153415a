"""Light curves over HTTP: fluxes that were put in, formats, choices, and what is wrong."""

from __future__ import annotations

import html
import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from astropy.io.votable import parse, parse_single_table
from astropy.table import Table
from PIL import Image
from starlette.testclient import TestClient

from app.pixels.grid import Grid
from app.recipes.photometry import NANOJANSKY_ZERO_POINT_MAG
from app.recipes.recipe import ImageRef
from app.services.light_curve_table import FIELDS
from app.stores.images import ImageStore
from app.workers.embedded import EmbeddedEngine
from tests.services.builds_fixture import Field, open_field, standard_field
from tests.services.survey import (
    CENTRE,
    TRANSIENT,
    TRANSIENT_FLUX,
    ZERO_POINT_MAG,
    Exposure,
    dataset_row,
    standard_exposures,
)
from tests.services.test_builds_http import DIFFERENCE, TEMPLATE, serving

PLACE = f"{TRANSIENT[0]!r} {TRANSIENT[1]!r}"
SCIENCE = standard_exposures()[4]
FLUX_NJY = TRANSIENT_FLUX * 10 ** (0.4 * (NANOJANSKY_ZERO_POINT_MAG - ZERO_POINT_MAG))
LOST = Exposure(visit=21, band="y", mjd=60021)
UNSCALED = Exposure(visit=22, band="y", mjd=60022, zero_point=False)
STARLESS = Exposure(visit=23, band="y", mjd=60023, stars=0)
UNPLACED = "ivo://test.local/field?unplaced"


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory, engine: EmbeddedEngine) -> Iterator[Field]:
    """The standard exposures and some that cannot be measured as one would like."""
    with open_field(tmp_path_factory.mktemp("curves"), engine) as opened:
        standard_field(opened)
        opened.add(LOST, UNSCALED, STARLESS)
        row = dataset_row(opened.image(LOST), LOST)
        columns = {**row.columns, "obs_publisher_did": UNPLACED}
        empty = '{"dataset_id":"","planes":[],"grid":""}'
        opened.stores.datasets.upsert([replace(row, columns=columns, image_ref=empty)])
        opened.image(LOST).unlink()
        yield opened


@pytest.fixture(scope="module")
def client(field: Field) -> Iterator[TestClient]:
    """A client of it, once a template and a difference are built."""
    with serving(field) as made:
        asked = {"POS": f"{CENTRE[0]} {CENTRE[1]}", "BAND": "i", "TIME": "60000 60050"}
        assert made.get(f"{TEMPLATE}/sync", params=asked).status_code == 200
        assert made.get(f"{DIFFERENCE}/sync", params={"ID": SCIENCE.dataset_id}).status_code == 200
        yield made


def rows(client: TestClient, **asked: Any) -> list[dict[str, Any]]:
    """The rows of a light curve at the transient, or where POS says."""
    answer = client.get("/lightcurve", params={"POS": PLACE, "RESPONSEFORMAT": "json", **asked})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    names = [column["name"] for column in told["metadata"]]
    return [dict(zip(names, row, strict=True)) for row in told["data"]]


def test_the_flux_that_was_put_in_comes_out(client: TestClient) -> None:
    found = rows(client, BAND="i")
    assert [row["mjd"] for row in found] == sorted(row["mjd"] for row in found)
    science = {row["obs_publisher_did"]: row for row in found if row["kind"] == "science"}
    assert set(science) == {e.dataset_id for e in standard_exposures()[:5]}
    shines = science[SCIENCE.dataset_id]
    assert shines["psf_flux"] == pytest.approx(FLUX_NJY, abs=4 * shines["psf_flux_error"])
    assert shines["mjd"] == pytest.approx(SCIENCE.mjd + 15 / 86400)
    assert shines["snr"] == pytest.approx(shines["psf_flux"] / shines["psf_flux_error"])
    assert shines["mag"] == pytest.approx(31.4 - 2.5 * np.log10(shines["psf_flux"]))
    assert shines["mag_error"] == pytest.approx(1.0857 / shines["snr"], rel=1e-3)
    assert shines["mag_limit"] is None
    for exposure in standard_exposures()[:2]:
        before = science[exposure.dataset_id]
        assert before["psf_flux"] == pytest.approx(0.0, abs=4 * before["psf_flux_error"])
        limit = 31.4 - 2.5 * np.log10(5 * before["psf_flux_error"])
        assert before["mag"] is None and before["mag_limit"] == pytest.approx(limit)


def test_a_difference_tells_what_changed_and_what_was_subtracted(client: TestClient) -> None:
    (row,) = rows(client, KIND="difference")
    assert row["psf_flux"] == pytest.approx(FLUX_NJY, abs=4 * row["psf_flux_error"])
    assert row["template_flux"] == pytest.approx(0.0, abs=4 * row["psf_flux_error"])
    assert row["mjd"] == pytest.approx(SCIENCE.mjd + 15 / 86400)
    (template,) = rows(client, KIND="Template")
    assert template["psf_flux"] == pytest.approx(0.0, abs=4 * template["psf_flux_error"])
    assert template["template_flux"] is None
    assert template["mjd"] == pytest.approx(0.5 * (template["t_min"] + template["t_max"]))


def test_a_raised_sky_is_taken_off_when_asked(client: TestClient) -> None:
    third = standard_exposures()[2].dataset_id
    kept, taken = (
        next(
            row
            for row in rows(client, KIND="science", BACKGROUND=background)
            if row["obs_publisher_did"] == third
        )
        for background in ("keep", "subtract")
    )
    assert kept["psf_flux"] > 10 * kept["psf_flux_error"]
    assert taken["psf_flux"] == pytest.approx(0.0, abs=4 * taken["psf_flux_error"])
    assert kept["local_background"] == pytest.approx(taken["local_background"]) != 0


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"KIND": "science"}, 9),
        ({"KIND": ["science", "difference"]}, 10),
        ({"BAND": "z"}, 1),
        ({"BAND": ["z", "i"], "KIND": "science"}, 6),
        ({"TIME": "60002 60003.5"}, 3),
        ({"TIME": ["-Inf 60001.5", "60099 +Inf"], "KIND": "science"}, 2),
        ({"TIME": "-Inf +Inf", "KIND": "science"}, 9),
        ({"COLLECTION": "field"}, 9),
        ({"COLLECTION": "products"}, 2),
        ({"COLLECTION": "o'ther"}, 0),
    ],
)
def test_images_are_chosen(client: TestClient, asked: dict[str, Any], count: int) -> None:
    assert len(rows(client, **asked)) == count


def test_what_cannot_be_measured_is_told_in_its_row(client: TestClient) -> None:
    found = {row["obs_publisher_did"]: row for row in rows(client, BAND="y")}
    assert UNPLACED not in found
    lost, unscaled, starless = (found[e.dataset_id] for e in (LOST, UNSCALED, STARLESS))
    assert lost["flags"] == "UNREADABLE" and "does not exist" in lost["note"]
    assert lost["psf_flux"] is None and lost["mag_limit"] is None
    assert "NO_ZERO_POINT" in unscaled["flags"].split() and unscaled["psf_flux"] is None
    assert abs(unscaled["snr"]) < 4
    assert starless["flags"] == "GAUSSIAN_PSF"
    assert starless["psf_flux"] == pytest.approx(0.0, abs=4 * starless["psf_flux_error"])
    assert starless["psf_fwhm"] == pytest.approx(STARLESS.fwhm_px * 0.4)


@pytest.mark.parametrize(
    ("x", "y", "flags", "edge_px"),
    [(27.0, 100.0, "BAD", 27.5), (100.0, 2.25, None, 2.75), (100.0, 199.25, None, 0.25)],
)
def test_masked_pixels_and_edges_are_told(
    client: TestClient, field: Field, x: float, y: float, flags: str | None, edge_px: float
) -> None:
    row = field.stores.datasets.get(standard_exposures()[0].dataset_id)
    grid = Grid.from_text(ImageRef.from_text(row.image_ref).grid)
    lon, lat = (float(each) for each in grid.pixel_to_sky(x, y))
    (found,) = rows(client, POS=f"{lon!r} {lat!r}", KIND="science", TIME="60001 60001.5")
    assert found["flags"] == flags
    assert found["edge_distance"] == pytest.approx(edge_px, abs=1e-3)
    assert found["psf_flux_error"] > 0 and 0.5 < found["usable_share"] <= 1


def test_positions_come_by_form_and_by_table(client: TestClient) -> None:
    far = f"{CENTRE[0]} {CENTRE[1]}"
    by_form = client.post(
        "/lightcurve",
        data={"pos": [far, PLACE], "Kind": "science", "band": "z", "responseformat": "csv"},
    )
    found = Table.read(by_form.text, format="csv")
    assert list(found["position"]) == [1, 2]
    assert list(found["ra"]) == [CENTRE[0], TRANSIENT[0]]
    table = Table(
        {"name": ["a", "b"], "ra": [CENTRE[0], TRANSIENT[0]], "dec": [CENTRE[1], TRANSIENT[1]]}
    )
    content = io.BytesIO()
    table.write(content, format="votable")
    asked = {"UPLOAD": "places,param:t", "KIND": "science", "BAND": "z", "RESPONSEFORMAT": "csv"}
    by_table = client.post("/lightcurve", data=asked, files={"t": content.getvalue()})
    assert by_table.text == by_form.text
    by_json = client.post(
        "/lightcurve",
        json={"POS": [list(CENTRE), list(TRANSIENT)], "KIND": "science", "BAND": "z"},
        headers={"Accept": "text/csv"},
    )
    assert by_json.text == by_form.text


def test_tables_in_every_format_tell_overflow(client: TestClient) -> None:
    every = parse_single_table(io.BytesIO(client.get("/lightcurve", params={"POS": PLACE}).content))
    assert [f.name for f in every.fields] == [f.name for f in FIELDS]
    assert every.fields[10].unit.to_string() == "nJy"
    for maxrec, count in ((3, 3), (0, 0)):
        cut = client.get("/lightcurve", params={"POS": PLACE, "MAXREC": maxrec})
        document = parse(io.BytesIO(cut.content))
        (resource,) = document.resources
        assert len(resource.tables[0].array) == count
        assert [info.value for info in resource.infos if info.name == "QUERY_STATUS"] == [
            "OK",
            "OVERFLOW",
        ]
    for word, media_type in (("fits", "application/fits"), ("tsv", "text/tab-separated-values")):
        answer = client.get("/lightcurve", params={"POS": PLACE, "RESPONSEFORMAT": word})
        assert answer.headers["content-type"] == media_type and len(answer.content) > 1000


def test_plots_show_every_measurement(client: TestClient) -> None:
    shown = [row for row in rows(client, BAND="i") if row["psf_flux"] is not None]
    asked = {"POS": PLACE, "BAND": "i", "RESPONSEFORMAT": "svg"}
    answer = client.get("/lightcurve", params=asked)
    assert answer.headers["content-type"] == "image/svg+xml"
    drawing = ElementTree.fromstring(answer.content)
    svg = "{http://www.w3.org/2000/svg}"
    titles = [e.findtext(f"{svg}title") or "" for e in drawing.iter(f"{svg}circle")]
    told = sorted(title for title in titles if title)
    assert told == sorted(
        " ".join(
            filter(
                None,
                (
                    f"i {r['mjd']:.4f}: {r['psf_flux']:.1f} ± {r['psf_flux_error']:.1f} nJy",
                    r["flags"],
                ),
            )
        )
        for r in shown
    )
    picture = client.get("/lightcurve", params={**asked, "RESPONSEFORMAT": "png"})
    assert Image.open(io.BytesIO(picture.content)).width == 1720
    nothing = client.get("/lightcurve", params={**asked, "POS": "10 10"})
    assert "Nothing was measured" in nothing.text


def test_a_place_without_images_has_no_rows(client: TestClient) -> None:
    assert rows(client, POS="10 -10") == []


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, ("POS", "required")),
        ({"POS": "CIRCLE 150 2 0.1"}, ("POS", "a place is needed")),
        ({"POS": "150"}, ("POS",)),
        ({"POS": "nan 2"}, ("POS", "NaN")),
        ({"POS": "150 200"}, ("POS", "-90 to 90")),
        ({"POS": PLACE, "KIND": "raw"}, ("KIND", "science, template, difference", "raw")),
        ({"POS": PLACE, "TIME": "2 1"}, ("TIME", "above")),
        ({"POS": PLACE, "TIME": "soon"}, ("TIME", "soon")),
        ({"POS": PLACE, "BACKGROUND": "no"}, ("BACKGROUND", "keep, subtract")),
        ({"POS": PLACE, "BANDS": "i"}, ("BANDS", "not known", "BAND")),
        ({"POS": PLACE, "MAXREC": "-1"}, ("MAXREC", "at least 0")),
        ({"POS": PLACE, "RESPONSEFORMAT": "gif"}, ("RESPONSEFORMAT", "gif", "svg", "csv")),
        ({"POS": [PLACE, "150 2"], "RESPONSEFORMAT": "png"}, ("POS", "one position")),
        ({"POS": PLACE, "UPLOAD": "t,param:none"}, ("none",)),
    ],
)
@pytest.mark.parametrize("way", ["GET", "POST"])
def test_wrong_requests_are_told(
    client: TestClient, way: str, parameters: dict[str, Any], words: tuple[str, ...]
) -> None:
    answer = client.request(
        way, "/lightcurve", **{"params" if way == "GET" else "data": parameters}
    )
    assert answer.status_code == 400, answer.text
    told = html.unescape(answer.text)
    assert 'value="ERROR"' in told and all(word in told for word in words), told


def test_too_many_positions_are_refused(client: TestClient) -> None:
    answer = client.post("/lightcurve", data={"POS": [PLACE] * 1001})
    assert answer.status_code == 400
    assert "positions in a request is 1000; asked for 1001" in answer.text


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"a": [1.0]}, ("UPLOAD", "ra")),
        ({"ra": [1.0], "dec": [95.0]}, ("UPLOAD", "row 1", "95")),
        ({"ra": ["x"], "dec": [1.0]}, ("UPLOAD", "ra")),
    ],
)
def test_wrong_tables_are_told(
    client: TestClient, columns: dict[str, list[Any]], words: tuple[str, ...]
) -> None:
    content = io.BytesIO()
    Table(columns).write(content, format="votable")
    asked = {"UPLOAD": "places,param:t"}
    answer = client.post("/lightcurve", data=asked, files={"t": content.getvalue()})
    assert answer.status_code == 400
    assert all(word in html.unescape(answer.text) for word in words), answer.text


def test_datalink_says_how_light_curves_are_asked_for(client: TestClient) -> None:
    answer = client.get("/datalink/links", params={"ID": SCIENCE.dataset_id})
    document = parse(io.BytesIO(answer.content))
    (service,) = [e for e in document.resources if e.ID == "lightcurve"]
    inputs = {param.name: param for param in service.groups[0].entries}
    assert set(inputs) == {
        "POS",
        "BAND",
        "TIME",
        "COLLECTION",
        "KIND",
        "BACKGROUND",
        "RESPONSEFORMAT",
    }
    (example,) = [param.value for param in service.params if param.name == "exampleURL"]
    told = parse_single_table(io.BytesIO(client.get(example).content))
    assert SCIENCE.dataset_id in set(told.array["obs_publisher_did"])


def test_only_pixels_about_the_place_are_read(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows(client, BAND="i")
    read, sizes = ImageStore.read, []

    def watch(store: ImageStore, ref: Any, bounds: Any = None) -> Any:
        image = read(store, ref, bounds)
        sizes.append(image.shape)
        return image

    monkeypatch.setattr(ImageStore, "read", watch)
    rows(client, BAND="i")
    assert sizes and max(max(shape) for shape in sizes) <= 83
