"""Triplets over HTTP: the very pixels of the files, what was subtracted, and what is wrong."""

from __future__ import annotations

import html
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from astropy.nddata import Cutout2D
from astropy.table import Table
from astropy.wcs import WCS
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from PIL import Image, ImageSequence
from starlette.testclient import TestClient

from app.pixels.grid import Grid
from app.pixels.image import bits
from app.pixels.preview import NO_DATA_COLOUR
from app.pixels.stamp_strip import FRAME_MS, GAP_PX, LABEL_PX, PANEL_PX, row_size
from app.recipes.recipe import ImageRef
from app.schema.rows import virtual_id
from app.services.stamp_table import FIELDS
from app.workers.embedded import EmbeddedEngine
from tests.services.builds_fixture import Field, open_field, standard_field
from tests.services.survey import (
    CENTRE,
    SCALE_ARCSEC,
    TRANSIENT,
    ZERO_POINT_MAG,
    Exposure,
    standard_exposures,
)
from tests.services.test_builds_http import DIFFERENCE, serving

PLACE = f"{TRANSIENT[0]!r} {TRANSIENT[1]!r}"
SCIENCE = standard_exposures()[4]
LOST = Exposure(visit=21, band="y", mjd=60021)
SIDE_PX = 41
SIZE = repr(SIDE_PX * SCALE_ARCSEC / 3600)


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory, engine: EmbeddedEngine) -> Iterator[Field]:
    """The standard exposures and one whose file is gone."""
    with open_field(tmp_path_factory.mktemp("stamps"), engine) as opened:
        standard_field(opened)
        opened.add(LOST)
        opened.image(LOST).unlink()
        opened.listing.update()
        yield opened


@pytest.fixture(scope="module")
def client(field: Field) -> Iterator[TestClient]:
    """A client of it, once the difference of the last exposure in i is built."""
    with serving(field) as made:
        built = made.get(f"{DIFFERENCE}/sync", params={"ID": SCIENCE.dataset_id})
        assert built.status_code == 200
        yield made


def triplets(client: TestClient, **asked: Any) -> fits.HDUList:
    """The file of triplets at the transient, or where POS says."""
    answer = client.get("/stamps", params={"POS": PLACE, "SIZE": SIZE, **asked})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/fits"
    found = fits.open(io.BytesIO(answer.content), checksum=True)
    found.verify("exception")
    return found


def expected(path: Path | str, hdu: int, place: tuple[float, float] = TRANSIENT) -> Any:
    """What astropy cuts out of a file."""
    with fits.open(path) as file:
        wcs = WCS(file[hdu].header)
        where = wcs.all_world2pix([place], 0)[0]
        return Cutout2D(
            file[hdu].data, tuple(where), SIDE_PX, mode="partial", fill_value=np.nan
        ).data


def difference_path(field: Field, exposure: Exposure = SCIENCE) -> str:
    """The file of the default difference of an exposure."""
    return field.stores.datasets.get(str(virtual_id(exposure.dataset_id))).file_path


def test_pixels_are_those_of_the_files(client: TestClient, field: Field) -> None:
    found = triplets(client, ID=SCIENCE.dataset_id)
    image = field.image(SCIENCE)
    assert_array_equal(found["SCIENCE", 1].data, expected(image, 1))
    assert_array_equal(found["SCIENCE_MASK", 1].data, expected(image, 2))
    assert_array_equal(found["SCIENCE_VARIANCE", 1].data, expected(image, 3))
    made = difference_path(field)
    assert_array_equal(found["DIFFERENCE", 1].data, expected(made, 1))
    assert_array_equal(found["DIFFERENCE_MASK", 1].data, expected(made, 2))
    assert_array_equal(found["DIFFERENCE_VARIANCE", 1].data, expected(made, 3))


