"""Tiles of images: they are the picture of the whole in parts, on every level."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from PIL import Image

from app.pixels.colour_maps import COLOUR_MAPS
from app.pixels.grid import Grid, unit_vectors
from app.pixels.image import bits
from app.pixels.painted import paint_binned
from app.pixels.picture import STRETCHES
from app.pixels.preview import MASK_COLOURS, NO_DATA_COLOUR, Light, PreviewOptions, render_preview
from app.pixels.sky_nodes import find_nodes
from app.pixels.tiles import (
    TILE_PX,
    Pyramid,
    TileStyle,
    find_display,
    make_tones,
    paint_tile,
)
from tests.pages.conftest import Site

REALDATA = Path(__file__).parents[3] / "shared" / "realdata"
SHAPE = (1300, 1800)


@pytest.fixture(scope="module")
def image() -> Light:
    """Noise and a gradient, a corner without data, masked places."""
    rng = np.random.default_rng(7)
    flux = rng.normal(0, 1, SHAPE).astype(np.float32)
    flux += np.linspace(0, 20, SHAPE[1], dtype=np.float32)
    flux[:90, 1000:1300] = np.nan
    mask = np.zeros(SHAPE, dtype=np.int32)
    mask[400:500, 700:1100] = bits("SAT")
    mask[450:700, 900:1000] |= bits("CR")
    return flux, mask


def reader(light: Light) -> Callable[..., Light]:
    flux, mask = light

    def read(
        start: int, stop: int, *, columns: tuple[int, int] = (0, SHAPE[1]), masked: bool = True
    ) -> Light:
        part = np.s_[start:stop, slice(*columns)]
        return flux[part], mask[part] if masked else np.zeros_like(mask[part])

    return read


@pytest.mark.parametrize(
    ("shape", "levels"),
    [((1, 1), 1), ((512, 512), 1), ((513, 20), 2), ((1024, 1024), 2), ((1025, 9), 3)],
)
def test_levels_end_where_all_fits_into_one_tile(shape: tuple[int, int], levels: int) -> None:
    pyramid = Pyramid(shape)
    assert pyramid.levels == levels
    assert pyramid.tiles(0) == (1, 1) and pyramid.step(levels - 1) == 1
    assert pyramid.size(levels - 1) == shape


def test_the_tiles_of_a_level_cover_each_pixel_once() -> None:
    pyramid = Pyramid(SHAPE)
    for level in range(pyramid.levels):
        count = np.zeros(SHAPE, dtype=int)
        rows, columns = pyramid.tiles(level)
        for row in range(rows):
            for column in range(columns):
                y0, y1, x0, x1 = pyramid.window(level, row, column)
                assert y0 < y1 and x0 < x1
                count[y0:y1, x0:x1] += 1
        assert (count == 1).all()


@pytest.mark.parametrize("mask_overlay", [False, True])
@pytest.mark.parametrize("colours", ["grey", "viridis"])
@pytest.mark.parametrize("scale", [None, "zscale", "minmax", 99.0])
def test_tiles_are_the_picture_of_the_whole_in_parts(
    image: Light, scale: Any, colours: str, mask_overlay: bool
) -> None:
    style = TileStyle(scale=scale, colours=colours, mask_overlay=mask_overlay)
    pyramid, read = Pyramid(SHAPE), reader(image)
    display = find_display(read, SHAPE, style, is_difference=False)
    overlay = [(bits(name), colour) for name, colour in MASK_COLOURS if mask_overlay]
    upright = [np.ascontiguousarray(plane[::-1]) for plane in image]
    tones = make_tones(display, style)
    for level in range(pyramid.levels):
        step = pyramid.step(level)
        whole = np.stack(
            [
                paint_binned(
                    *upright,
                    display.limits,
                    np.ascontiguousarray(tones[:, primary]),
                    no_data=NO_DATA_COLOUR,
                    overlay=overlay,
                    step=step,
                )[..., primary]
                for primary in range(3)
            ],
            axis=-1,
        )
        assert whole.shape[:2] == pyramid.size(level)
        rows, columns = pyramid.tiles(level)
        joined = np.concatenate(
            [
                np.concatenate(
                    [
                        paint_tile(read, pyramid.window(level, r, c), step, display, style)
                        for c in range(columns)
                    ],
                    axis=1,
                )
                for r in range(rows)
            ]
        )
        assert np.array_equal(joined, whole)


def test_unless_told_otherwise_tiles_look_like_the_preview(image: Light) -> None:
    grid = Grid.from_header(fits.Header(_tan_cards()), SHAPE)
    options = PreviewOptions(side_px=SHAPE[1], compass=False, mask_overlay=True)
    preview = np.array(Image.open(io.BytesIO(render_preview(reader(image), grid, options))))
    style, pyramid = TileStyle(mask_overlay=True), Pyramid(SHAPE)
    display = find_display(reader(image), SHAPE, style, is_difference=False)
    tile = paint_tile(reader(image), pyramid.window(2, 1, 1), 1, display, style)
    assert np.array_equal(tile, preview[TILE_PX : 2 * TILE_PX, TILE_PX : 2 * TILE_PX])


@pytest.mark.parametrize("stretch", STRETCHES)
def test_single_values_have_the_colour_that_the_stretch_says(stretch: Any) -> None:
    ramp = np.tile(np.linspace(-1, 11, 500, dtype=np.float32), (4, 1))
    read = reader((ramp, np.zeros(ramp.shape, np.int32)))
    style = TileStyle(stretch=stretch, limits=(0.0, 10.0), colours="magma")
    display = find_display(read, ramp.shape, style, is_difference=False)
    tile = paint_tile(read, (0, 4, 0, 500), 1, display, style).astype(int)
    levels = 255 * STRETCHES[stretch](np.clip(ramp[0].astype(float) / 10, 0, 1))
    expected = COLOUR_MAPS["magma"][levels.astype(np.uint8)].astype(int)
    assert np.abs(tile[0] - expected).max() <= 6  # a level more or less where it changes
    assert (tile[0] == expected).all(axis=1).mean() > 0.9


@pytest.mark.parametrize("fill", [np.nan, np.inf, 3.0])
def test_flat_and_empty_images_have_tiles(fill: float) -> None:
    read = reader((np.full((40, 50), fill, np.float32), np.zeros((40, 50), np.int32)))
    for scale in (None, "zscale", "minmax", "symmetric", 90.0):
        style = TileStyle(scale=scale)  # type: ignore[arg-type]
        display = find_display(read, (40, 50), style, is_difference=False)
        assert paint_tile(read, (0, 40, 0, 50), 1, display, style).shape == (40, 50, 3)


def _tan_cards() -> dict[str, Any]:
    return {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0,
        "CRPIX1": 900.0, "CRPIX2": 650.0, "CD1_1": -1e-4, "CD2_2": 1e-4,
    }  # fmt: skip


def off_px(header: fits.Header, shape: tuple[int, int]) -> float:
    """The largest distance between interpolated and astropy's directions, in pixels."""
    grid = Grid.from_header(header, shape)
    nodes = find_nodes(grid)
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-0.5, shape[1] - 0.5, 5000), rng.uniform(-0.5, shape[0] - 0.5, 5000)
    sky = WCS(header).celestial.pixel_to_world(x, y).icrs
    off = nodes.at(x, y) - unit_vectors(sky.ra.deg, sky.dec.deg)
    worst = np.degrees(np.nanmax(np.linalg.norm(off, axis=1))) * 3600 / grid.pixel_scale_arcsec
    assert worst <= nodes.error_px * 1.2 + 1e-3  # what it says of itself is true
    return float(worst)


