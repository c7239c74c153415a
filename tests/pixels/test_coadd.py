from __future__ import annotations

import numpy as np
import pytest

from app.errors import CoverageError, ParameterError, RecipeError
from app.pixels.bands import limit_threads
from app.pixels.coadd import coadd as coadd_warped
from app.pixels.coadd import coadd_rows
from app.pixels.coadded import combined_fwhm_px, join_rows, whole_coadd
from app.pixels.image import MaskedImage, bits
from app.pixels.warped import in_memory

SHAPE = (200, 200)


def coadd(images, *args, **options):
    return coadd_warped(in_memory(images), *args, **options)


def aperture(image, x, y, radius=12):
    row, column = round(y), round(x)
    cut = image.flux[row - radius : row + radius + 1, column - radius : column + radius + 1]
    return float(cut.astype(np.float64).sum())


@pytest.mark.parametrize("statistic", ["mean", "meanclip"])
@pytest.mark.parametrize("count", [2, 3, 6, 12])
def test_variance_is_the_scatter(observe, statistic, count):
    rng = np.random.default_rng(count)
    inputs = [observe(np.zeros(SHAPE), rng, noise=n) for n in rng.uniform(5, 15, count)]
    done = coadd(inputs, statistic=statistic)
    pulls = done.image.flux / np.sqrt(done.image.variance)
    assert pulls.std() == pytest.approx(1.0, abs=0.015)
    assert pulls.mean() == pytest.approx(0.0, abs=0.02)
    assert max(done.clipped_fraction) < 0.01
    best = 1.0 / sum(1.0 / image.variance.mean() for image in inputs)
    assert np.median(done.image.variance) == pytest.approx(best, rel=0.01)


def test_weights_are_inverse_variances(observe):
    rng = np.random.default_rng(3)
    inputs = [observe(np.full(SHAPE, 50.0), rng, noise=n, gain=1e9) for n in (4.0, 8.0, 16.0)]
    done = coadd(inputs, statistic="mean")
    np.testing.assert_allclose(np.array(done.weights) * np.array([16.0, 64.0, 256.0]), 1, rtol=1e-3)
    stated = coadd(inputs, weights=[1.0, 0.0, 1.0], statistic="mean")
    middle = 0.5 * (inputs[0].flux + inputs[2].flux)
    np.testing.assert_allclose(stated.image.flux, middle, rtol=1e-6)


@pytest.mark.parametrize("count", [3, 5, 10])
def test_star_fluxes_survive_clipping_when_seeing_differs(paint, observe, count):
    """Without shelter for cores this loses several per cent of bright stars."""
    rng = np.random.default_rng(8)
    stars = np.array(
        [
            [40 + 60 * i + 0.3 * i, 40 + 55 * j, 3e3 * 8 ** (i + j)]
            for i in range(3)
            for j in range(3)
        ]
    )
    seeing = np.linspace(3.0, 5.0, count)
    inputs = [observe(paint(SHAPE, stars, f), rng, gain=2.0, fwhm_px=f) for f in seeing]
    clipped, mean = coadd(inputs), coadd(inputs, statistic="mean")
    for x, y, flux in stars[stars[:, 2] > 2e4]:
        lost = aperture(clipped.image, x, y) / aperture(mean.image, x, y) - 1.0
        assert abs(lost) < 0.003, (x, y, flux)


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_cosmic_rays_are_removed(paint, observe, count):
    rng = np.random.default_rng(count + 40)
    stars = np.array([[60.2, 60.4, 3e4], [140.0, 130.7, 2e5]])
    seeing = rng.uniform(3.3, 4.5, count)
    inputs = [observe(paint(SHAPE, stars, f), rng, fwhm_px=f) for f in seeing]
    clean = coadd(inputs, statistic="mean").image.flux.copy()
    hits = np.zeros((count, *SHAPE), dtype=bool)
    for n, image in enumerate(inputs):
        y, x = rng.integers(5, 195, (2, 60))
        hits[n, y, x] = True
        hits[n] &= np.hypot(*(np.mgrid[:200, :200] - np.array([60, 60])[:, None, None])) > 12
        hits[n] &= np.hypot(*(np.mgrid[:200, :200] - np.array([131, 140])[:, None, None])) > 12
        image.flux[hits[n]] += rng.uniform(300, 30000)
    done = coadd(inputs)
    once = hits.sum(axis=0) == 1
    assert ((done.image.mask[once] & bits("CLIPPED", "INEXACT_PSF")) != 0).mean() > 0.99
    error = np.abs(done.image.flux - clean)[once] / np.sqrt(done.image.variance[once])
    assert np.median(error) < 1.5 and (error < 6).mean() > 0.98


