from __future__ import annotations

import numpy as np
import pytest

from app.pixels.spans import Spans, union

SHAPE = (37, 53)


def scattered(seed: int, share: float = 0.3) -> np.ndarray:
    return np.random.default_rng(seed).random(SHAPE) < share


@pytest.mark.parametrize("share", [0.0, 0.05, 0.6, 1.0])
def test_a_mask_comes_back_whole_and_by_rows(share):
    mask = scattered(1, share)
    spans = Spans.from_mask(mask)
    assert spans.count == mask.sum()
    np.testing.assert_array_equal(spans.rows(0, 37, 53), mask)
    np.testing.assert_array_equal(spans.rows(11, 20, 53), mask[11:20])
    assert {a.dtype for a in (spans.y, spans.x_start, spans.x_stop)} == {np.dtype(np.int32)}


def test_bands_of_a_mask_keep_their_place():
    mask = scattered(2)
    parts = [Spans.from_mask(mask[y : y + 10], first_row=y) for y in range(0, 37, 10)]
    np.testing.assert_array_equal(union(parts).rows(0, 37, 53), mask)


def test_a_union_holds_each_pixel_once():
    masks = [scattered(seed, 0.4) for seed in range(4)]
    together = union(Spans.from_mask(mask) for mask in masks)
    whole = np.logical_or.reduce(masks)
    np.testing.assert_array_equal(together.rows(0, 37, 53), whole)
    assert together.count == whole.sum()
    assert len(together) == len(Spans.from_mask(whole))


def test_a_run_never_joins_the_next_row():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[4, 50:], mask[5, :3] = True, True
    spans = Spans.from_mask(mask)
    assert list(zip(spans.y, spans.x_start, spans.x_stop, strict=True)) == [(4, 50, 53), (5, 0, 3)]


def test_nothing_is_an_empty_set():
    assert Spans.empty().count == 0 and union([]).count == 0
    assert not Spans.empty().rows(0, 4, 5).any()
