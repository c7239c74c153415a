from __future__ import annotations

import numpy as np
import pytest

from app.errors import ParameterError
from app.pixels.bands import limit_threads
from app.pixels.image import MaskedImage, bits
from app.pixels.mapping import map_pixels
from app.pixels.warp import warp

NO_DATA, EDGE, SAT = bits("NO_DATA"), bits("EDGE"), bits("SAT")
STARS = np.array([[150.3, 150.7, 1e4], [100.2, 180.1, 2e4], [200.0, 90.5, 1e5]])
GRIDS = [
    {"rotation_deg": -17.0, "scale_arcsec": 0.23},
    {"rotation_deg": 33.0, "scale_arcsec": 0.17},
    {"rotation_deg": 8.0, "flipped": True},
    {"offset_px": (3.37, -2.81)},
]


def noiseless(sky):
    flux = sky.astype(np.float32)
    return MaskedImage(flux, np.ones_like(flux), np.zeros(flux.shape, np.int32), fwhm_px=4.0)


@pytest.mark.parametrize("target", GRIDS)
@pytest.mark.parametrize("kernel", ["lanczos3", "lanczos5"])
def test_flux_and_position_survive(tan_grid, paint, target, kernel):
    source_grid, target_grid = (
        tan_grid((300, 300), rotation_deg=5.0),
        tan_grid((400, 400), **target),
    )
    image = noiseless(paint((300, 300), STARS, 4.0, beta=np.inf))
    warped = warp(image, source_grid, target_grid, kernel=kernel)
    v, u = np.mgrid[-14:15, -14:15]
    for x, y, flux in STARS:
        sky = source_grid.pixel_to_sky(np.array([x]), np.array([y]))
        tx, ty = (float(value[0]) for value in target_grid.sky_to_pixel(*sky))
        column, row = round(tx), round(ty)
        cut = warped.flux[row - 14 : row + 15, column - 14 : column + 15].astype(np.float64)
        assert cut.sum() == pytest.approx(flux, rel=1e-3)
        assert (cut * u).sum() / cut.sum() + column == pytest.approx(tx, abs=0.005)
        assert (cut * v).sum() / cut.sum() + row == pytest.approx(ty, abs=0.005)
    scale = target.get("scale_arcsec", 0.2)
    assert warped.fwhm_px == pytest.approx(4.0 * 0.2 / scale, rel=1e-3)


def test_round_trip_gives_the_image_back(tan_grid, paint):
    here, there = tan_grid((300, 300)), tan_grid((420, 420), rotation_deg=25.0, scale_arcsec=0.18)
    image = noiseless(paint((300, 300), STARS, 4.0))
    back = warp(warp(image, here, there), there, here)
    inner = np.s_[20:-20, 20:-20]
    assert np.abs(back.flux[inner] - image.flux[inner]).max() < 0.008 * image.flux.max()
    assert back.flux[inner].sum() == pytest.approx(image.flux[inner].sum(), rel=1e-3)


def test_variance_is_the_scatter_of_realisations(tan_grid):
    here, there = tan_grid((120, 120)), tan_grid((110, 110), rotation_deg=12.0, scale_arcsec=0.21)
    rng = np.random.default_rng(5)
    slope = np.linspace(1.0, 4.0, 120)[None, :] * np.ones((120, 1))
    fluxes = []
    for _ in range(200):
        flux = rng.normal(size=(120, 120)) * np.sqrt(slope)
        image = MaskedImage(
            flux.astype(np.float32), slope.astype(np.float32), np.zeros((120, 120), np.int32)
        )
        warped = warp(image, here, there)
        fluxes.append(warped.flux)
    ratio = np.var(fluxes, axis=0) / warped.variance
    good = warped.mask == 0
    assert ratio[good].mean() == pytest.approx(1.0, abs=0.01)
    assert ratio[:, :55][good[:, :55]].mean() == pytest.approx(1.0, abs=0.02)


def test_same_grid_and_whole_pixel_shifts_copy(tan_grid, paint):
    image = noiseless(paint((300, 300), STARS, 3.0))
    image.mask[5, 5] = SAT
    same = warp(image, tan_grid((300, 300)), tan_grid((300, 300)))
    assert np.array_equal(same.flux, image.flux) and np.array_equal(same.mask, image.mask)
    moved = warp(image, tan_grid((300, 300)), tan_grid((300, 300), offset_px=(7.0, -4.0)))
    np.testing.assert_array_equal(moved.flux[:-4, 7:], image.flux[4:, :-7])
    assert (moved.mask[-4:] == NO_DATA).all() and np.isnan(moved.flux[-4:]).all()


def test_absent_pixels_do_not_smear(tan_grid, paint):
    here, there = tan_grid((300, 300)), tan_grid((300, 300), offset_px=(0.5, 0.5))
    image = noiseless(100.0 + paint((300, 300), STARS, 4.0))
    clean = warp(image, here, there)
    image.flux[40, 40] = np.nan
    image.flux[60, 60], image.mask[60, 60] = 1e9, NO_DATA
    image.variance[80, 80] = np.inf
    holed = warp(image, here, there)
    missing = np.isnan(holed.flux)
    assert ((holed.mask & NO_DATA) != 0)[missing].all()
    assert np.isnan(holed.variance[missing]).all()
    assert missing[5:-5, 5:-5].sum() <= 3
    np.testing.assert_allclose(holed.flux[~missing], clean.flux[~missing], rtol=0.01, atol=0.5)
    around = holed.mask[35:45, 35:45]
    assert ((around & (EDGE | NO_DATA)) != 0).sum() == 36


