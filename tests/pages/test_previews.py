"""Pictures of images: orientation, marks, stretch, cache."""

from __future__ import annotations

import io
import math
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from astropy.wcs import WCS
from numpy.typing import NDArray
from PIL import Image

from app.pages.position import format_position
from app.pixels.composite import (
    Channel,
    CoarseGrid,
    mean_of_squares,
    on_squares,
    paint_composite,
)
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage, bits
from app.pixels.preview import (
    NO_DATA_COLOUR,
    TARGET_COLOUR,
    Light,
    PreviewOptions,
    render_preview,
    sky_directions,
)
from app.sky.shapes import Point
from app.stores.file_cache import FileCache
from tests.pages.conftest import Site


def make_grid(
    rotation_deg: float = 0.0, shape: tuple[int, int] = (60, 80), dec: float = 20.0
) -> Grid:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, dec]
    wcs.wcs.crpix = [shape[1] / 2 + 0.5, shape[0] / 2 + 0.5]
    scale, angle = 0.5 / 3600, math.radians(rotation_deg)
    wcs.wcs.cd = scale * np.array(
        [[-math.cos(angle), math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    return Grid.from_header(wcs.to_header(), shape)


def make_image(shape: tuple[int, int] = (60, 80)) -> MaskedImage:
    rng = np.random.default_rng(3)
    flux = rng.normal(0, 1, shape).astype(np.float32)
    return MaskedImage(flux, np.ones(shape, np.float32), np.zeros(shape, np.int32))


def draw(image: MaskedImage, grid: Grid, **options: object) -> NDArray[np.uint8]:
    settings = PreviewOptions(**({"side_px": 800, "compass": False} | options))  # type: ignore[arg-type]

    def read(start: int, stop: int, *, masked: bool = True) -> Light:
        mask = image.mask if masked else np.zeros_like(image.mask)
        return image.flux[start:stop], mask[start:stop]

    png = render_preview(read, grid, settings)
    return np.array(Image.open(io.BytesIO(png)).convert("RGB"))


def test_the_first_row_is_at_the_bottom() -> None:
    image = make_image()
    image.flux[5, 70] = 1e4
    pixels = draw(image, make_grid())
    assert pixels.shape == (600, 800, 3)
    y, x = np.unravel_index(pixels[..., 0].argmax(), pixels.shape[:2])
    assert 700 <= x < 710 and 540 <= y < 550


def test_no_data_has_its_own_colour() -> None:
    image = make_image()
    image.flux[:30, :40] = np.nan
    pixels = draw(image, make_grid())
    assert np.all(pixels[305:, :395] == NO_DATA_COLOUR)
    assert not np.any(np.all(pixels[:295] == NO_DATA_COLOUR, axis=2))


@pytest.mark.parametrize("rotation_deg", [0.0, 90.0, 217.0])
def test_arrows_point_north_and_east(rotation_deg: float) -> None:
    grid = make_grid(rotation_deg)
    (nx, ny), (ex, ey) = sky_directions(grid)
    x0, y0 = 39.5, 29.5
    lon, lat = grid.pixel_to_sky([x0, x0 + 10 * nx, x0 + 10 * ex], [y0, y0 + 10 * ny, y0 + 10 * ey])
    assert lat[1] - lat[0] == pytest.approx(5 / 3600, rel=1e-3)
    assert (lon[2] - lon[0]) * math.cos(math.radians(20)) == pytest.approx(5 / 3600, rel=1e-3)


def test_arrows_at_the_pole_and_far_out_are_drawn() -> None:
    for dec in (90.0, -90.0, 89.9999):
        assert draw(make_image(), make_grid(dec=dec), compass=True).shape == (600, 800, 3)


def test_the_target_is_circled_where_it_is() -> None:
    grid = make_grid(30.0)
    lon, lat = (float(c) for c in grid.pixel_to_sky(20.0, 40.0))
    pixels = draw(make_image(), grid, target=Point(lon, lat))
    y, x = np.nonzero(np.all(pixels == TARGET_COLOUR, axis=2))
    assert (x.min() + x.max()) / 2 == pytest.approx(205, abs=1.5)
    assert (y.min() + y.max()) / 2 == pytest.approx(600 - 405, abs=1.5)


def test_differences_are_grey_where_nothing_changed() -> None:
    image = make_image()
    image.flux[10, 10], image.flux[50, 10] = 100.0, -100.0
    pixels = draw(image, make_grid(), stretch="symmetric")[..., 0].astype(int)
    assert abs(int(np.median(pixels)) - 127) <= 4
    assert pixels[600 - 105, 105] == 255 and pixels[600 - 505, 105] == 0


def test_the_mask_is_painted_over() -> None:
    image = make_image()
    image.mask[20, 30] = bits("SAT")
    plain, painted = draw(image, make_grid()), draw(image, make_grid(), mask_overlay=True)
    changed = np.any(plain != painted, axis=2)
    assert changed[600 - 205, 305] and changed.sum() == 100


@pytest.mark.parametrize("fill", [0.0, np.nan, np.inf, 7.0])
def test_flat_and_empty_images_are_drawn(fill: float) -> None:
    image = MaskedImage(
        np.full((60, 80), fill, np.float32),
        np.zeros((60, 80), np.float32),
        np.zeros((60, 80), np.int32),
    )
    for stretch in ("asinh", "symmetric"):
        assert draw(image, make_grid(), stretch=stretch).shape == (600, 800, 3)


def test_a_preview_is_served_and_kept(site: Site) -> None:
    lon, lat = site.truth.centre_deg
    path = f"/previews?ID={quote(site.image_id, safe='')}&POS={lon}+{lat}"
    first = site.client.get(path)
    assert first.status_code == 200 and first.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(first.content)).size == (900, 750)
    kept = list((site.data_dir / "cache" / "previews").glob("*.png"))
    assert first.content in [p.read_bytes() for p in kept]
    assert site.client.get(path).content == first.content
    assert site.client.get(path + "&MASK=1").content != first.content
    small = site.client.get(path + "&SIZE=320")
    assert Image.open(io.BytesIO(small.content)).size == (320, 267)


@pytest.mark.parametrize("query", ["SIZE=99999", "SIZE=big", "SIZE=1", "POS=here"])
def test_wrong_preview_parameters_are_refused(site: Site, query: str) -> None:
    answer = site.client.get(f"/previews?ID={quote(site.image_id, safe='')}&{query}")
    assert answer.status_code == 400 and query.split("=", maxsplit=1)[0] in answer.text


def test_the_cache_renders_once_and_stays_small(tmp_path: Path) -> None:
    cache = FileCache(folder=tmp_path, max_bytes=250, suffix=".png")
    made: list[str] = []

    def render(name: str) -> bytes:
        made.append(name)
        return name.encode() * 100

    for name in ("a", "b", "a", "c", "d"):
        assert cache.get(name, lambda name=name: render(name)) == name.encode() * 100
    assert made == ["a", "b", "c", "d"]
    assert sum(p.stat().st_size for p in tmp_path.glob("*.png")) <= 250
    cache.get("d", lambda: render("again"))
    assert "again" not in made


def test_processes_that_share_a_folder_keep_to_its_bound(tmp_path: Path) -> None:
    caches = [FileCache(folder=tmp_path, max_bytes=10_000, suffix=".png") for _ in range(3)]
    for number in range(300):
        caches[number % 3].get(str(number), lambda: b"x" * 100)
        assert sum(path.stat().st_size for path in tmp_path.glob("*.png")) <= 10_000
    for number in (298, 299):  # what was used last is kept
        assert caches[0].get(str(number), lambda: b"made again") == b"x" * 100


def test_a_failed_rendering_leaves_nothing(tmp_path: Path) -> None:
    cache = FileCache(folder=tmp_path, max_bytes=250, suffix=".png")

    def fail() -> bytes:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get("a", fail)
    assert cache.get("a", lambda: b"x") == b"x"


def test_positions_are_written_shortly() -> None:
    assert format_position(Point(62.0, -37.5)) == "62 -37.5"
    assert format_position(Point(0.0, 0.0)) == "0 0"
    assert format_position(Point(100.0, 10.0)) == "100 10"


def star(x: float, y: float, shape: tuple[int, int] = (60, 80)) -> NDArray[np.float32]:
    v, u = np.mgrid[: shape[0], : shape[1]]
    noise = np.random.default_rng(5).normal(0, 1, shape)
    return (noise + 200 * np.exp(-((u - x) ** 2 + (v - y) ** 2) / 50)).astype(np.float32)


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("rotation_deg", [0.0, 40.0])
def test_channels_of_other_grids_meet_on_the_sky(rotation_deg: float, step: int) -> None:
    """A star at one place of the sky in all three is white, one that only red has is red."""
    grid, other = make_grid(), make_grid(rotation_deg)
    lon, lat = grid.pixel_to_sky(30.0, 25.0)
    x, y = (float(each) for each in other.sky_to_pixel(lon, lat))
    red = star(30.0, 25.0) + star(60.0, 40.0)
    squares = CoarseGrid(grid, step)
    channels = [
        on_squares(Channel(flux, own), squares)
        for flux, own in ((red, grid), (star(x, y), other), (star(x, y), other))
    ]
    rgb = paint_composite(channels, no_data=NO_DATA_COLOUR).astype(int)
    assert rgb.shape == (-(-60 // step), -(-80 // step), 3)
    white, coloured = rgb[25 // step, 30 // step], rgb[40 // step, 60 // step]
    assert white.min() > 120 and np.ptp(white) < 20
    assert coloured[0] > 150 and coloured[1:].max() < 60


def test_what_no_channel_has_is_told_from_dark_sky() -> None:
    flux = star(30.0, 25.0)
    flux[:10] = np.nan
    part = flux.copy()
    part[:20] = np.nan
    rgb = paint_composite([flux, flux, part], no_data=NO_DATA_COLOUR)
    assert np.all(rgb[:10] == NO_DATA_COLOUR)
    assert not np.any(np.all(rgb[10:] == NO_DATA_COLOUR, axis=2))
    empty = np.full((5, 6), np.nan, np.float32)
    assert np.all(paint_composite([empty] * 3, no_data=NO_DATA_COLOUR) == NO_DATA_COLOUR)


def test_means_of_squares_are_those_of_what_there_is() -> None:
    flux = np.arange(35, dtype=np.float32).reshape(5, 7)
    flux[0, 1] = np.nan
    flux[4, 6] = np.inf
    means = mean_of_squares(flux, 2)
    assert means.shape == (3, 4)
    assert means[0, 0] == pytest.approx((0 + 7 + 8) / 3)
    assert means[1, 3] == pytest.approx((20 + 27) / 2)
    assert np.isnan(means[2, 3])


def test_a_composite_is_served(site: Site) -> None:
    query = "SELECT lsst_band, obs_publisher_did FROM ivoa.ObsCore WHERE calib_level = 2"
    asked = {"LANG": "ADQL", "QUERY": query, "FORMAT": "json"}
    ids = [name for _, name in site.client.get("/tap/sync", params=asked).json()["data"]][:3]
    answer = site.client.get("/composites", params={"ID": ids, "SIZE": "300"})
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    assert max(Image.open(io.BytesIO(answer.content)).size) == 300
    turned = site.client.get("/composites", params={"ID": ids[::-1], "SIZE": "300"})
    assert turned.content == answer.content  # the longest wavelength is red, in whatever order
    softer = site.client.get("/composites", params={"ID": ids, "SIZE": "300", "Q": "1"})
    assert softer.content != answer.content


@pytest.mark.parametrize(
    ("more", "named"),
    [({}, "ID"), ({"Q": "0"}, "Q"), ({"Q": "x"}, "Q"), ({"SIZE": "5"}, "SIZE")],
)
def test_wrong_composites_are_refused(site: Site, more: dict[str, str], named: str) -> None:
    ids = [site.image_id] * (3 if more else 2)
    answer = site.client.get("/composites", params={"ID": ids, **more})
    assert answer.status_code == 400 and named in answer.text
    unknown = site.client.get("/composites", params={"ID": ["ivo://no/such?x"] * 3})
    assert unknown.status_code == 404


def test_large_images_are_drawn_as_their_pixels_would_be() -> None:
    """Squares are as good as all pixels: the mean of what each would look like."""
    image = make_image((173, 211))
    v, u = np.mgrid[:173, :211]
    image.flux[:] = np.sin(u / 15) + np.cos(v / 12)
    image.flux[:7] = np.nan
    image.mask[60:80, 150:160] = bits("CR")
    grid = make_grid(shape=(173, 211))
    for side_px in (70, 50):
        small = draw(image, grid, side_px=side_px, mask_overlay=True).astype(int)
        whole = Image.fromarray(draw(image, grid, side_px=211, mask_overlay=True))
        expected = np.array(whole.resize(small.shape[1::-1], Image.Resampling.BOX)).astype(int)
        assert np.abs(small - expected).mean() < 2
