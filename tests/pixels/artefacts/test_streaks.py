"""Trails: found by their bright parts, masked along all of their length, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from app.pixels.artefacts.compare_warp import compare_warp
from app.pixels.artefacts.footprints import Footprints
from app.pixels.artefacts.safe_clip import safe_clip
from app.pixels.artefacts.segments import Segments
from app.pixels.artefacts.streaks import find_streaks
from app.pixels.spans import Spans
from app.pixels.warped import in_memory

SIZE = 320
NOISE = 10.0
FINDERS = pytest.mark.parametrize("find", [safe_clip, compare_warp])


def trail(angle_deg: float, offset_px: float, peak: float, *, ends=(-np.inf, np.inf), fading=0.0):
    """Light of a trail that passes ``offset_px`` from the middle, and how far from it pixels are.

    From ``ends[0]`` to ``ends[1]`` px along it; ``fading``: share of the peak lost from end to end.
    """
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    along, across = x * cos + y * sin, y * cos - x * sin - offset_px
    bright = 1.0 - fading * np.clip(along / SIZE + 0.5, 0.0, 1.0)
    on = (along >= ends[0]) & (along <= ends[1])
    return peak * bright * on * np.exp(-0.5 * (across / 2.0) ** 2), np.abs(across), along


@pytest.fixture
def field(observe, paint):
    """Six exposures of some stars, seeing 3 to 5 px."""
    rng = np.random.default_rng(11)
    stars = np.column_stack([rng.uniform(10, SIZE - 10, (25, 2)), 10 ** rng.uniform(3.5, 5.5, 25)])
    return [
        observe(paint((SIZE, SIZE), stars, fwhm), rng, noise=NOISE, fwhm_px=fwhm)
        for fwhm in (3.0, 3.4, 3.8, 4.2, 4.6, 5.0)
    ]


@FINDERS
@pytest.mark.parametrize("angle_deg", [0.0, 35.0, 90.0, 151.0])
def test_a_trail_goes_with_its_faint_end_and_where_it_crosses_stars(field, find, angle_deg):
    """It fades from 8 sigma of a pixel to less than one."""
    light, across, _ = trail(angle_deg, 20.0, 80.0, fading=0.95)
    field[2].flux[:] += light.astype(np.float32)
    found = find(in_memory(field))
    streaks = [each.rows(0, SIZE, SIZE) for each in found.streaks]
    assert streaks[2][light > 0.8 * NOISE].mean() > 0.99
    assert not streaks[2][across > 12.0].any()
    assert not any(each.any() for each in streaks[:2] + streaks[3:])
    assert (found.pixels[2].rows(0, SIZE, SIZE) | ~streaks[2]).all()


@FINDERS
def test_a_trail_that_ends_in_the_image_is_masked_up_to_its_end(field, find):
    light, across, along = trail(20.0, -10.0, 60.0, ends=(-np.inf, 40.0))
    field[4].flux[:] += light.astype(np.float32)
    streak = find(in_memory(field)).streaks[4].rows(0, SIZE, SIZE)
    assert streak[(across < 2.0) & (along < 36.0)].all()
    assert not streak[along > 70.0].any()


@FINDERS
def test_two_trails_of_one_exposure_both_go(field, find):
    for angle_deg in (40.0, 120.0):
        light, _, _ = trail(angle_deg, 5.0, 100.0)
        field[0].flux[:] += light.astype(np.float32)
    streak = find(in_memory(field)).streaks[0].rows(0, SIZE, SIZE)
    for angle_deg in (40.0, 120.0):
        _, across, _ = trail(angle_deg, 5.0, 1.0)
        assert streak[across < 3.0].all()


@FINDERS
def test_stars_of_other_seeing_and_short_tracks_are_no_trails(field, find):
    field[1].flux[100, 100:125] += 3000.0
    field[3].flux[200:212, 50:62] += 800.0
    assert not any(each.count for each in find(in_memory(field)).streaks)


def test_places_without_data_do_not_end_a_trail(field):
    light, across, _ = trail(60.0, 0.0, 90.0)
    image = field[0]
    centre = image.flux.copy()
    image.flux[:] += light.astype(np.float32)
    image.flux[130:170] = np.nan
    seen = Footprints.of(Spans.from_mask((light > 40.0) & np.isfinite(image.flux)))
    streak = find_streaks(seen, in_memory([image])[0], centre).rows(0, SIZE, SIZE)
    assert streak[across < 3.0].all()


def test_pieces_of_one_line_are_told_from_noise():
    rng = np.random.default_rng(2)
    marked = rng.random((SIZE, SIZE)) < 0.02
    assert Segments(Footprints.of(Spans.from_mask(marked))).next_line() is None
    light, _, _ = trail(25.0, 30.0, 1.0)
    segments = Segments(Footprints.of(Spans.from_mask(marked | (light > 0.3))))
    line = segments.next_line()
    assert abs(np.degrees(np.arctan2(line.along_y, line.along_x)) - 25.0) < 0.5
    assert segments.next_line() is None
