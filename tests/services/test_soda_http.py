"""Cutouts over HTTP: parameters, answers without pixels, planes, cubes, files that change."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from starlette.testclient import TestClient

from app.pixels.detect import gaussian_psf
from tests.machine import SHARED
from tests.psf_recipe import psf_stamp
from tests.services.soda_images import (
    CIRCLE,
    CUBE,
    ELSEWHERE,
    LOST,
    PLAIN,
    PROMISED,
    TILED,
    UNPLACED,
    WITH_PSF,
    cut,
    published,
    serving,
)
from tests.services.survey import CENTRE, SIZE_PX
from tests.xsd import assert_valid_availability, assert_valid_capabilities

PARAM_VALUES = SHARED / "conformance" / "protocol" / "param_values.json"
VALUES: list[dict[str, Any]] = json.loads(PARAM_VALUES.read_text()) if PARAM_VALUES.exists() else []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the images lie."""
    return tmp_path_factory.mktemp("soda")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    """A client of all images."""
    with published(folder) as stores, serving(folder, stores) as made:
        yield made


def test_a_circle_with_all_planes_and_the_place_of_each_pixel(
    client: TestClient, folder: Path
) -> None:
    found = cut(client, CIRCLE=CIRCLE)
    assert [unit.name for unit in found] == ["PRIMARY", "IMAGE", "MASK", "VARIANCE"]
    assert found[0].header["OBSPUBID"] == PLAIN.dataset_id
    assert found[0].header["SODAPOS"] == f"CIRCLE {CIRCLE}"
    radius_px = 0.004 * 3600 / 0.4
    for unit in found[1:]:
        assert unit.shape == pytest.approx((2 * radius_px, 2 * radius_px), abs=2)
        x, y = WCS(unit.header).all_world2pix(*CENTRE, 0)
        with fits.open(folder / "i-1.fits") as whole:
            source = whole[unit.name]
            x0, y0 = WCS(source.header).all_world2pix(*CENTRE, 0)
            dy, dx = round(float(y0 - y)), round(float(x0 - x))
            assert (float(x0 - x), float(y0 - y)) == (pytest.approx(dx), pytest.approx(dy))
            ny, nx = unit.shape
            expected = source.data[dy : dy + ny, dx : dx + nx]
        np.testing.assert_array_equal(unit.data, expected)
        assert (unit.header["LTV1"], unit.header["LTV2"]) == (-dx, -dy)
        assert unit.header["SODASEC"] == f"[{dx + 1}:{dx + nx},{dy + 1}:{dy + ny}]"


@pytest.mark.parametrize(
    "place",
    [
        {"CIRCLE": CIRCLE},
        {"POS": f"circle {CIRCLE}"},
        {"POS": "RANGE 149.997 150.002 1.998 +Inf"},
        {"POLYGON": "149.997 1.998 150.003 1.998 150 2.004"},
        {"PIXELS": "10 20 30 99"},
        {"PIXELS": "-Inf 20 190 +Inf"},
        {},
    ],
)
def test_tiles_give_what_plain_files_give(client: TestClient, place: dict[str, str]) -> None:
    plain, tiled = (cut(client, ID=each.dataset_id, **place) for each in (PLAIN, TILED))
    assert [unit.name for unit in tiled] == [unit.name for unit in plain]
    for ours, theirs in zip(tiled[1:], plain[1:], strict=True):
        assert ours.data.dtype == theirs.data.dtype
        np.testing.assert_array_equal(ours.data, theirs.data)
        assert ours.header["SODASEC"] == theirs.header["SODASEC"]


def test_the_whole_image_is_the_default(client: TestClient, folder: Path) -> None:
    found = cut(client)
    with fits.open(folder / "i-1.fits") as whole:
        np.testing.assert_array_equal(found["VARIANCE"].data, whole["VARIANCE"].data)
        assert WCS(found[1].header).wcs.compare(WCS(whole[1].header).wcs)