def test_each_stamp_tells_where_it_is_and_what_it_shows(client: TestClient) -> None:
    found = triplets(client, ID=SCIENCE.dataset_id)
    for name in ("SCIENCE", "TEMPLATE", "DIFFERENCE"):
        header = found[name, 1].header
        x, y = (float(each) for each in WCS(header).all_world2pix([TRANSIENT], 1)[0])
        assert (header["POS_X"], header["POS_Y"]) == pytest.approx((x, y), abs=1e-6)
        assert max(abs(x - 21), abs(y - 21)) <= 0.5
        assert header["BAND"] == "i" and header["MAGZERO"] == ZERO_POINT_MAG
        assert header["MJD-AVG"] == pytest.approx(SCIENCE.mjd + 15 / 86400)
        assert header["FWHM"] == pytest.approx(SCIENCE.fwhm_px * SCALE_ARCSEC, rel=0.1)
        assert header["BUNIT"] == "adu"
    assert found["SCIENCE", 1].header["OBSPUBID"] == SCIENCE.dataset_id
    assert found["DIFFERENCE_MASK", 1].header["MP_NO_DATA"] == 8


def test_the_template_is_what_was_subtracted(client: TestClient) -> None:
    found = triplets(client, ID=SCIENCE.dataset_id)
    template = found["TEMPLATE", 1]
    assert template.header["TMPLFROM"] == "subtracted"
    assert_array_equal(template.data, found["SCIENCE", 1].data - found["DIFFERENCE", 1].data)
    assert "OBSPUBID" not in template.header
    assert ("TEMPLATE_VARIANCE", 1) not in found


def test_every_epoch_comes_in_order_of_time(client: TestClient) -> None:
    found = triplets(client, BAND="i")
    table = Table(found["EPOCHS"].data)
    in_i = [e for e in standard_exposures() if e.band == "i"]
    assert list(table["science_did"]) == [e.dataset_id for e in in_i]
    assert list(table["epoch"]) == [1, 2, 3, 4, 5]
    assert list(table["science"]) == [True] * 5
    assert list(table["difference"]) == [False] * 4 + [True]
    assert all("BUILD=true" in note for note in table["note"][:4]) and not table["note"][4]
    assert found[0].header["NEPOCH"] == 5 and found[0].header["OVERFLOW"] is False
    shapes = {unit.shape for unit in found if unit.is_image and unit.shape}
    assert shapes == {(SIDE_PX, SIDE_PX)}


def test_stamps_go_on_beyond_the_edge(client: TestClient, field: Field) -> None:
    row = field.stores.datasets.get(SCIENCE.dataset_id)
    grid = Grid.from_text(ImageRef.from_text(row.image_ref).grid)
    lon, lat = (float(each) for each in grid.pixel_to_sky(3.2, 196.6))
    found = triplets(client, ID=SCIENCE.dataset_id, POS=f"{lon!r} {lat!r}")
    for name in ("SCIENCE", "TEMPLATE", "DIFFERENCE"):
        unit = found[name, 1]
        assert unit.shape == (SIDE_PX, SIDE_PX)
        outside = np.zeros(unit.shape, dtype=bool)
        outside[:, :17] = outside[23:, :] = True
        assert np.isnan(unit.data[outside]).all()
        assert (found[f"{name}_MASK", 1].data[outside] & bits("NO_DATA")).all()
        x, y = WCS(unit.header).all_world2pix([(lon, lat)], 1)[0]
        assert (unit.header["POS_X"], unit.header["POS_Y"]) == pytest.approx((x, y), abs=1e-6)
    science = found["SCIENCE", 1]
    assert_array_equal(science.data, expected(field.image(SCIENCE), 1, (lon, lat)))
    assert np.isfinite(science.data[:23, 17:]).all()