def test_directions_between_nodes_are_those_of_astropy_on_a_distorted_detector() -> None:
    """The header of a DECam detector, with its distortion, over as many pixels as that has."""
    path = next(REALDATA.glob("decam_bok_cutouts/**/c4d_*_ooi_*.fits"))
    with fits.open(path) as found:
        header = next(unit.header for unit in found if "CTYPE1" in unit.header)
    assert header["CTYPE1"] == "RA---TPV"
    assert off_px(header, (4094, 2046)) < 0.1


@pytest.mark.parametrize(
    ("projection", "crval", "scale_deg", "shape", "most_px"),
    [
        ("TAN", (10.0, 89.999), 1e-4, (800, 900), 0.1),
        ("TAN", (0.001, -5.0), 0.02, (2000, 3000), 0.1),
        ("CAR", (0.0, 0.0), 0.1, (1800, 3600), 0.5),
        ("SIN", (200.0, 45.0), 0.02, (3000, 3000), 0.5),
    ],
)
def test_directions_at_poles_at_the_origin_and_on_large_skies(
    projection: str,
    crval: tuple[float, float],
    scale_deg: float,
    shape: tuple[int, int],
    most_px: float,
) -> None:
    cards = _tan_cards() | {
        "CTYPE1": f"RA---{projection}", "CTYPE2": f"DEC--{projection}",
        "CRVAL1": crval[0], "CRVAL2": crval[1], "CD1_1": -scale_deg, "CD2_2": scale_deg,
        "CRPIX1": shape[1] / 2, "CRPIX2": shape[0] / 2,
    }  # fmt: skip
    assert off_px(fits.Header(cards), shape) <= most_px


