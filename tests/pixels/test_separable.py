from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import convolve2d

from app.pixels.artefacts.ordering import order_rows
from app.pixels.networks import sorting_network
from app.pixels.separable import convolve_plane, from_stamp, gaussian_kernel


def test_a_kernel_of_few_terms_convolves_as_its_stamp():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(50, 61)).astype(np.float32)
    u = np.arange(-7, 8)
    stamp = np.exp(-0.1 * (u[:, None] ** 2 + u[None] ** 2 + 0.7 * u[:, None] * u[None]))
    kernel = from_stamp(stamp, tolerance=1e-6, most=15)
    expected = convolve2d(plane, stamp, mode="same")
    np.testing.assert_allclose(convolve_plane(plane, kernel), expected, atol=1e-4)
    assert kernel.power == pytest.approx((stamp**2).sum(), rel=1e-5)
    assert len(from_stamp(stamp, tolerance=0.05).rows) < len(kernel.rows)


def test_a_gaussian_needs_one_term():
    kernel = gaussian_kernel(5.0)
    assert len(kernel.rows) == 1 and kernel.stamp().sum() == pytest.approx(1.0)
    again = from_stamp(kernel.stamp())
    np.testing.assert_allclose(again.stamp(), kernel.stamp(), atol=1e-7)
    assert len(again.rows) == 1
    assert gaussian_kernel(0.0).stamp().tolist() == [[1.0]]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 16, 33])
def test_medians_and_quartiles_of_what_is_there(count):
    rng = np.random.default_rng(count)
    cube = rng.normal(size=(count, 4, 90)).astype(np.float32)
    cube[rng.random(cube.shape) < 0.2] = np.nan
    cube[:, 0, 0] = np.nan
    centre, scatter = np.empty((2, 4, 90), dtype=np.float32)
    held = np.empty((4, 90), dtype=np.int32)
    order_rows(cube, sorting_network(count), centre, scatter, held)
    assert np.array_equal(held, np.isfinite(cube).sum(axis=0))
    for y, x in np.ndindex(4, 90):
        values = np.sort(cube[:, y, x][np.isfinite(cube[:, y, x])])
        if values.size == 0:
            assert np.isnan(centre[y, x])
            continue
        middle = values[0] if values.size == 2 else np.median(values)
        assert centre[y, x] == pytest.approx(middle, abs=1e-6)
        if values.size > 3:
            low, high = np.percentile(values, [25, 75])
            assert scatter[y, x] == pytest.approx(0.7413 * (high - low), abs=1e-5)