def test_chosen_planes_and_sizes_come(client: TestClient) -> None:
    found = triplets(client, ID=SCIENCE.dataset_id, PLANES="mask", SIZE="20px")
    names = {unit.name for unit in found}
    assert {"SCIENCE", "SCIENCE_MASK", "DIFFERENCE_MASK"} < names
    assert not any(name.endswith("VARIANCE") for name in names)
    assert found["SCIENCE", 1].shape == (20, 20)
    default = client.get("/stamps", params={"POS": PLACE, "ID": SCIENCE.dataset_id})
    assert fits.open(io.BytesIO(default.content))["SCIENCE", 1].shape == (75, 75)


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({}, 7),
        ({"BAND": ["z", "i"]}, 6),
        ({"TIME": "60002 60003.5"}, 2),
        ({"COLLECTION": "field", "BAND": "i"}, 5),
        ({"COLLECTION": "other"}, 0),
        ({"ID": [SCIENCE.dataset_id.upper(), standard_exposures()[0].dataset_id]}, 2),
        ({"ID": str(virtual_id(standard_exposures()[1].dataset_id))}, 1),
        ({"MAXREC": "2"}, 2),
    ],
)
def test_epochs_are_chosen_and_listed(
    client: TestClient, asked: dict[str, Any], count: int
) -> None:
    answer = client.get("/stamps", params={"POS": PLACE, "RESPONSEFORMAT": "json", **asked})
    told = answer.json()
    assert [column["name"] for column in told["metadata"]] == [field.name for field in FIELDS]
    assert len(told["data"]) == count


def test_what_is_left_out_is_told_and_the_latest_stay(client: TestClient) -> None:
    found = triplets(client, MAXREC=2, BAND="i")
    assert found[0].header["OVERFLOW"] is True
    latest = [standard_exposures()[3].dataset_id, SCIENCE.dataset_id]
    assert list(found["EPOCHS"].data["science_did"]) == latest
    answer = client.get("/stamps", params={"POS": PLACE, "MAXREC": 2, "RESPONSEFORMAT": "votable"})
    (resource,) = parse(io.BytesIO(answer.content)).resources
    statuses = [info.value for info in resource.infos if info.name == "QUERY_STATUS"]
    assert statuses == ["OK", "OVERFLOW"] and len(resource.tables[0].array) == 2
    assert "EPOCHS" in [unit.name for unit in triplets(client, MAXREC=0)]


def test_what_cannot_be_read_is_told(client: TestClient) -> None:
    found = triplets(client, BAND="y")
    (row,) = found["EPOCHS"].data
    assert not row["science"] and "does not exist" in row["note"]
    assert [unit.name for unit in found] == ["PRIMARY", "EPOCHS"]


def test_a_place_without_images_has_no_stamps(client: TestClient) -> None:
    assert client.get("/stamps", params={"POS": "10 -10"}).status_code == 204
    listed = client.get("/stamps", params={"POS": "10 -10", "RESPONSEFORMAT": "csv"})
    assert listed.status_code == 200 and len(listed.text.splitlines()) == 1