def test_get_post_and_head_in_any_case(client: TestClient) -> None:
    asked = {"id": PLAIN.dataset_id.upper(), "Circle": CIRCLE}
    got = client.get("/soda/sync", params=asked)
    assert got.status_code == 200
    assert client.post("/soda/sync", data=asked).content == got.content
    assert client.post("/soda/sync", files={k: (None, v) for k, v in asked.items()}).content == (
        got.content
    )
    head = client.head("/soda/sync", params=asked)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(got.content))
    assert head.headers["content-disposition"] == 'attachment; filename="1_cutout.fits"'


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({"EXT": "variance"}, ["VARIANCE"]),
        ({"EXT": "MASK,image"}, ["IMAGE", "MASK"]),
        ({"EXT": ["3", "Image"]}, ["IMAGE", "VARIANCE"]),
    ],
)
def test_planes_by_name_or_number(
    client: TestClient, asked: dict[str, Any], names: list[str]
) -> None:
    assert [unit.name for unit in cut(client, PIXELS="5 9 5 9", **asked)[1:]] == names


def test_the_psf_of_the_file_is_that_of_the_cutout(client: TestClient, tmp_path: Path) -> None:
    found = cut(client, ID=WITH_PSF.dataset_id, PIXELS="40 99 50 149")
    assert [unit.name for unit in found[4:]] == ["PSF", "PSF_BASIS"]
    told = found["PSF"].header
    assert (told["PSFNX"], told["PSFNY"]) == (60, 100)
    corners = np.asarray(found["PSF"].data["POLYGON"]).reshape(-1, 2)
    assert corners.min(axis=0).tolist() == [-0.5, -0.5]
    assert corners.max(axis=0).tolist() == [59.5, 99.5]
    found.writeto(tmp_path / "cutout.fits")
    stamp = psf_stamp(tmp_path / "cutout.fits", 30.0, 50.0)
    expected = gaussian_psf(4.0)
    middle = stamp.shape[0] // 2, expected.shape[0] // 2
    assert stamp[middle[0], middle[0]] == pytest.approx(expected[middle[1], middle[1]], rel=0.01)
    alone = cut(client, ID=WITH_PSF.dataset_id, PIXELS="40 99 50 149", EXT="image")
    assert [unit.name for unit in alone[1:]] == ["IMAGE"]


def test_rice(client: TestClient) -> None:
    plain, coded = (cut(client, PIXELS="0 99 0 149", COMPRESS=word) for word in ("none", "rice"))
    assert [type(unit) for unit in coded[1:]] == [fits.CompImageHDU] * 3
    np.testing.assert_array_equal(coded["MASK"].data, plain["MASK"].data)
    assert np.abs(coded["IMAGE"].data - plain["IMAGE"].data).max() < 1.0
    assert coded["IMAGE"].header["CRPIX1"] == plain["IMAGE"].header["CRPIX1"]


@pytest.mark.parametrize(
    ("asked", "channels", "states"),
    [
        ({}, (0, 10), (0, 4)),
        ({"BAND": "2.80e-3 2.95e-3"}, (2, 8), (0, 4)),
        ({"BAND": "2.9979e-3"}, (0, 1), (0, 4)),
        ({"BAND": "-Inf 2.77e-3"}, (8, 10), (0, 4)),
        ({"POL": "Q"}, (0, 10), (1, 2)),
        ({"POL": ["V", "U"], "BAND": "2.9979e-3"}, (0, 1), (2, 4)),
        ({"TIME": "60000 60002"}, (0, 10), (0, 4)),
    ],
)
def test_cubes(
    client: TestClient, asked: dict[str, Any], channels: tuple[int, int], states: tuple[int, int]
) -> None:
    found = cut(client, ID=CUBE, PIXELS="3 12 4 8", **asked)
    assert found[0].header["OBSPUBID"] == CUBE
    values = np.arange(4 * 10 * 20 * 30).reshape(4, 10, 20, 30)
    expected = 100 + 0.5 * values[slice(*states), slice(*channels), 4:9, 3:13]
    np.testing.assert_array_equal(found[0].data, expected)
    first = WCS(found[0].header).all_pix2world([[0, 0, 0, 0]], 0)[0]
    assert first[2:] == pytest.approx([(100 + channels[0]) * 1e9, 1 + states[0]])
    places = {"3": channels[0], "4": states[0]}
    for axis, start in places.items():
        assert found[0].header[f"CRPIX{axis}"] == 1.0 - start


