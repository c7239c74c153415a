from __future__ import annotations

import numpy as np

from app.pixels.outline import fill_gaps, trace_outline


def test_bad_columns_and_rows_do_not_cut_an_image_in_two():
    valid = np.zeros((60, 80), dtype=bool)
    valid[10:50, 20:70] = True
    whole = valid.copy()
    valid[:, 40:44], valid[30, 50:], valid[20:25, 60:65] = False, False, False
    assert np.array_equal(fill_gaps(valid), whole)
    corners = trace_outline(fill_gaps(valid))
    assert corners.min(axis=0).tolist() == [19.5, 9.5] and corners.max(axis=0).tolist() == [
        69.5,
        49.5,
    ]
    assert not fill_gaps(np.zeros((5, 6), dtype=bool)).any()


def test_a_turned_image_stays_what_it_is():
    y, x = np.mgrid[:90, :90] - 45
    diamond = np.abs(x) + np.abs(y) < 40
    assert np.array_equal(fill_gaps(diamond), diamond)
