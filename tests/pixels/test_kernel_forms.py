"""Forms of the matching kernel: snaps, free pixels, given stars; and pairs of masked images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.errors import KernelFitError, RecipeError
from app.pixels.bands import limit_threads
from app.pixels.candidates import MASKED, NOT_IN_BOTH, OUTSIDE, TOO_CLOSE
from app.pixels.detect import measure_at
from app.pixels.image import bits
from app.pixels.image_pairs import MatchOptions, match_images, subtract_images
from app.pixels.kernels import SNAP, KernelForm
from app.pixels.matching import match
from tests.pixels.test_hard_pairs import pooled_rms

SHAPE = (400, 400)
SCALE = 0.9
DELTA = KernelForm(basis="delta")
JUMP = ((0.0, 0.0, 0.6), (5.3, 3.4, 0.4))
"""The telescope moved during the exposure: parts (x, y, share) of the light."""
MOVED = np.array([0.2, -0.1, 0.0])
TREFOIL = ((0.4, 0.3, 0.4), (3.0, 0.0, 0.2), (-1.5, 2.6, 0.2), (-1.5, -2.6, 0.2))


def places(step: int = 50) -> Any:
    """x and y of a lattice of places, off the middles of pixels."""
    x, y = np.meshgrid(np.arange(40, 370, step) + 0.3, np.arange(40, 370, step) - 0.2)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def pulls_of(image: Any) -> Any:
    pulls = image.flux / np.sqrt(image.variance)
    return pulls[image.usable() & (np.abs(pulls) < 5)]


def rms_by_basis(science: Any, template: Any, stars: Any, order: int) -> tuple[float, float]:
    """Of Gaussians and of free pixels, what is left of the template convolved."""
    found = []
    for form in (KernelForm(), DELTA):
        options = MatchOptions(spatial_order=order, convolve="template", form=form)
        done = subtract_images(science, template, options)
        found.append(pooled_rms(done.image, stars))
        if form is DELTA:
            assert done.match.scale == pytest.approx(SCALE, rel=0.02)
            assert pulls_of(done.image).std() == pytest.approx(1.0, abs=0.02)
    return found[0], found[1]


@pytest.mark.parametrize(("parts", "at_least"), [(JUMP, 2.0), (TREFOIL, 1.3)])
def test_free_pixels_match_what_gaussians_cannot(paint, observe, field, parts, at_least):
    rng = np.random.default_rng(3)
    stars = field(SHAPE, 90, rng, least=4e3)
    sky = sum(share * paint(SHAPE, stars + np.array([x, y, 0.0]), 3.6) for x, y, share in parts)
    science = observe(SCALE * sky, rng)
    template = observe(paint(SHAPE, stars, 3.4), rng, noise=4.0, gain=5.0)
    gaussians, free = rms_by_basis(science, template, stars, 0)
    assert gaussians > at_least and free < 1.05


def test_free_pixels_are_no_worse_on_an_ordinary_pair(paint, observe, field):
    """Its seeing changes over the field."""
    for seed in (3, 4):
        rng = np.random.default_rng(seed)
        stars = field(SHAPE, 100, rng, least=4e3)
        sky = np.zeros(SHAPE)
        for star in stars:
            across, up = 2 * star[:2] / SHAPE[0] - 1
            sky += paint(SHAPE, star[None], 4.8 * (1 + 0.06 * across - 0.04 * up))
        science = observe(SCALE * sky, rng)
        template = observe(paint(SHAPE, stars, 3.4), rng, noise=4.0, gain=5.0)
        gaussians, free = rms_by_basis(science, template, stars, 1)
        assert free < 1.05 * gaussians


def test_weak_regularisation_lets_noise_into_the_kernel(paint, observe, field):
    rng = np.random.default_rng(5)
    stars = field(SHAPE, 60, rng, least=4e3)
    science = observe(SCALE * paint(SHAPE, stars, 4.8), rng)
    template = observe(paint(SHAPE, stars, 3.4), rng, noise=4.0, gain=5.0)
    powers = [
        float((match(science, template, form=form).kernel.centre() ** 2).sum())
        for form in (KernelForm(), DELTA, replace(DELTA, regularisation=0.05))
    ]
    assert powers[1] < 1.3 * powers[0] < powers[2]


def test_free_pixels_do_not_depend_on_threads_or_units(paint, observe, field):
    rng = np.random.default_rng(6)
    stars = field((256, 256), 40, rng, least=4e3)
    science = observe(SCALE * paint((256, 256), stars, 4.8), rng)
    template = observe(paint((256, 256), stars, 3.4), rng, noise=4.0, gain=5.0)
    kernels = []
    for threads in (1, 3):
        with limit_threads(threads):
            kernels.append(match(science, template, spatial_order=1, form=DELTA).kernel)
    assert kernels[0].elements.tobytes() == kernels[1].elements.tobytes()
    assert kernels[0].weights.tobytes() == kernels[1].weights.tobytes()
    brighter = replace(template, flux=template.flux * 1024, variance=template.variance * 1024**2)
    other = match(science, brighter, spatial_order=1, form=DELTA).kernel
    np.testing.assert_allclose(1024 * other.centre(), kernels[0].centre(), atol=1e-4)


@pytest.mark.parametrize("form", [SNAP, replace(SNAP, basis="delta")])
def test_snaps_of_one_visit(paint, observe, field, form):
    """PSFs differ little, one sky is higher: a small kernel, and no background is fitted."""
    rng = np.random.default_rng(7)
    stars, new = field(SHAPE, 90, rng, least=4e3), np.column_stack([places(), np.full(49, 5e3)])
    science = observe(paint(SHAPE, stars + MOVED, 3.6) + paint(SHAPE, new, 3.6) + 40, rng)
    template = observe(paint(SHAPE, stars, 3.5) + 25, rng)
    done = subtract_images(science, template, MatchOptions(background_order=None, form=form))
    kernel = done.match.kernel
    assert kernel.centre().shape == (7, 7) and kernel.order == 0
    assert len(done.match.background) == 1
    assert kernel.sum == pytest.approx(1.0, abs=0.01)
    far = done.image.usable() & (paint(SHAPE, np.concatenate([stars, new]), 6.0) < 0.3)
    pulls = done.image.flux[far] / np.sqrt(done.image.variance[far])
    assert pulls.std() == pytest.approx(1.0, abs=0.02) and abs(pulls.mean()) < 0.05
    assert pooled_rms(done.image, stars) < 1.1
    fluxes = [measure_at(done.image, x, y, 3.55, scatter=1.0)[0] for x, y, _ in new]
    template_of_one = paint((61, 61), np.array([[30.3, 29.8, 5e3]]), 3.6)
    one = observe(template_of_one, np.random.default_rng(0), noise=1e-3, gain=1e9)
    expected = measure_at(one, 30.3, 29.8, 3.55, scatter=1.0)[0]
    assert np.mean(fluxes) == pytest.approx(expected, rel=0.04)


def test_given_stars_are_used_and_unfit_ones_are_told(paint, observe, field):
    rng = np.random.default_rng(8)
    flux = rng.uniform(2e4, 6e4, 49)
    stars = np.column_stack([places(), flux])
    science = observe(SCALE * paint(SHAPE, stars, 4.8), rng)
    template = observe(paint(SHAPE, stars[1:], 3.4), rng, noise=4.0, gain=5.0)
    science.mask[190:193, 190:193] |= bits("SAT")
    masked = (190.3, 189.8)
    given = [tuple(place) for place in stars[:20, :2]]
    given += [masked, (-30.0, 10.0), (float("nan"), 3.0), (stars[5, 0] + 3, stars[5, 1])]
    given += [(65.0, 65.0)]
    found = match(science, template, candidates=given)
    reasons = {(round(each.x), round(each.y)): each.reason for each in found.unfit if each.x > -99}
    assert reasons[190, 190] == MASKED and reasons[-30, 10] == OUTSIDE
    assert reasons[65, 65] == NOT_IN_BOTH and reasons[40, 40] == NOT_IN_BOTH
    assert [each.reason for each in found.unfit].count(TOO_CLOSE) == 1
    assert [each.reason for each in found.unfit].count(OUTSIDE) == 2
    assert len(found.used) + len(found.rejected) == 19
    assert found.scale == pytest.approx(SCALE, rel=0.015)
    with pytest.raises(KernelFitError, match=r"2 were found"):
        match(science, template, candidates=[tuple(place) for place in stars[3:5, :2]])


def test_a_matched_template_looks_like_the_image(paint, observe, field):
    rng = np.random.default_rng(9)
    stars = field(SHAPE, 90, rng, least=4e3)
    truth = SCALE * paint(SHAPE, stars, 4.8)
    science = observe(truth + 7, rng, zero_point_mag=27.0)
    template = observe(paint(SHAPE, stars, 3.4), rng, noise=4.0, gain=5.0, zero_point_mag=31.4)
    done, found = match_images(science, template, MatchOptions(convolve="science"))
    assert found.convolved == "template" and not found.sharpens
    assert done.zero_point_mag == 27.0
    bright = done.usable() & (truth > 300)
    assert np.median(done.flux[bright] / truth[bright]) == pytest.approx(1.0, abs=0.01)
    assert np.std(done.flux[bright] / truth[bright]) < 0.03
    assert abs(np.median(done.flux[done.usable() & (truth < 0.1)])) < 0.1


def test_images_of_different_sizes_are_refused(paint, observe, field):
    rng = np.random.default_rng(10)
    stars = field(SHAPE, 60, rng, least=4e3)
    science = observe(paint(SHAPE, stars, 4.8), rng)
    smaller = observe(paint((400, 390), stars, 3.4), rng)
    for form in (match_images, subtract_images):
        with pytest.raises(RecipeError, match=r"\(400, 400\).*\(400, 390\).*shape"):
            form(science, smaller)
