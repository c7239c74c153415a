"""The PSF of a coadd against stars that went through the same warps and stack."""

from __future__ import annotations

import numpy as np
import pytest

from app.errors import CoverageError
from app.pixels.coadd import coadd
from app.pixels.image import MaskedImage
from app.pixels.psf import measure_psf_field
from app.pixels.psf_coadd import CoaddPsf, combine_psfs, warp_psf
from app.pixels.psf_field import Profile, PsfField
from app.pixels.psf_pack import pack_psf, unpack_psf
from app.pixels.warp import warp
from app.pixels.warped import in_memory

REACH_PX = 45
STAMP_PX = 22
WHOLE_PX = 50.0


def star_lattice(truth, target):
    """Noise-free stars of flux 1 on every exposure, at the same 25 places of the target."""
    rng = np.random.default_rng(5)
    lines = np.linspace(110.0, 690.0, 5)
    x, y = np.meshgrid(lines, lines) + rng.uniform(-0.5, 0.5, (2, 5, 5))
    lon, lat = target.pixel_to_sky(x.ravel(), y.ravel())
    images = []
    for seen in truth.observations:
        ny, nx = seen.image.shape
        plane = np.zeros((ny + 2 * REACH_PX, nx + 2 * REACH_PX))
        for at_x, at_y in zip(*seen.grid.sky_to_pixel(lon, lat), strict=True):
            i, j = round(float(at_x)), round(float(at_y))
            if 0 <= i < nx and 0 <= j < ny:
                plane[j : j + 2 * REACH_PX + 1, i : i + 2 * REACH_PX + 1] += seen.psf.stamp(
                    float(at_x), float(at_y), REACH_PX, dx=at_x - i, dy=at_y - j
                )
        inner = plane[REACH_PX:-REACH_PX, REACH_PX:-REACH_PX].astype(np.float32)
        images.append(
            MaskedImage(inner, np.ones_like(inner), np.zeros(inner.shape, dtype=np.int32))
        )
    return x.ravel(), y.ravel(), images


@pytest.fixture(scope="module")
def stacked(truth):
    """(places x, y, coadded stars, measured PSF of the coadd)."""
    target = truth.settings.target_grid()
    x, y, images = star_lattice(truth, target)
    weights = [1.0 / float(np.median(seen.image.variance)) for seen in truth.observations]
    warped = [
        warp(image, seen.grid, target)
        for image, seen in zip(images, truth.observations, strict=True)
    ]
    stars = coadd(in_memory(warped), weights=weights, statistic="mean").image.flux
    parts = []
    for seen, weight in zip(truth.observations, weights, strict=True):
        own = CoaddPsf.of_one(
            measure_psf_field(seen.image), seen.image.shape, name=str(seen.number)
        )
        parts.append(warp_psf(own, seen.grid, target).weighted(weight))
    return x, y, stars, combine_psfs(parts, target.shape)


def whole_places(psf, x, y):
    """Places around which the same inputs reach every pixel of a star."""
    for at_x, at_y in zip(x.tolist(), y.tolist(), strict=True):
        sets = {
            tuple(part.reaches(at_x + dx, at_y + dy) for part in psf.components)
            for dx in (-WHOLE_PX, WHOLE_PX)
            for dy in (-WHOLE_PX, WHOLE_PX)
        }
        if len(sets) == 1:
            yield at_x, at_y


def test_width_and_ellipticity_of_coadded_stars(stacked):
    x, y, stars, psf = stacked
    table = []
    for at_x, at_y in whole_places(psf, x, y):
        i, j = round(at_x), round(at_y)
        seen = stars[j - STAMP_PX : j + STAMP_PX + 1, i - STAMP_PX : i + STAMP_PX + 1]
        model = psf.profile(at_x, at_y).stamp(STAMP_PX, dx=at_x - i, dy=at_y - j)
        true = Profile(seen / seen.sum(dtype=np.float64), 1.0).shape()
        found = Profile(model, 1.0).shape()
        off = np.subtract(found.ellipticity, true.ellipticity)
        table.append((found.fwhm_px / true.fwhm_px - 1.0, *off))
    errors = np.abs(table)
    assert len(errors) >= 8
    assert errors[:, 0].max() < 0.01
    assert errors[:, 1:].max() < 0.005


def test_inputs_contribute_where_their_pixels_are(truth, stacked):
    psf, target = stacked[3], truth.settings.target_grid()
    for at in ((5.0, 5.0), (400.0, 400.0), (795.0, 400.0), (60.0, 740.0)):
        lon, lat = target.pixel_to_sky(*at)
        for part, seen in zip(psf.components, truth.observations, strict=True):
            x, y = (float(v) for v in seen.grid.sky_to_pixel(lon, lat))
            ny, nx = seen.image.shape
            inside = -0.5 < x < nx - 0.5 and -0.5 < y < ny - 0.5
            assert part.reaches(*at) == inside


def test_what_is_packed_is_small_and_the_same(stacked):
    x, y, _, psf = stacked
    packed = pack_psf(psf)
    again = unpack_psf(packed)
    assert packed.basis.nbytes + packed.coefficients.nbytes < 1_000_000
    for at in zip(x[::6].tolist(), y[::6].tolist(), strict=True):
        wanted, found = (each.profile(*at).stamp(STAMP_PX) for each in (psf, again))
        assert np.abs(found - wanted).max() < 3e-4 * wanted.max()
    assert again.typical_shape().fwhm_px == pytest.approx(psf.typical_shape().fwhm_px, rel=1e-3)


def test_a_psf_turns_and_grows_with_the_pixels(tan_grid):
    """Sigma 3 x 2 px along x and y, seen turned by 90 degrees on pixels of half the size."""
    v, u = np.mgrid[-18:19, -18:19]
    stamp = np.exp(-0.5 * ((u / 3.0) ** 2 + (v / 2.0) ** 2))
    source, target = tan_grid((200, 200)), tan_grid((300, 300), scale_arcsec=0.1, rotation_deg=90)
    field = PsfField((stamp / stamp.sum())[None], 0, (0.0, 0.0), (1.0, 1.0))
    warped = warp_psf(CoaddPsf.of_one(field, (200, 200)), source, target)
    shape = warped.profile(150.0, 150.0).shape()
    assert (shape.ixx, shape.iyy) == pytest.approx((16.0, 36.0), rel=0.01)
    assert shape.ixy == pytest.approx(0.0, abs=0.05)


def test_no_overlap_and_no_input_are_told(tan_grid):
    v, u = np.mgrid[-9:10, -9:10]
    stamp = np.exp(-0.5 * (u * u + v * v) / 4.0)
    field = PsfField((stamp / stamp.sum())[None], 0, (0.0, 0.0), (1.0, 1.0))
    own = CoaddPsf.of_one(field, (100, 100))
    assert warp_psf(own, tan_grid((100, 100)), tan_grid((100, 100), lon_deg=151.0)) is None
    assert combine_psfs([], (100, 100)) is None
    shifted = warp_psf(own, tan_grid((100, 100)), tan_grid((100, 100), offset_px=(70.0, 0.0)))
    assert shifted.profile(90.0, 50.0).shape().sigma_px == pytest.approx(2.0, rel=0.01)
    with pytest.raises(CoverageError):
        shifted.profile(40.0, 50.0)