def test_mask_bits_reach_every_pixel_they_touch(tan_grid):
    here, there = tan_grid((60, 60)), tan_grid((60, 60), offset_px=(0.4, 0.3))
    image = noiseless(np.ones((60, 60)))
    image.mask[30, 30] = bits("CR", "INTRP")
    image.flux[30, 30] = 1e6
    warped = warp(image, here, there)
    touched = np.abs(warped.flux - 1.0) > 1e-3
    marked = (warped.mask & bits("CR")) != 0
    inner = np.s_[6:-6, 6:-6]
    assert marked.sum() == 36 and not (touched & ~marked)[inner].any()
    assert ((warped.mask & bits("INTRP")) != 0).sum() == 36


def test_flags_leave_values_alone(tan_grid, paint):
    here, there = tan_grid((300, 300)), tan_grid((320, 320), rotation_deg=17.0)
    image = noiseless(100.0 + paint((300, 300), STARS, 4.0))
    clean = warp(image, here, there)
    rng = np.random.default_rng(2)
    image.mask[rng.random((300, 300)) < 0.05] = SAT
    flagged = warp(image, here, there)
    assert ((flagged.mask & SAT) != 0).mean() > 0.5
    np.testing.assert_array_equal(flagged.mask & ~SAT, clean.mask)
    np.testing.assert_array_equal(flagged.flux, clean.flux)
    np.testing.assert_array_equal(flagged.variance, clean.variance)


def test_borders_are_edge_and_outside_is_no_data(tan_grid):
    image = noiseless(np.full((60, 60), 7.0))
    warped = warp(image, tan_grid((60, 60)), tan_grid((100, 100), offset_px=(0.3, 0.3)))
    assert (warped.mask[:18] == NO_DATA).all()
    inside = (warped.mask & NO_DATA) == 0
    assert inside.sum() == 60 * 60
    np.testing.assert_allclose(warped.flux[inside], 7.0, rtol=1e-5)
    assert ((warped.mask & EDGE) != 0).sum() == 60 * 60 - 55 * 55


@pytest.mark.parametrize("lon, lat", [(151.0, 2.0), (330.0, -2.0), (150.0, -80.0)])
def test_far_targets_have_no_data_and_cost_no_positions(tan_grid, lon, lat):
    source, target = tan_grid((300, 300)), tan_grid((300, 300), lon_deg=lon, lat_deg=lat)
    assert map_pixels(source, target) is None
    warped = warp(noiseless(np.ones((300, 300))), source, target)
    assert (warped.mask == NO_DATA).all() and np.isnan(warped.flux).all()


def test_a_small_image_is_found_in_a_large_target(tan_grid):
    source = tan_grid((40, 40), lon_deg=150.02, lat_deg=2.03)
    pixel_map = map_pixels(source, tan_grid((2000, 2000), rotation_deg=3.0))
    assert pixel_map is not None
    assert (pixel_map.y_stop - pixel_map.y_start) * (pixel_map.x_stop - pixel_map.x_start) < 60 * 60


def test_distorted_positions_are_within_a_thousandth(tan_grid):
    header = tan_grid((1000, 1000)).fits_header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    header["A_ORDER"] = header["B_ORDER"] = 3
    header["A_2_0"], header["A_0_3"], header["B_1_1"], header["B_3_0"] = 8e-6, 2e-8, -6e-6, 1e-8
    source = type(tan_grid((5, 5))).from_header(header, (1000, 1000))
    target = tan_grid((900, 900), rotation_deg=30.0)
    pixel_map = map_pixels(source, target)
    assert pixel_map is not None
    rng = np.random.default_rng(1)
    x, y = rng.uniform(100, 800, (2, 500))
    true_x, true_y = source.sky_to_pixel(*target.pixel_to_sky(x, y))
    column, row = (
        (x - pixel_map.x_start) / pixel_map.step_px,
        (y - pixel_map.y_start) / pixel_map.step_px,
    )
    i, j = column.astype(int), row.astype(int)
    a, b = column - i, row - j
    for nodes, truth in ((pixel_map.x, true_x), (pixel_map.y, true_y)):
        top = nodes[j, i] * (1 - a) + nodes[j, i + 1] * a
        low = nodes[j + 1, i] * (1 - a) + nodes[j + 1, i + 1] * a
        assert np.abs(top * (1 - b) + low * b - truth).max() < 1e-3


def test_bytes_do_not_depend_on_threads(tan_grid, paint):
    here, there = tan_grid((300, 300)), tan_grid((310, 290), rotation_deg=40.0)
    image = noiseless(paint((300, 300), STARS, 4.0))
    results = []
    for threads in (1, 2, 3):
        with limit_threads(threads):
            results.append(warp(image, here, there))
    for other in results[1:]:
        for plane in ("flux", "variance", "mask"):
            assert getattr(results[0], plane).tobytes() == getattr(other, plane).tobytes()


def test_unknown_kernel_is_refused(tan_grid):
    with pytest.raises(ParameterError, match="lanczos3, lanczos5, bilinear"):
        warp(noiseless(np.ones((9, 9))), tan_grid((9, 9)), tan_grid((9, 9)), kernel="cubic")
