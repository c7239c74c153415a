from __future__ import annotations

import numpy as np
import pytest

from app.pixels.image import MaskedImage, bits
from app.pixels.input_map import input_map
from app.pixels.mask_runs import MaskRuns
from app.pixels.outline import fill_between, fill_gaps
from app.pixels.spans import Spans

SHAPE = (83, 150)


def noisy(seed: int, share: float) -> MaskedImage:
    """Masks, missing values and impossible variances at a ``share`` of the pixels."""
    rng = np.random.default_rng(seed)
    flux, variance = rng.normal(size=SHAPE), rng.uniform(1, 2, SHAPE)
    mask = np.where(rng.random(SHAPE) < share, rng.integers(0, 1 << 22, SHAPE), 0)
    flux[rng.random(SHAPE) < share] = np.nan
    variance[rng.random(SHAPE) < share] = 0.0
    variance[rng.random(SHAPE) < share] = np.inf
    mask[:, 100:] |= bits("NO_DATA")
    mask[20:25] |= bits("INTRP")
    return MaskedImage(flux.astype(np.float32), variance.astype(np.float32), mask.astype(np.int32))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.9])
def test_runs_are_the_mask_and_the_usable_pixels(share: float) -> None:
    image = noisy(1, share)
    runs, usable = MaskRuns.of(image), image.usable()
    again, marked = np.full(SHAPE, -1, np.int32), np.ones(SHAPE, np.uint8)
    runs.fill(again)
    runs.mark_usable(marked, 4)
    np.testing.assert_array_equal(again, image.mask)
    np.testing.assert_array_equal(marked, np.where(usable, 5, 1))
    *ends, count = runs.extent(SHAPE[1])
    assert count == usable.sum()
    np.testing.assert_array_equal(fill_between(*ends), fill_gaps(usable))


def test_a_plain_mask_takes_a_run_for_each_row() -> None:
    image = noisy(2, 0.0)
    image.mask[:] = 0
    assert len(MaskRuns.of(image).stop) == SHAPE[0]


class Placed:
    """An exposure on a part of the target."""

    def __init__(self, image: MaskedImage, y: int, x: int) -> None:
        self._image = image
        self.bounds = (y, y + SHAPE[0], x, x + SHAPE[1])

    def mask_runs(self, start: int, stop: int) -> MaskRuns:
        rows = slice(start - self.bounds[0], stop - self.bounds[0])
        part = self._image
        return MaskRuns.of(MaskedImage(part.flux[rows], part.variance[rows], part.mask[rows]))


def test_the_map_has_a_bit_for_each_input_that_is_usable_and_not_left_out() -> None:
    target, rng = (600, 200), np.random.default_rng(3)
    places = [(int(y), int(x)) for y, x in rng.integers(0, 50, (9, 2))]
    inputs = [Placed(noisy(n, 0.02), *place) for n, place in enumerate(places)]
    left_out = rng.random(target) < 0.3
    made = input_map(inputs, target, [None] * 8 + [Spans.from_mask(left_out)])
    assert made.shape == (2, *target)
    for n, (y, x) in enumerate(places):
        wanted = np.zeros(target, np.bool_)
        wanted[y : y + SHAPE[0], x : x + SHAPE[1]] = noisy(n, 0.02).usable()
        wanted &= ~left_out if n == 8 else True
        np.testing.assert_array_equal(made[n // 8] >> n % 8 & 1, wanted)
    assert not (made[1] & 0xFE).any()