@pytest.mark.parametrize(
    "asked",
    [
        {"CIRCLE": "10 10 0.1"},
        {"POS": "RANGE 149.9 150.1 -10 -9"},
        {"PIXELS": "200 300 0 10"},
        {"PIXELS": "-10 -1 0 10"},
        {"CIRCLE": CIRCLE, "BAND": "9e-7 1e-6"},
        {"BAND": "-Inf 6.9e-7"},
        {"TIME": "59000 59999"},
        {"POL": "Q"},
        {"ID": CUBE, "BAND": "1e-3 2e-3"},
        {"ID": CUBE, "POL": "RR"},
        {"ID": CUBE, "TIME": "50000"},
        {"ID": LOST.dataset_id, "CIRCLE": "10 10 0.1"},  # known without the file
    ],
)
@pytest.mark.parametrize("way", ["GET", "POST", "HEAD"])
def test_without_overlap_there_is_no_content(
    client: TestClient, way: str, asked: dict[str, str]
) -> None:
    parameters = {"ID": PLAIN.dataset_id, **asked}
    answer = client.request(
        way, "/soda/sync", **{"data" if way == "POST" else "params": parameters}
    )
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(
    "asked",
    [
        {"BAND": "7.5e-7"},
        {"BAND": "-Inf +Inf"},
        {"TIME": "60000.0001"},
        {"POL": "i"},
        {"POL": ["Q", "I"]},
    ],
)
def test_what_an_image_covers_does_not_cut_it(client: TestClient, asked: dict[str, str]) -> None:
    assert cut(client, **asked)[1].shape == (SIZE_PX, SIZE_PX)


def test_pixels_of_a_primary_hdu_in_an_extension(client: TestClient) -> None:
    asked = {"ID": CUBE, "PIXELS": "3 12 4 8", "BAND": "2.9979e-3", "POL": ["I", "Q"]}
    plain, coded = (cut(client, **asked, COMPRESS=word) for word in ("none", "rice"))
    assert isinstance(coded[1], fits.CompImageHDU)
    np.testing.assert_array_equal(coded[1].data, plain[0].data)
    assert coded[1].header["CRPIX1"] == plain[0].header["CRPIX1"]
    assert coded[0].header["OBSPUBID"] == CUBE and "CRPIX1" not in coded[0].header


MULTI = "MultiValuedParamNotSupported: "


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ({"ID": [PLAIN.dataset_id, CUBE]}, 400, (MULTI, "ID")),
        ({"CIRCLE": [CIRCLE, CIRCLE]}, 400, (MULTI, "CIRCLE")),
        ({"CIRCLE": CIRCLE, "POS": f"CIRCLE {CIRCLE}"}, 400, (MULTI, "POS", "CIRCLE says")),
        ({"POS": f"CIRCLE {CIRCLE}", "PIXELS": "1 2 3 4"}, 400, (MULTI, "PIXELS")),
        ({"BAND": ["1 2", "3 4"]}, 400, (MULTI, "BAND")),
        ({"TIME": ["1 2", "3 4"]}, 400, (MULTI, "TIME")),
        ({"ID": ""}, 400, ("UsageError: ", "ID", "obs_publisher_did")),
        ({"CIRCLE": "1 2"}, 400, ("UsageError: ", "CIRCLE", "3 numbers")),
        ({"CIRCLE": "1 2 x"}, 400, ("UsageError: ", "CIRCLE", "'x'")),
        ({"CIRCLE": "1 95 1"}, 400, ("UsageError: ", "CIRCLE", "95")),
        ({"CIRCLE": "1 2 -1"}, 400, ("UsageError: ", "CIRCLE", "radius")),
        ({"CIRCLE": "CIRCLE 1 2 3"}, 400, ("UsageError: ", "CIRCLE", "not a number")),
        ({"POLYGON": "1 2 3 4"}, 400, ("UsageError: ", "POLYGON", "3 vertices")),
        ({"POLYGON": "0 0 1 1 1 0 0 1"}, 400, ("UsageError: ", "POLYGON", "cross")),
        ({"POS": "DONUT 1 2 3"}, 400, ("UsageError: ", "POS", "RANGE")),
        ({"PIXELS": "1 2 3"}, 400, ("UsageError: ", "PIXELS", "x_min x_max")),
        ({"PIXELS": "9 2 3 4"}, 400, ("UsageError: ", "PIXELS", "above")),
        ({"PIXELS": "nan 2 3 4"}, 400, ("UsageError: ", "PIXELS")),
        ({"BAND": "1 2 3"}, 400, ("UsageError: ", "BAND")),
        ({"TIME": "2 1"}, 400, ("UsageError: ", "TIME", "above")),
        ({"POL": "FOO"}, 400, ("UsageError: ", "POL", "RR", "FOO")),
        ({"EXT": "sky"}, 400, ("UsageError: ", "EXT", "image, mask, variance")),
        ({"EXT": "psf"}, 400, ("UsageError: ", "EXT", "pixels")),
        ({"COMPRESS": "zip"}, 400, ("UsageError: ", "COMPRESS", "rice")),
        ({"CIRCEL": CIRCLE}, 400, ("UsageError: ", "CIRCEL", "CIRCLE")),
        ({"RESPONSEFORMAT": "tiff"}, 400, ("UsageError: ", "RESPONSEFORMAT", "fits")),
        ({"ID": ELSEWHERE}, 400, ("UsageError: ", "ID", "http://far.org/x")),
        ({"ID": PROMISED}, 400, ("UsageError: ", "ID", "/differences?ID=")),
        ({"ID": UNPLACED}, 400, ("UsageError: ", "ID", "grid")),
        ({"ID": "ivo://x/y"}, 404, ("UsageError: ", "ivo://x/y")),
        ({"ID": LOST.dataset_id}, 422, ("Error: ", "i-21.fits", "does not exist")),
    ],
)
def test_faults(
    client: TestClient, folder: Path, asked: dict[str, Any], status: int, words: tuple[str, ...]
) -> None:
    answer = client.get("/soda/sync", params={"ID": PLAIN.dataset_id, **asked})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.startswith(words[0])
    assert all(word in answer.text for word in words), answer.text
    assert str(folder) not in answer.text and len(answer.text) < 400