def test_mask_rules(observe):
    rng = np.random.default_rng(1)
    inputs = [observe(np.zeros(SHAPE), rng) for _ in range(3)]
    inputs[0].mask[10, 10] = bits("INTRP")
    inputs[0].mask[20, 20] = bits("BAD")
    inputs[0].mask[30, 30] = bits("EDGE")
    for image in inputs:
        image.mask[40, 40] = bits("SAT")
        image.flux[50, 50] = np.nan
        image.mask[50, 50] = bits("NO_DATA")
    inputs[1].mask[60, 60] = bits("SAT")
    inputs[1].mask[70, 70] = bits("NO_DATA")
    inputs[1].flux[70, 70] = np.nan
    done = coadd(inputs, statistic="mean")
    mask, inexact = done.image.mask, bits("INEXACT_PSF")
    assert mask[10, 10] == bits("INTRP")
    assert mask[20, 20] == bits("REJECTED") | inexact
    assert mask[30, 30] == bits("SENSOR_EDGE") | inexact
    assert mask[40, 40] & bits("NO_DATA") and mask[40, 40] & bits("SAT")
    assert mask[50, 50] == bits("NO_DATA")
    assert np.isnan(done.image.flux[[40, 50], [40, 50]]).all()
    assert mask[60, 60] == bits("SAT", "REJECTED") | inexact
    assert mask[70, 70] == 0
    expected = {(10, 10): 3, (20, 20): 2, (40, 40): 0, (50, 50): 0, (70, 70): 2, (0, 0): 3}
    assert {place: int(done.n_image[place]) for place in expected} == expected


def test_a_nan_variance_does_not_poison(observe):
    rng = np.random.default_rng(2)
    inputs = [observe(np.zeros(SHAPE), rng) for _ in range(4)]
    inputs[2].variance[5, 5] = np.nan
    inputs[3].variance[5, 5] = 0.0
    for statistic in ("mean", "meanclip"):
        done = coadd(inputs, statistic=statistic)
        assert np.isfinite(done.image.flux).all() and done.n_image[5, 5] == 2


def test_empty_inputs_take_no_part(observe):
    rng = np.random.default_rng(2)
    good = observe(np.zeros(SHAPE), rng)
    nothing = MaskedImage(
        np.full(SHAPE, np.nan, np.float32),
        np.full(SHAPE, np.nan, np.float32),
        np.full(SHAPE, 256, np.int32),
    )
    for statistic in ("mean", "meanclip"):
        done = coadd([nothing, good], statistic=statistic)
        assert done.weights[0] == 0.0
        np.testing.assert_allclose(done.image.flux, good.flux, rtol=1e-6)
        with pytest.raises(CoverageError):
            coadd([nothing, nothing], statistic=statistic)
        with pytest.raises(CoverageError):
            coadd([], statistic=statistic)


