from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from app.pixels.adjusted import Adjusted, Surface
from app.pixels.bands import limit_threads
from app.pixels.coadd import coadd
from app.pixels.image import bits
from app.pixels.overlap import differential_backgrounds
from app.pixels.warped import in_memory

SHAPE = (512, 640)


def tilted(observe, field, paint, rng, count):
    """Exposures of one sky, each with a plane of its own added; some see only a part."""
    stars = paint(SHAPE, field(SHAPE, 60, rng), 4.0)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    inputs, planes = [], []
    for n in range(count):
        level, along, up = rng.uniform(-30, 30, 3)
        plane = level + along * (2 * (x + 0.5) / SHAPE[1] - 1) + up * (2 * (y + 0.5) / SHAPE[0] - 1)
        image = observe(stars, rng)
        image.flux[:] += plane.astype(np.float32)
        if n % 3 == 1:
            image.flux[:, 400:], image.mask[:, 400:] = np.nan, bits("NO_DATA")
        if n % 3 == 2:
            image.flux[:200], image.mask[:200] = np.nan, bits("NO_DATA")
        inputs.append(image)
        planes.append(plane)
    return in_memory(inputs), np.array(planes)


@pytest.mark.parametrize("count", [2, 6])
def test_planes_that_differ_between_exposures_are_found(observe, field, paint, count):
    rng = np.random.default_rng(count)
    inputs, planes = tilted(observe, field, paint, rng, count)
    found = np.array([surface.rows(0, SHAPE[0]) for surface in differential_backgrounds(inputs)])
    left = (planes - planes.mean(axis=0)) - (found - found.mean(axis=0))
    assert np.abs(left).max() < 2.0  # planes of up to 90, noise of 10 in each pixel


def test_matched_exposures_stack_without_steps(observe, field, paint):
    rng = np.random.default_rng(7)
    inputs, _ = tilted(observe, field, paint, rng, 6)
    surfaces = differential_backgrounds(inputs)
    matched = [Adjusted(i, background=s) for i, s in zip(inputs, surfaces, strict=True)]
    raw, done = coadd(inputs, statistic="mean"), coadd(matched, statistic="mean")

    def step(image):
        return abs(np.median(image.flux[:, 380:400]) - np.median(image.flux[:, 400:420]))

    assert step(raw.image) > 3.0
    assert step(done.image) < 1.0


class Counted:
    """A warp that counts the rows read from it."""

    def __init__(self, warp):
        self._warp = warp
        self.read = 0

    def __getattr__(self, name):
        return getattr(self._warp, name)

    def rows(self, start, stop):
        self.read += stop - start
        return self._warp.rows(start, stop)


def test_sixty_four_exposures_take_sixteen_times_what_four_take(observe):
    """Rows read grow with the exposures, memory hardly does, and the planes are found."""
    y = np.arange(192)[:, None] * np.ones(256)
    rng = np.random.default_rng(9)
    slopes = rng.uniform(-20, 20, 64)
    images = [observe(np.zeros(y.shape), rng) for _ in slopes]
    for image, slope in zip(images, slopes, strict=True):
        image.flux[:] += (slope * (2 * (y + 0.5) / 192 - 1)).astype(np.float32)

    def matched(count):
        inputs = [Counted(each) for each in in_memory(images[:count])]
        tracemalloc.start()
        surfaces = differential_backgrounds(inputs)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return surfaces, sum(each.read for each in inputs), peak

    with limit_threads(1):
        matched(4)  # what is made once
        _, few_rows, few_bytes = matched(4)
        surfaces, rows, peak = matched(64)
    assert rows == 16 * few_rows
    assert peak < few_bytes + 64 * 12 * 200  # some numbers for each of twelve cells
    found = np.array([surface.coefficients[2] for surface in surfaces])
    np.testing.assert_allclose(found, slopes - slopes.mean(), atol=1.5)


def test_exposures_that_do_not_overlap_stay_as_they_are(observe):
    rng = np.random.default_rng(3)
    images = [observe(np.full(SHAPE, 50.0 * n), rng) for n in range(2)]
    images[0].mask[:, :320] = images[1].mask[:, 320:] = bits("NO_DATA")
    for surface in differential_backgrounds(in_memory(images)):
        assert surface.coefficients == (0.0, 0.0, 0.0)


def test_a_surface_is_its_polynomial():
    surface = Surface((4, 5), 2, (1.0, 2.0, 0.0, 0.0, 3.0, 0.5))
    x, y = (2 * (np.arange(n) + 0.5) / n - 1 for n in (5, 4))
    expected = 1 + 2 * x + 3 * x * y[2] + 0.5 * y[2] ** 2
    np.testing.assert_allclose(surface.rows(2, 3)[0], expected, rtol=1e-6)


def test_a_scaled_exposure_says_so(observe):
    rng = np.random.default_rng(3)
    (warped,) = in_memory([observe(np.zeros((60, 60)), rng, zero_point_mag=25.0)])
    scaled = Adjusted(warped, 4.0)
    assert scaled.weight == pytest.approx(warped.weight / 16) and scaled.zero_point_mag is None
    rows = scaled.rows(10, 20)
    np.testing.assert_allclose(rows.flux, 4 * warped.image.flux[10:20], rtol=1e-6)
    np.testing.assert_allclose(rows.variance, 16 * warped.image.variance[10:20], rtol=1e-6)
