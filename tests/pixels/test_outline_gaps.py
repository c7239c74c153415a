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


def test_the_largest_part_is_followed():
    """Parts that touch at a corner are two; those that meet further up are one."""
    valid = np.zeros((60, 80), dtype=bool)
    valid[5:25, 5:15], valid[5:25, 25:35], valid[25:40, 5:35] = True, True, True
    valid[10:14, 8:12] = False
    valid[40:55, 35:60] = True
    corners = trace_outline(valid)
    assert corners.min(axis=0).tolist() == [4.5, 4.5]
    assert corners.max(axis=0).tolist() == [34.5, 39.5]
    valid[25:55, 35:70] = True
    assert trace_outline(valid).max(axis=0).tolist() == [69.5, 54.5]
    assert trace_outline(np.zeros((5, 6), dtype=bool)) is None