def test_images_that_do_not_belong_together_are_refused(observe):
    rng = np.random.default_rng(2)
    image = observe(np.zeros(SHAPE), rng, zero_point_mag=31.4)
    with pytest.raises(RecipeError, match="zero point"):
        coadd([image, observe(np.zeros(SHAPE), rng, zero_point_mag=27.0)])
    with pytest.raises(RecipeError, match="zero point"):
        coadd([image, observe(np.zeros(SHAPE), rng)])
    with pytest.raises(RecipeError, match="shapes"):
        coadd([image, observe(np.zeros((9, 9)), rng, zero_point_mag=31.4)])
    with pytest.raises(ParameterError, match="mean, meanclip, median"):
        coadd([image], statistic="mode")
    with pytest.raises(ParameterError, match="weights"):
        coadd([image], weights=[float("nan")])


def test_width_of_the_sum(paint):
    assert combined_fwhm_px([(4.0, 1.0), (4.0, 3.0)]) == pytest.approx(4.0)
    assert combined_fwhm_px([(4.0, 1.0), (None, 1.0)]) is None
    assert combined_fwhm_px([(4.0, 1.0), (None, 0.0)]) == pytest.approx(4.0)
    star = np.array([[30.0, 30.0, 1.0]])
    image = paint((61, 61), star, 3.0, np.inf) + 2.0 * paint((61, 61), star, 5.0, np.inf)
    combined = combined_fwhm_px([(3.0, 1.0), (5.0, 2.0)])
    assert combined is not None
    half = np.interp(30.0 + combined / 2, np.arange(61), image[30])
    assert half == pytest.approx(0.5 * image[30, 30], rel=0.02)


@pytest.mark.parametrize("statistic", ["mean", "meanclip"])
def test_bytes_do_not_depend_on_threads(observe, statistic):
    rng = np.random.default_rng(4)
    inputs = [observe(np.zeros(SHAPE), rng) for _ in range(5)]
    results = []
    for threads in (1, 2, 3):
        with limit_threads(threads):
            results.append(coadd(inputs, statistic=statistic))
    for other in results[1:]:
        assert other.image.flux.tobytes() == results[0].image.flux.tobytes()
        assert other.image.variance.tobytes() == results[0].image.variance.tobytes()
        assert other.image.mask.tobytes() == results[0].image.mask.tobytes()


@pytest.mark.parametrize("statistic", ["mean", "meanclip"])
def test_a_coadd_stacked_again_has_no_holes_where_inputs_were_left_out(observe, statistic):
    """Its CLIPPED and REJECTED pixels hold the mean of the other inputs: they are good values."""
    rng = np.random.default_rng(17)
    inputs = [observe(np.zeros(SHAPE), rng, noise=5.0) for _ in range(4)]
    inputs[0].flux[40:42, 40:60] += 5000.0
    inputs[1].mask[80:82, 40:60] = bits("CR")
    first = coadd(inputs)
    assert (first.image.mask[40:42, 40:60] & bits("CLIPPED")).all()
    assert (first.image.mask[80:82, 40:60] & bits("REJECTED")).all()
    again = coadd([first.image], statistic=statistic)
    assert (again.n_image == 1).all()
    np.testing.assert_allclose(again.image.flux, first.image.flux, rtol=1e-6)
    np.testing.assert_allclose(again.image.variance, first.image.variance, rtol=1e-6)
    told = bits("CLIPPED", "REJECTED", "INEXACT_PSF")
    np.testing.assert_array_equal(again.image.mask & told, first.image.mask & told)


class Runs:
    def __init__(self, plane):
        self.plane = plane

    def rows(self, start, stop, nx):
        assert nx == self.plane.shape[1]
        return self.plane[start:stop]


@pytest.mark.parametrize("statistic", ["mean", "meanclip", "median"])
def test_excluded_pixels_take_no_part_and_count_as_clipped(observe, statistic):
    rng = np.random.default_rng(11)
    inputs = [observe(np.zeros(SHAPE), rng) for _ in range(4)]
    inputs[1].flux[30:40, 50:90] += 45.0
    trail = np.zeros(SHAPE, dtype=bool)
    trail[30:40, 50:90] = True
    done = coadd(inputs, statistic=statistic, excluded=[None, Runs(trail), None, None])
    others = coadd([inputs[0], *inputs[2:]], statistic=statistic)
    np.testing.assert_allclose(done.image.flux[trail], others.image.flux[trail], atol=0.02)
    np.testing.assert_allclose(done.image.variance[trail], others.image.variance[trail], rtol=1e-3)
    assert (done.image.mask[trail] & bits("CLIPPED") != 0).all()
    assert (done.n_image == 4).all()
    assert done.clipped_fraction[1] >= trail.mean()