def test_positions_come_by_form_and_by_table(client: TestClient) -> None:
    data = {"pos": [PLACE, "10 -10", f"{CENTRE[0]} {CENTRE[1]}"], "band": "z", "size": SIZE}
    by_form = client.post("/stamps", data=data)
    found = fits.open(io.BytesIO(by_form.content))
    table = Table(found["EPOCHS"].data)
    assert list(table["position"]) == [1, 3, 2] and list(table["epoch"]) == [1, 2, 0]
    assert "no image" in table["note"][2]
    assert found["SCIENCE", 2].header["POS_RA"] == CENTRE[0]
    assert found["SCIENCE", 2].header["POSNUM"] == 3
    places = Table({"ra": [TRANSIENT[0], 10, CENTRE[0]], "dec": [TRANSIENT[1], -10, CENTRE[1]]})
    content = io.BytesIO()
    places.write(content, format="votable")
    asked = {"UPLOAD": "places,param:t", "BAND": "z", "SIZE": SIZE}
    by_table = client.post("/stamps", data=asked, files={"t": content.getvalue()})
    assert by_table.content == by_form.content


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, ("POS", "required")),
        ({"POS": "CIRCLE 150 2 0.1"}, ("POS", "a place is needed")),
        ({"POS": "nan 2"}, ("POS", "NaN")),
        ({"POS": "150 200"}, ("POS", "-90 to 90")),
        ({"POS": PLACE, "SIZE": "0"}, ("SIZE", "above 0", "1px to 1024px")),
        ({"POS": PLACE, "SIZE": "2"}, ("SIZE", "up to 1")),
        ({"POS": PLACE, "SIZE": "nan"}, ("SIZE", "nan")),
        ({"POS": PLACE, "SIZE": "30furlong"}, ("SIZE", "30furlong", "30arcsec")),
        ({"POS": PLACE, "SIZE": "2000px"}, ("SIZE", "1024px")),
        ({"POS": PLACE, "SIZE": "7.5px"}, ("SIZE", "whole pixels")),
        ({"POS": PLACE, "SIZE": "0.5"}, ("SIZE", "1024", "4500")),
        ({"POS": PLACE, "SIZE": ["0.01", "0.02"]}, ("SIZE", "once")),
        ({"POS": PLACE, "PLANES": "image,psf"}, ("PLANES", "image, variance, mask", "psf")),
        ({"POS": PLACE, "TIME": "2 1"}, ("TIME", "above")),
        ({"POS": PLACE, "BUILD": "perhaps"}, ("BUILD", "true or false")),
        ({"POS": PLACE, "BANDS": "i"}, ("BANDS", "not known", "BAND")),
        ({"POS": PLACE, "MAXREC": "-1"}, ("MAXREC", "at least 0")),
        ({"POS": PLACE, "RESPONSEFORMAT": "tiff"}, ("RESPONSEFORMAT", "tiff", "fits", "csv")),
        ({"POS": PLACE, "UPLOAD": "t,param:none"}, ("none",)),
    ],
)
@pytest.mark.parametrize("way", ["GET", "POST"])
def test_wrong_requests_are_told(
    client: TestClient, way: str, parameters: dict[str, Any], words: tuple[str, ...]
) -> None:
    answer = client.request(way, "/stamps", **{"params" if way == "GET" else "data": parameters})
    assert answer.status_code == 400, answer.text
    told = html.unescape(answer.text)
    assert told.startswith(("UsageError", "MultiValued")) and all(w in told for w in words), told


def test_unknown_identifiers_are_told(client: TestClient) -> None:
    answer = client.get("/stamps", params={"POS": PLACE, "ID": "ivo://no/such?one"})
    assert answer.status_code == 404 and "ivo://no/such?one" in answer.text


def test_too_many_positions_are_refused(client: TestClient) -> None:
    answer = client.post("/stamps", data={"POS": [PLACE] * 1001})
    assert answer.status_code == 400
    assert "positions in a request is 1000; asked for 1001" in answer.text


def test_datalink_says_how_triplets_are_asked_for(client: TestClient) -> None:
    answer = client.get("/datalink/links", params={"ID": SCIENCE.dataset_id})
    document = parse(io.BytesIO(answer.content))
    (service,) = [e for e in document.resources if e.ID == "stamps"]
    inputs = {param.name for param in service.groups[0].entries}
    assert inputs == {
        "POS",
        "SIZE",
        "BAND",
        "TIME",
        "COLLECTION",
        "PLANES",
        "BUILD",
        "RESPONSEFORMAT",
    }
    (example,) = [param.value for param in service.params if param.name == "exampleURL"]
    found = fits.open(io.BytesIO(client.get(example).content))
    assert SCIENCE.dataset_id in found["EPOCHS"].data["science_did"]