def tile_path(site: Site, **more: object) -> str:
    asked = {"LEVEL": 0, "ROW": 0, "COLUMN": 0} | more
    return f"/tiles?ID={quote(site.image_id, safe='')}" + "".join(
        f"&{name}={value}" for name, value in asked.items()
    )


def picture(content: bytes) -> NDArray[np.uint8]:
    return np.array(Image.open(io.BytesIO(content)).convert("RGB"))


def test_a_tile_is_served_and_kept(site: Site) -> None:
    first = site.client.get(tile_path(site))
    assert first.status_code == 200 and first.headers["content-type"] == "image/png"
    assert picture(first.content).shape == (200, 240, 3)
    kept = list((site.data_dir / "cache" / "tiles").glob("*.png"))
    assert first.content in [path.read_bytes() for path in kept]
    assert site.client.get(tile_path(site)).content == first.content
    for more in ({"STRETCH": "log"}, {"SCALE": "minmax"}, {"SCALE": "90%25"}, {"COLORMAP": "heat"}):
        assert site.client.get(tile_path(site, **more)).content != first.content
    reversed_light = site.client.get(tile_path(site, COLORMAP="inverse"))
    total = picture(first.content).astype(int) + picture(reversed_light.content)
    assert (np.abs(total - 255) <= 1).mean() > 0.9  # all but what has no data


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"LEVEL": 1}, "LEVEL"),
        ({"LEVEL": -1}, "LEVEL"),
        ({"LEVEL": "x"}, "LEVEL"),
        ({"ROW": 1}, "ROW"),
        ({"COLUMN": 7}, "COLUMN"),
        ({"COLUMN": ""}, "COLUMN"),
        ({"STRETCH": "cubic"}, "STRETCH"),
        ({"SCALE": "0"}, "SCALE"),
        ({"SCALE": "zscale", "LIMITS": "1+2"}, "SCALE"),
        ({"LIMITS": "low+high"}, "LIMITS"),
        ({"COLORMAP": "mauve"}, "COLORMAP"),
        ({"MASK": "maybe"}, "MASK"),
    ],
)
def test_tiles_that_are_not_there_are_refused(
    site: Site, more: dict[str, object], named: str
) -> None:
    answer = site.client.get(tile_path(site, **more))
    assert answer.status_code == 400 and named in answer.text
    assert site.client.get("/tiles?ID=ivo://no/such&LEVEL=0&ROW=0&COLUMN=0").status_code == 404


def test_the_layout_tells_where_things_lie(site: Site) -> None:
    path = f"/tiles/layout?ID={quote(site.image_id, safe='')}"
    plain = site.client.get(path).json()
    assert (plain["width"], plain["height"], plain["levels"]) == (240, 200, 1)
    assert plain["target"] is None and plain["sky"]["error_px"] < 0.1
    middle = len(plain["sky"]["x"]) // 2
    lon, lat = (plain["sky"][name][middle][middle] for name in ("lon", "lat"))
    marked = site.client.get(f"{path}&POS={lon}+{lat}").json()
    assert marked["target"] == pytest.approx([119.5, 99.5], abs=0.01)
    outline = np.array(plain["footprint"])
    assert outline.min(axis=0) == pytest.approx([-0.5, -0.5], abs=2)
    assert outline.max(axis=0) == pytest.approx([239.5, 199.5], abs=2)
    assert site.client.get(f"{path}&POS=here").status_code == 400
