from __future__ import annotations

import numpy as np
import pytest

from app.errors import ParameterError
from app.pixels.artefacts.compare_warp import compare_warp, matching_kernels
from app.pixels.bands import limit_threads
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.psf_field import PsfField
from app.pixels.warped import in_memory


def test_artefacts_go_and_star_cores_stay(scene):
    found, lost = scene.judge(compare_warp(scene.inputs).pixels)
    assert found >= 0.99
    assert lost < 0.001


@pytest.mark.parametrize("scene", [31], indirect=True)
def test_bands_and_threads_change_nothing(scene):
    whole = compare_warp(scene.inputs)
    with limit_threads(1):
        narrow = compare_warp(scene.inputs, memory_bytes=1)
    for one, other in zip(whole.pixels, narrow.pixels, strict=True):
        assert np.array_equal(one.rows(0, *scene.grid.shape), other.rows(0, *scene.grid.shape))


@pytest.mark.parametrize(("epochs", "clipped"), [(1, True), (2, True), (3, False), (5, False)])
def test_what_shows_in_many_epochs_is_the_sky(paint, observe, epochs, clipped):
    """Of ten inputs int(min(0.4 x 10, 2 + 0.3)) = 2 may show an artefact at one place."""
    rng = np.random.default_rng(epochs)
    nova = paint((120, 120), np.array([[60.0, 60.0, 1e5]]), 4.0)
    images = [observe(nova * (n < epochs), rng, fwhm_px=4.0) for n in range(10)]
    pixels = compare_warp(in_memory(images)).pixels
    assert [each.rows(60, 61, 120)[0, 60] for each in pixels[:epochs]] == [clipped] * epochs
    assert not any(each.rows(60, 61, 120)[0, 60] for each in pixels[epochs:])


def test_inside_a_very_bright_source_only_what_outshines_it_is_clipped(paint, observe):
    rng = np.random.default_rng(3)
    star = paint((160, 160), np.array([[80.0, 80.0, 5e6], [30.0, 30.0, 5e3]]), 4.0)
    images = [observe(star, rng, fwhm_px=4.0) for _ in range(8)]
    images[5].flux[81, 82] += 1e5
    images[6].flux[81, 82] += 5e5
    images[5].flux[30, 33] += 3e3
    pixels = compare_warp(in_memory(images)).pixels
    assert not pixels[5].rows(81, 82, 160)[0, 82]
    assert pixels[6].rows(81, 82, 160)[0, 82]
    assert pixels[5].rows(30, 31, 160)[0, 33]


def test_the_noise_of_an_exposure_is_measured_not_believed(observe):
    rng = np.random.default_rng(4)
    images = [observe(np.zeros((200, 200)), rng, fwhm_px=f) for f in (3.0, 3.5, 4.0, 4.5, 5.0)]
    images[1].variance[:] *= 0.05
    pixels = compare_warp(in_memory(images)).pixels
    assert pixels[4].count < 400 and pixels[0].count < 400


def test_kernels_from_the_psf_leave_less_of_bright_stars_than_widths_do(paint, observe):
    """Seeing and profiles differ: all that is clipped is clipped without reason."""
    rng = np.random.default_rng(5)
    shape, half = (300, 300), 24
    stars = np.column_stack([rng.uniform(15, 285, (30, 2)), 10 ** rng.uniform(4.5, 5.5, 30)])
    middle = np.array([[float(half), float(half), 1.0]])
    images, psfs = [], []
    for fwhm, beta in ((3.0, 2.6), (3.4, 3.2), (3.9, 4.5), (4.5, 2.6), (5.2, 3.2), (6.0, 4.5)):
        images.append(observe(paint(shape, stars, fwhm, beta), rng, fwhm_px=fwhm))
        stamp = paint((2 * half + 1, 2 * half + 1), middle, fwhm, beta)
        field = PsfField(stamp[None] / stamp.sum(), 0, (0.0, 0.0), (1.0, 1.0))
        psfs.append(CoaddPsf.of_one(field, shape))
    inputs = in_memory(images)
    by_width = compare_warp(inputs)
    by_psf = compare_warp(inputs, kernels=matching_kernels(inputs, psfs))
    wrong = [sum(each.count for each in found.pixels) for found in (by_width, by_psf)]
    assert wrong[0] > 500 and wrong[1] < 0.1 * wrong[0]


def test_one_kernel_for_each_input(observe):
    images = [observe(np.zeros((40, 40)), np.random.default_rng(0), fwhm_px=4.0)] * 3
    with pytest.raises(ParameterError, match="kernels"):
        compare_warp(in_memory(images), kernels=[])