def test_the_median_is_the_median_and_its_variance_the_scatter(observe):
    rng = np.random.default_rng(12)
    inputs = [observe(np.zeros(SHAPE), rng, noise=8.0) for _ in range(9)]
    done = coadd(inputs, statistic="median")
    expected = np.median([image.flux for image in inputs], axis=0)
    np.testing.assert_allclose(done.image.flux, expected, rtol=1e-5, atol=1e-5)
    pulls = done.image.flux / np.sqrt(done.image.variance)
    assert pulls.std() == pytest.approx(1.0, abs=0.06)


@pytest.fixture
def streaked(paint, observe):
    """Five exposures, one with a column that the others have not, one with a gap."""
    rng = np.random.default_rng(21)
    stars = np.array([[60.2, 60.4, 3e5], [140.0, 99.7, 2e6]])
    inputs = [observe(paint(SHAPE, stars, f), rng, fwhm_px=f) for f in (3.0, 3.4, 4.1, 5.0, 3.7)]
    inputs[2].flux[:, 77] += 900.0
    inputs[3].mask[90:110] = bits("NO_DATA")
    return inputs


def assert_same(one, other):
    for plane in ("flux", "variance", "mask"):
        assert getattr(one.image, plane).tobytes() == getattr(other.image, plane).tobytes()
    assert one.n_image.tobytes() == other.n_image.tobytes()
    assert one.weights == other.weights and one.clipped_fraction == other.clipped_fraction


@pytest.mark.parametrize("statistic", ["mean", "meanclip", "median"])
def test_rows_made_apart_are_those_of_the_whole(streaked, statistic):
    inputs = in_memory(streaked)
    parts = [
        coadd_rows(inputs, rows, statistic=statistic)
        for rows in ((0, 7), (7, 8), (8, 120), (120, SHAPE[0]))
    ]
    joined = whole_coadd(inputs, join_rows(SHAPE, parts), [each.weight for each in inputs])
    assert_same(joined, coadd_warped(inputs, statistic=statistic))


@pytest.mark.parametrize("statistic", ["mean", "meanclip", "median"])
def test_bytes_do_not_depend_on_the_memory(streaked, statistic):
    inputs = streaked
    seen = []

    def remember(done, rows):
        assert rows == SHAPE[0]
        seen.append(done)

    whole = coadd(inputs, statistic=statistic)
    banded = coadd(
        inputs, statistic=statistic, memory_bytes=5 * 12 * 200 * 23, between_bands=remember
    )
    assert len(seen) > 8 and seen == sorted(set(seen))
    assert (banded.image.mask & bits("CLIPPED")).any() == (statistic == "meanclip")
    assert_same(banded, whole)


@pytest.mark.parametrize("count", [1, 2, 3, 17, 33, 70])
def test_sorting_by_network_agrees_with_sorted_values(observe, count):
    """Medians of any number of inputs, some of them missing, are those numpy finds."""
    rng = np.random.default_rng(count)
    inputs = [observe(np.zeros((20, 300)), rng) for _ in range(count)]
    for image in inputs:
        image.mask[rng.random((20, 300)) < 0.3] = bits("BAD")
    cube = np.array([np.where(image.mask != 0, np.nan, image.flux) for image in inputs])
    done = coadd(inputs, statistic="median")
    there = np.isfinite(cube).any(axis=0)
    np.testing.assert_array_equal(np.isfinite(done.image.flux), there)
    expected = np.nanmedian(cube[:, there], axis=0)
    np.testing.assert_allclose(done.image.flux[there], expected, rtol=1e-5, atol=1e-5)
