"""Mask bits spread over a square; coarse pixels are means."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import maximum_filter

from app.pixels.binning import binned
from app.pixels.convolve import or_window
from app.pixels.image import MaskedImage, bits


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.5])
@pytest.mark.parametrize("reach", [0, 1, 3, 10])
def test_bits_reach_as_far_as_the_window(share: float, reach: int) -> None:
    rng = np.random.default_rng(1)
    planes = rng.random((12, 150, 333)) < share
    mask = (planes * (1 << np.arange(12))[:, None, None]).sum(axis=0).astype(np.int32)
    spread = [maximum_filter(plane, 2 * reach + 1, mode="constant") for plane in planes]
    expected = (np.stack(spread) * (1 << np.arange(12))[:, None, None]).sum(axis=0)
    np.testing.assert_array_equal(or_window(mask, reach), expected)


def test_a_coarse_pixel_is_the_mean_of_usable_ones() -> None:
    rng = np.random.default_rng(2)
    flux = rng.normal(size=(7, 8)).astype(np.float32)
    variance = rng.uniform(1, 2, (7, 8)).astype(np.float32)
    mask = np.zeros((7, 8), dtype=np.int32)
    mask[0, 0], flux[2, 3], variance[5, 7] = bits("SAT"), np.nan, 0.0
    coarse = binned(MaskedImage(flux, variance, mask), 2, bits("SAT"))
    assert coarse.shape == (3, 4)
    lost = coarse.mask == bits("NO_DATA")
    assert sorted(zip(*map(np.ndarray.tolist, np.nonzero(lost)), strict=True)) == [
        (0, 0), (1, 1), (2, 3),
    ]  # fmt: skip
    squares = flux[:6].reshape(3, 2, 4, 2).mean(axis=(1, 3))
    noise = variance[:6].reshape(3, 2, 4, 2).sum(axis=(1, 3)) / 16
    np.testing.assert_allclose(coarse.flux[~lost], squares[~lost], rtol=1e-6)
    np.testing.assert_allclose(coarse.variance[~lost], noise[~lost], rtol=1e-6)
    assert not coarse.usable()[lost].any()
