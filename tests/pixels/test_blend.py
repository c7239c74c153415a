from __future__ import annotations

import numpy as np
import pytest

from app.pixels.blend import blend_mask
from app.pixels.coadd import Statistic, coadd
from app.pixels.image import MASK_PLANES, MaskedImage
from app.pixels.placed import rows_of
from app.pixels.warped import in_memory

SHAPE = (40, 300)


@pytest.mark.parametrize("statistic", ["mean", "median"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3])
def test_masks_made_many_at_a_time_are_those_of_single_pixels(
    statistic: Statistic, share: float
) -> None:
    rng = np.random.default_rng(int(100 * share))
    images = []
    for n in range(7):
        mask = np.zeros(SHAPE, dtype=np.int32)
        for bit in MASK_PLANES.values():
            mask |= np.where(rng.random(SHAPE) < share, 1 << bit, 0).astype(np.int32)
        flux = rng.normal(size=SHAPE).astype(np.float32)
        flux[rng.random(SHAPE) < share] = np.nan
        images.append(MaskedImage(flux, np.full(SHAPE, 1.0 + n, np.float32), mask))
    made = coadd(in_memory(images), statistic=statistic)
    weights = np.array(made.weights, dtype=np.float32) / np.float32(max(made.weights))
    rows, nothing = rows_of(images), np.zeros(len(images), dtype=np.bool_)
    single = [
        [blend_mask(rows, y, x, weights, nothing) for x in range(SHAPE[1])] for y in range(SHAPE[0])
    ]
    np.testing.assert_array_equal(made.image.mask, single)