def picture(client: TestClient, **asked: Any) -> NDArray[np.int_]:
    """A strip at the transient as an array (rows from above, columns, RGB)."""
    asked = {"POS": PLACE, "SIZE": SIZE, "RESPONSEFORMAT": "png", **asked}
    answer = client.get("/stamps", params=asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB")).astype(int)


def panels(strip: NDArray[np.int_], row: int) -> list[NDArray[np.int_]]:
    """Science, template and difference of a row of a strip, brightness only."""
    top = row * row_size(3)[1] + LABEL_PX
    lefts = [GAP_PX + number * (PANEL_PX + GAP_PX) for number in range(3)]
    return [strip[top : top + PANEL_PX, left : left + PANEL_PX, 1] for left in lefts]


def middle(panel: NDArray[np.int_]) -> float:
    """How bright a panel is about its middle."""
    half = PANEL_PX // 2
    return float(panel[half - 7 : half + 8, half - 7 : half + 8].mean())


def test_a_strip_has_a_row_for_each_epoch_and_shows_the_transient(client: TestClient) -> None:
    strip = picture(client, BAND="i")
    width, height = row_size(3)
    assert strip.shape == (5 * height, width, 3)
    science, template, difference = panels(strip, 4)
    assert middle(science) > 200 and middle(difference) > 200
    assert middle(template) < 150
    missing = panels(strip, 0)[2]
    assert np.median(missing) == NO_DATA_COLOUR[1]
    assert (missing[30:] > 200).any(), "the reason stands in the panel"


def test_science_and_template_share_limits(client: TestClient) -> None:
    """Each pixel of the picture by the values of the file."""
    asked = {"ID": SCIENCE.dataset_id, "SIZE": "48px"}
    found = triplets(client, **asked)
    strip = picture(client, LIMITS="0 60", STRETCH="linear", **asked)
    zoom = PANEL_PX // 48
    for name, panel in zip(("SCIENCE", "TEMPLATE"), panels(strip, 0), strict=False):
        values = found[name, 1].data[::-1].astype(float)
        shown = panel[zoom // 2 :: zoom, zoom // 2 :: zoom]
        expected_grey = np.round(255 * np.clip(values / 60, 0, 1))
        plain = np.s_[8:20, 2:20]  # without label, mark and arrows
        assert_array_equal(shown[plain], expected_grey[plain])


def test_an_animation_has_a_frame_for_each_epoch(client: TestClient) -> None:
    for form, media_type in (("apng", "image/apng"), ("image/gif", "image/gif")):
        asked = {"POS": PLACE, "BAND": "i", "RESPONSEFORMAT": form}
        answer = client.get("/stamps", params=asked)
        assert answer.headers["content-type"] == media_type
        shown = Image.open(io.BytesIO(answer.content))
        assert (shown.n_frames, shown.size) == (5, row_size(3))
        assert shown.info["duration"] == FRAME_MS
        frames = [np.asarray(each.convert("L")) for each in ImageSequence.Iterator(shown)]
        assert (frames[4] != frames[3]).any()


def test_pictures_tell_what_is_left_out(client: TestClient) -> None:
    whole = picture(client, BAND="i", MAXREC=5)
    cut = picture(client, BAND="i", MAXREC=2)
    assert cut.shape[0] == 2 * row_size(3)[1] + LABEL_PX
    assert_array_equal(cut[: row_size(3)[1]], whole[3 * row_size(3)[1] : 4 * row_size(3)[1]])
    nothing = {"POS": "10 -10", "RESPONSEFORMAT": "png"}
    assert client.get("/stamps", params=nothing).status_code == 204


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"STRETCH": "asinh"}, ("STRETCH", "png or apng or gif")),
        ({"RESPONSEFORMAT": "png", "STRETCH": "cubic"}, ("STRETCH", "asinh", "cubic")),
        ({"RESPONSEFORMAT": "png", "LIMITS": "2 1"}, ("LIMITS", "2")),
        ({"RESPONSEFORMAT": "gif", "LIMITS": "0 1", "SCALE": "zscale"}, ("SCALE", "LIMITS")),
        ({"RESPONSEFORMAT": "png", "COLORMAP": "jet"}, ("COLORMAP", "viridis", "jet")),
    ],
)
def test_wrong_looks_are_told(
    client: TestClient, parameters: dict[str, str], words: tuple[str, ...]
) -> None:
    answer = client.get("/stamps", params={"POS": PLACE, **parameters})
    assert answer.status_code == 400
    assert all(word in answer.text for word in words), answer.text
