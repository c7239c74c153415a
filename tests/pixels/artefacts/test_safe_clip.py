from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.pixels.artefacts.overlaps import SafeClipOptions, overlap_rules
from app.pixels.artefacts.safe_clip import safe_clip
from app.pixels.bands import limit_threads
from app.pixels.coadd import coadd
from app.pixels.image import MaskedImage, bits
from app.pixels.warped import InMemory, in_memory


def test_artefacts_go_and_star_cores_stay(scene):
    found, lost = scene.judge(safe_clip(scene.inputs).pixels)
    assert found >= 0.99
    assert lost < 0.001


@pytest.mark.parametrize("scene", [31], indirect=True)
def test_bands_and_threads_change_nothing(scene):
    whole = safe_clip(scene.inputs)
    with limit_threads(1):
        narrow = safe_clip(scene.inputs, memory_bytes=1)
    for one, other in zip(whole.pixels, narrow.pixels, strict=True):
        assert np.array_equal(one.rows(0, *scene.grid.shape), other.rows(0, *scene.grid.shape))


def test_the_stack_without_them_is_the_clean_mean_and_says_so(observe):
    rng = np.random.default_rng(4)
    images = [observe(np.zeros((120, 120)), rng, fwhm_px=4.0) for _ in range(6)]
    clean = coadd(in_memory(images), statistic="mean").image
    images[2].flux[60, 20:100] += 400.0
    found = safe_clip(in_memory(images))
    done = coadd(in_memory(images), statistic="mean", excluded=found.pixels).image
    assert np.abs(done.flux - clean.flux)[60, 20:100].max() < 4 * np.sqrt(done.variance.max())
    flags = bits("CLIPPED", "INEXACT_PSF")
    assert ((done.mask[60, 20:100] & flags) == flags).all()
    assert [each.count > 0 for each in found.pixels].index(True) == 2 and found.footprints[2] >= 1


def test_a_faint_wide_trail_is_found_though_no_pixel_stands_out(observe):
    """Two sigma in every pixel of a band nine pixels wide."""
    rng = np.random.default_rng(5)
    images = [observe(np.zeros((300, 300)), rng, noise=10.0, fwhm_px=4.0) for _ in range(5)]
    images[1].flux[150:159] += 22.0
    pixels = safe_clip(in_memory(images)).pixels
    share = [each.rows(151, 158, 300).mean() for each in pixels]
    assert share[1] > 0.75 and max(share[:1] + share[2:]) < 0.02


def test_artefacts_of_two_inputs_that_cross_go_from_each(observe):
    """A moving object of one input lies on the track that several others left beside it."""
    rng = np.random.default_rng(8)
    images = [observe(np.zeros((120, 120)), rng, noise=10.0, fwhm_px=4.0) for _ in range(8)]
    images[2].flux[50:62, 50:62] += 300.0
    images[3].flux[40:80, 58] += 300.0
    images[4].flux[60, 40:80] += 300.0
    pixels = [each.rows(0, 120, 120) for each in safe_clip(in_memory(images)).pixels]
    assert pixels[2][50:62, 50:62].mean() > 0.98
    assert pixels[3][40:80, 58].all() and pixels[4][60, 40:80].all()
    assert max(each.mean() for each in pixels[:2] + pixels[5:]) < 0.005


def test_what_grows_beside_a_star_leaves_the_star(paint, observe):
    """The blob is grown by 3.8 px; the star begins at 2 px from its edge."""
    rng = np.random.default_rng(9)
    star = paint((120, 120), np.array([[58.0, 60.0, 2e4]]), 6.0)
    images = [observe(star, rng, noise=10.0, gain=1e9, fwhm_px=6.0) for _ in range(7)]
    images[2].flux[52:69, 35:54] += 400.0
    found = [each.rows(0, 120, 120) for each in safe_clip(in_memory(images)).pixels]
    assert found[2][52:69, 35:54].all()
    assert found[2][55:66, 32].all() and found[2][50, 37:52].all(), "grown into blank sky"
    rows, columns = np.mgrid[:120, :120]
    core = np.hypot(rows - 60, columns - 58) <= 1.5
    assert not any((each & core).any() for each in found)


