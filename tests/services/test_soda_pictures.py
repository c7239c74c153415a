"""Cutouts as pictures: limits, stretches, colours, marks, planes, large regions and cubes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from app.pixels.colour_maps import COLOUR_MAPS
from tests.services.soda_images import (
    CIRCLE,
    CUBE,
    PLAIN,
    cut,
    published,
    serving,
)
from tests.services.survey import CENTRE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the images lie."""
    return tmp_path_factory.mktemp("soda")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    """A client of all images."""
    with published(folder) as stores, serving(folder, stores) as made:
        yield made


def picture(client: TestClient, **asked: Any) -> Any:
    """A picture as an array (rows from above), RGB."""
    answer = client.get("/soda/sync", params={"ID": PLAIN.dataset_id, **asked})
    assert answer.status_code == 200, answer.text
    form = {"jpg": "jpeg"}.get(asked["RESPONSEFORMAT"], asked["RESPONSEFORMAT"])
    assert answer.headers["content-type"] == f"image/{form.removeprefix('image/')}"
    assert answer.headers["content-disposition"].startswith("inline")
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB")).astype(int)


def test_a_picture_shows_the_values_between_its_limits(client: TestClient) -> None:
    asked = {"PIXELS": "50 89 60 119"}
    with cut(client, **asked) as found:
        values = found["IMAGE"].data[::-1].astype(float)
    shown = picture(client, RESPONSEFORMAT="png", LIMITS="0 20", STRETCH="linear", **asked)
    assert shown.shape == (60, 40, 3)
    expected = np.round(255 * np.clip(values / 20, 0, 1))
    for band in range(3):
        np.testing.assert_array_equal(shown[..., band], expected)
    brighter = picture(client, RESPONSEFORMAT="image/png", LIMITS="0 20", STRETCH="sqrt", **asked)
    assert (brighter >= shown).all() and brighter.sum() > 1.1 * shown.sum()
    large = picture(
        client, RESPONSEFORMAT="png", LIMITS="0 20", STRETCH="linear", SIZE=120, **asked
    )
    np.testing.assert_array_equal(large[::2, ::2], shown)


@pytest.mark.parametrize("form", ["png", "jpeg", "jpg"])
@pytest.mark.parametrize("scale", ["zscale", "minmax", "symmetric", "99.5", "90%"])
@pytest.mark.parametrize("stretch", ["log", "asinh"])
def test_scales(client: TestClient, form: str, scale: str, stretch: str) -> None:
    shown = picture(client, RESPONSEFORMAT=form, SCALE=scale, STRETCH=stretch, SIZE=100)
    assert shown.shape == (100, 100, 3) and shown.std() > 1


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_colour_maps(client: TestClient, name: str) -> None:
    shown = picture(client, RESPONSEFORMAT="png", COLORMAP=name, LIMITS="1e8 1e9")
    assert {tuple(colour) for colour in shown.reshape(-1, 3)} == {tuple(COLOUR_MAPS[name][0])}


def test_markers_and_planes(client: TestClient) -> None:
    asked: dict[str, Any] = {"RESPONSEFORMAT": "png", "LIMITS": "1e8 1e9", "CIRCLE": CIRCLE}
    bare = picture(client, **asked)
    marked = picture(client, **asked, MARKER=[f"{CENTRE[0]} {CENTRE[1]}"])
    where = np.argwhere((marked != bare).any(axis=2))
    middle = (np.array(bare.shape[:2]) - 1) / 2
    assert where.mean(axis=0) == pytest.approx(middle, abs=1.5)
    mask = picture(client, RESPONSEFORMAT="png", EXT="mask", SCALE="minmax", STRETCH="linear")
    assert set(mask.ravel().tolist()) == {0, 255}


def test_large_regions_are_binned_and_cubes_collapsed(client: TestClient) -> None:
    small = picture(client, RESPONSEFORMAT="png", SIZE=20, LIMITS="-50 150", STRETCH="linear")
    with cut(client) as found:
        values = found["IMAGE"].data.reshape(20, 10, 20, 10).mean(axis=(1, 3))[::-1]
    expected = np.round(255 * np.clip((values + 50) / 200, 0, 1))
    assert np.abs(small[..., 0] - expected).max() <= 1
    cube = picture(
        client, ID=CUBE, RESPONSEFORMAT="png", LIMITS="100 12100", STRETCH="linear", POL="Q"
    )
    values = 100 + 0.5 * np.arange(4 * 10 * 20 * 30).reshape(4, 10, 20, 30)[1].mean(axis=0)
    assert np.abs(cube[..., 0] - 255 * (values[::-1] - 100) / 12000).max() <= 1


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"STRETCH": "cubic"}, ("STRETCH", "asinh")),
        ({"SCALE": "101"}, ("SCALE", "percentage")),
        ({"SCALE": "wide"}, ("SCALE", "zscale")),
        ({"LIMITS": "1 2", "SCALE": "zscale"}, ("SCALE", "LIMITS")),
        ({"LIMITS": "2 1"}, ("LIMITS", "above")),
        ({"LIMITS": "-Inf 1"}, ("LIMITS", "finite")),
        ({"COLORMAP": "jet"}, ("COLORMAP", "viridis")),
        ({"MARKER": "CIRCLE 1 2 3"}, ("MARKER", "lon lat")),
        ({"MARKER": "1 95"}, ("MARKER", "latitude")),
        ({"SIZE": "5"}, ("SIZE", "16")),
        ({"SIZE": "99999"}, ("SIZE", "4096")),
        ({"RESPONSEFORMAT": "fits", "SIZE": "100"}, ("SIZE", "RESPONSEFORMAT=png")),
    ],
)
def test_faults_of_pictures(
    client: TestClient, asked: dict[str, str], words: tuple[str, ...]
) -> None:
    parameters = {"ID": PLAIN.dataset_id, "RESPONSEFORMAT": "png", **asked}
    answer = client.get("/soda/sync", params=parameters)
    assert answer.status_code == 400 and answer.text.startswith("UsageError: "), answer.text
    assert all(word in answer.text for word in words), answer.text


def test_no_picture_without_overlap(client: TestClient) -> None:
    asked = {"ID": PLAIN.dataset_id, "CIRCLE": "10 10 1", "RESPONSEFORMAT": "png"}
    answer = client.get("/soda/sync", params=asked)
    assert (answer.status_code, answer.content) == (204, b"")