@pytest.mark.needs("shared")
def test_the_suite_of_parameter_values(client: TestClient) -> None:
    judged = 0
    for case in VALUES:
        if case["param"] not in {"POS", "CIRCLE", "POLYGON", "BAND", "TIME", "POL"}:
            continue
        values = case["value"] if isinstance(case["value"], list) else [case["value"]]
        for value in values:
            asked = {"ID": PLAIN.dataset_id, case["param"]: value}
            answer = client.get("/soda/sync", params=asked)
            assert answer.status_code in ((200, 204) if case["valid"] else (400,)), (case, answer)
            judged += 1
    assert judged > 40


def test_a_file_that_changes_is_read_anew(client: TestClient, folder: Path) -> None:
    path, kept = folder / "i-1.fits", (folder / "i-1.fits").read_bytes()
    before = cut(client, PIXELS="0 9 0 9")["IMAGE"].data.copy()
    try:
        with fits.open(io.BytesIO(kept)) as whole:
            whole["IMAGE"].data += 1
            whole[0].header["ADDED"] = ("x" * 60, "more than there was")
            for number in range(40):
                whole[0].header[f"CARD{number}"] = number
            whole.writeto(path, overwrite=True)
        np.testing.assert_array_equal(cut(client, PIXELS="0 9 0 9")["IMAGE"].data, before + 1)
        os.truncate(path, 100_000)
        answer = client.get("/soda/sync", params={"ID": PLAIN.dataset_id, "EXT": "variance"})
        assert answer.status_code == 422 and "truncated" in answer.text
        path.write_bytes(kept[:-50_000])  # the header is there, pixels are missing
        answer = client.get("/soda/sync", params={"ID": PLAIN.dataset_id, "EXT": "variance"})
        assert answer.status_code == 422 and "pixels end early" in answer.text
        assert str(folder) not in answer.text
    finally:
        path.write_bytes(kept)


def test_the_service_describes_itself(client: TestClient) -> None:
    root = assert_valid_capabilities(client.get("/soda/capabilities").content)
    found = {each.get("standardID"): each.findtext("interface/accessURL") for each in root}
    assert found == {
        "ivo://ivoa.net/std/SODA#sync-1.0": "http://testserver/soda/sync",
        "ivo://ivoa.net/std/SODA#async-1.0": "http://testserver/soda/async",
        "ivo://ivoa.net/std/VOSI#capabilities": "http://testserver/soda/capabilities",
        "ivo://ivoa.net/std/VOSI#availability": "http://testserver/soda/availability",
    }
    told = client.get("/openapi.json").json()["paths"]["/soda/sync"]["get"]["parameters"]
    assert {each["name"] for each in told} >= {"ID", "CIRCLE", "POS", "BAND", "POL", "STRETCH"}
    assert_valid_availability(client.get("/soda/availability").content)
