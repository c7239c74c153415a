"""Where a template at a position lies: the patch, and the window of it that inputs can fill."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from app.errors import CoverageError, RecipeError
from app.pixels.grid import Grid
from app.recipes.target import choose_patch, cut, cut_to_inputs, grown, patch_grid
from app.sky.shapes import Circle, Point
from app.sky.skymap import SkyMap
from tests.machine import SHARED

SKYMAP = SkyMap(
    pixel_scale_arcsec=0.4, patch_px=400, patch_border_px=20, tract_patches=60, rings=80
)


def small_grid(lon_deg: float, lat_deg: float, size_px: int = 60) -> Grid:
    """An image around a position."""
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = lon_deg, lat_deg
    header["CRPIX1"] = header["CRPIX2"] = (size_px + 1) / 2
    header["CDELT1"], header["CDELT2"] = -0.4 / 3600, 0.4 / 3600
    return Grid.from_header(header, (size_px, size_px))


@pytest.mark.parametrize("lat_deg", [-89.999, -45.3, 0.0, 2.0, 60.7, 89.999])
@pytest.mark.parametrize("lon_deg", [0.0, 123.4, 359.99])
def test_every_position_has_one_patch_that_holds_it(lon_deg: float, lat_deg: float) -> None:
    patch = choose_patch(SKYMAP, Point(lon_deg, lat_deg))
    x, y = (float(v) for v in patch_grid(patch).sky_to_pixel(lon_deg, lat_deg))
    ny, nx = patch.shape
    assert -0.5 <= x < nx - 0.5 and -0.5 <= y < ny - 0.5
    again = choose_patch(SKYMAP, Circle(lon_deg, lat_deg, 1e-7))
    assert (again.tract, again.patch) == (patch.tract, patch.patch)


def test_a_region_larger_than_its_patch_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"reaches beyond patch .* and \d+ more") as caught:
        choose_patch(SKYMAP, Circle(150.0, 2.0, 0.1))
    first = SKYMAP.find_patches(Circle(150.0, 2.0, 0.1))[0]
    assert f"patch by patch: TRACT={first.tract} PATCH={first.patch}, " in str(caught.value)


def test_a_window_keeps_its_place_on_the_sky_and_in_the_tract() -> None:
    grid = patch_grid(choose_patch(SKYMAP, Point(150.0, 2.0)))
    window = cut(grid, (30, 90, 50, 150))
    assert window.shape == (60, 100)
    x, y = (float(v) for v in grid.sky_to_pixel(150.0, 2.0))
    assert [float(v) for v in window.sky_to_pixel(150.0, 2.0)] == pytest.approx([x - 50, y - 30])
    whole, part = WCS(grid.fits_header(), key="A"), WCS(window.fits_header(), key="A")
    assert part.wcs_pix2world([[0, 0]], 0).tolist() == whole.wcs_pix2world([[50, 30]], 0).tolist()
    assert window.fits_header()["LTV1"] == grid.fits_header()["LTV1"] - 50


def test_the_window_holds_all_that_the_inputs_reach() -> None:
    patch = choose_patch(SKYMAP, Point(150.0, 2.0))
    lon, lat = (float(v) for v in patch_grid(patch).pixel_to_sky(200, 150))
    inputs = [small_grid(lon, lat), small_grid(lon - 0.005, lat + 0.002)]
    window = cut_to_inputs(patch_grid(patch), inputs)
    assert window.shape[0] < 120 and window.shape[1] < 150
    ny, nx = window.shape
    for each in inputs:
        for corner in each.footprint().vertices:
            x, y = (float(v) for v in window.sky_to_pixel(*corner))
            assert -0.5 <= x <= nx - 0.5 and -0.5 <= y <= ny - 0.5


def test_inputs_elsewhere_give_no_window() -> None:
    with pytest.raises(CoverageError):
        cut_to_inputs(patch_grid(choose_patch(SKYMAP, Point(150.0, 2.0))), [small_grid(200, 2)])


@pytest.mark.needs("shared")
@pytest.mark.parametrize(
    "name", ["dss.14.29.56-62.41.05.fits.gz", "tnx.fits", "tpv_odd.fits", "sipsample.fits"]
)
def test_a_border_moves_no_pixel_on_the_sky(name: str) -> None:
    with fits.open(SHARED / "realdata" / "odd_headers" / name) as hdus:
        grid = Grid.from_header(hdus[0].header, hdus[0].shape)
    wide = grown(grid, 20)
    ny, nx = grid.shape
    assert wide.shape == (ny + 40, nx + 40)
    x, y = np.meshgrid(np.linspace(0, nx - 1, 5), np.linspace(0, ny - 1, 5))
    at = wide.sky_to_pixel(*grid.pixel_to_sky(x, y))
    assert np.allclose(at, (x + 20, y + 20), atol=1e-6)
