from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from app.pixels.artefacts.footprints import Footprints, grow
from app.pixels.spans import Spans

SHAPE = (60, 70)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.45, 0.9])
def test_labels_are_those_of_a_flood_fill(share):
    mask = np.random.default_rng(3).random(SHAPE) < share
    found = Footprints.of(Spans.from_mask(mask))
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    assert found.count == count
    assert sorted(found.areas()) == sorted(np.bincount(labels[labels > 0])[1:])
    other = np.random.default_rng(4).random(SHAPE) < 0.5
    expected = ndimage.sum_labels(other, labels, np.arange(1, count + 1))
    assert sorted(found.count_in(other)) == sorted(expected.astype(int))


def test_a_choice_of_footprints_keeps_theirs():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[5:8, 5:8], mask[20, 10:40], mask[50, 60] = True, True, True
    found = Footprints.of(Spans.from_mask(mask))
    large = found.keep(found.areas() > 5)
    assert large.count == 2 and large.areas().tolist() == [9, 30]
    assert found.select(found.areas() == 1).rows(50, 51, 70)[0, 60]
    assert found.select(found.areas() > 100).count == 0


@pytest.mark.parametrize("radius", [0.0, 1.0, 1.5, 3.2])
def test_growth_is_a_disc(radius):
    mask = np.random.default_rng(5).random(SHAPE) < 0.01
    mask[0, 0] = mask[-1, -1] = True
    distance = ndimage.distance_transform_edt(~mask)
    grown = grow(Spans.from_mask(mask), radius, SHAPE).rows(0, *SHAPE)
    assert np.array_equal(grown, distance <= radius)


def test_nothing_grows_to_nothing():
    assert grow(Spans.empty(), 3.0, SHAPE).count == 0
    assert Footprints.of(Spans.empty()).count == 0