def test_what_outshines_a_star_is_grown_upon_it(paint, observe):
    rng = np.random.default_rng(10)
    star = paint((120, 120), np.array([[58.0, 60.0, 2e4]]), 6.0)
    images = [observe(star, rng, noise=10.0, gain=1e9, fwhm_px=6.0) for _ in range(7)]
    images[2].flux[60, 30:90] += 3000.0
    images[2].flux[[59, 61], 30:90] += 40.0
    found = safe_clip(in_memory(images)).pixels[2].rows(0, 120, 120)
    assert found[59:62, 31:89].all()


def test_an_input_without_weight_or_pixels_takes_no_part(observe):
    rng = np.random.default_rng(6)
    images = [observe(np.zeros((60, 60)), rng, fwhm_px=4.0) for _ in range(4)]
    images[3].flux[30, 30] += 1e4
    blank = MaskedImage(
        np.full((60, 60), np.nan, np.float32),
        np.full((60, 60), np.nan, np.float32),
        np.full((60, 60), bits("NO_DATA"), np.int32),
    )
    found = safe_clip([InMemory.of(blank), *in_memory(images)])
    assert found.pixels[0].count == 0 and found.pixels[4].rows(30, 31, 60)[0, 30]
    assert safe_clip(in_memory(images[:1])).pixels[0].count == 0
    assert safe_clip([]).pixels == ()


def test_cores_stay_when_the_seeing_is_unknown(paint, observe):
    rng = np.random.default_rng(7)
    stars = np.array([[60.0, 60.0, 3e4], [30.4, 90.2, 2e5]])
    images = [observe(paint((120, 120), stars, f), rng, fwhm_px=f) for f in (3.6, 4, 4, 4, 4.4)]
    unknown = [replace(image, fwhm_px=None) for image in images]
    for given in (images, unknown):
        pixels = safe_clip(in_memory(given)).pixels
        assert sum(int(p.rows(58, 63, 120)[:, 58:63].sum()) for p in pixels) == 0
        assert sum(int(p.rows(88, 93, 120)[:, 28:33].sum()) for p in pixels) == 0


@pytest.mark.parametrize(
    ("shares", "clipped"),
    [
        ([0.55, 0, 0, 0, 0], [0]),
        ([0.45, 0, 0, 0, 0], []),
        ([0.7, 0.3, 0, 0, 0], [0]),
        ([0.55, 0.3, 0, 0, 0], []),
        ([0.7, 0.65, 0.1, 0, 0], [0, 1]),
        ([0.5, 0.5, 0.1, 0, 0], [0, 1]),
        ([0.7, 0.65, 0.2, 0, 0], []),
        ([0.7, 0.7, 0.7, 0, 0], []),
    ],
)
def test_overlap_rules(shares, clipped):
    """One input above 0.5 alone, above 0.6 among several; two above 0.45, the rest below 0.15."""
    deviating = 100.0 * np.array(shares)[:, None]
    missing, areas = np.zeros_like(deviating), np.array([100.0])
    verdict = overlap_rules(deviating, missing, areas, SafeClipOptions())
    assert np.flatnonzero(verdict[:, 0]).tolist() == clipped


def test_two_are_not_clipped_of_three_and_a_missing_one_is_left_aside():
    options, areas = SafeClipOptions(), np.array([100.0])
    pair = np.array([[70.0], [70.0], [0.0]])
    assert not overlap_rules(pair, np.zeros((3, 1)), areas, options).any()
    alone, absent = np.array([[45.0], [0.0]]), np.array([[55.0], [0.0]])
    assert not overlap_rules(alone, absent, areas, options).any()
    assert overlap_rules(alone, np.array([[30.0], [0.0]]), areas, options)[0, 0]
