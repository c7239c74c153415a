"""Pairs that cannot be subtracted, or not everywhere: the error or the flag the guide tells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.errors import CoverageError, KernelFitError, RecipeError
from app.pixels.dia_images import gaussian_coadd_psf
from app.pixels.image import MaskedImage, bits
from app.pixels.image_pairs import MatchOptions, match_images, subtract_images
from app.pixels.kernels import SNAP, KernelForm
from app.pixels.likelihood import subtract_likelihood

SHAPE = (300, 300)
NO_DATA = bits("NO_DATA")
SNAPS = MatchOptions(background_order=None, form=SNAP)
DELTA = MatchOptions(form=KernelForm(basis="delta"))
FORMS = {
    "kernel": lambda s, t: subtract_images(s, t).image,
    "delta": lambda s, t: subtract_images(s, t, DELTA).image,
    "snap": lambda s, t: subtract_images(s, t, SNAPS).image,
    "likelihood": lambda s, t: subtract_likelihood(s, t, gaussian_coadd_psf(4.8, s.shape)).image,
    "matched": lambda s, t: match_images(s, t)[0],
}
forms = pytest.mark.parametrize("form", FORMS)


@pytest.fixture
def pair(paint: Any, observe: Any, field: Any) -> tuple[MaskedImage, MaskedImage]:
    rng = np.random.default_rng(2)
    stars = field(SHAPE, 60, rng, least=6e3)
    science = observe(paint(SHAPE, stars, 4.8), rng)
    return science, observe(paint(SHAPE, stars, 3.4), rng, noise=4.0, gain=5.0)


def blanked(image: MaskedImage, part: Any) -> MaskedImage:
    """``image`` without data in a part of it."""
    flux, mask = image.flux.copy(), image.mask.copy()
    flux[part], mask[part] = np.nan, NO_DATA
    return replace(image, flux=flux, mask=mask)


@forms
def test_no_stars(form: str, observe: Any) -> None:
    rng = np.random.default_rng(3)
    with pytest.raises(KernelFitError, match="needs 3 usable stamps"):
        FORMS[form](observe(np.zeros(SHAPE), rng), observe(np.zeros(SHAPE), rng))


@pytest.mark.parametrize("form", ["kernel", "delta", "snap", "matched"])
def test_one_star(form: str, paint: Any, observe: Any) -> None:
    rng, star = np.random.default_rng(4), np.array([[150.2, 149.7, 5e4]])
    images = (observe(paint(SHAPE, star, fwhm_px), rng) for fwhm_px in (4.8, 3.4))
    with pytest.raises(KernelFitError, match="needs 3 usable stamps; 1 were found"):
        FORMS[form](*images)


@forms
@pytest.mark.parametrize("which", [0, 1])
def test_all_masked(form: str, which: int, pair: Any) -> None:
    images = list(pair)
    images[which] = replace(pair[which], mask=np.full(SHAPE, bits("BAD"), np.int32))
    with pytest.raises(CoverageError, match="found 0, needed 1"):
        FORMS[form](*images)


@forms
def test_no_variance_at_all(form: str, pair: Any) -> None:
    science, template = pair
    told = np.full(SHAPE, np.nan, np.float32)
    with pytest.raises(CoverageError, match="found 0, needed 1"):
        FORMS[form](science, replace(template, variance=told))


@forms
def test_images_that_share_no_pixel(form: str, pair: Any) -> None:
    left, right = np.s_[:, :150], np.s_[:, 150:]
    with pytest.raises(KernelFitError, match="0 were found"):
        FORMS[form](blanked(pair[0], left), blanked(pair[1], right))


@forms
def test_sizes_that_differ(form: str, pair: Any) -> None:
    science, template = pair
    smaller = MaskedImage(*(getattr(template, p)[:-1] for p in ("flux", "variance", "mask")))
    with pytest.raises(RecipeError, match="differ in shape"):
        FORMS[form](science, smaller)


@forms
def test_holes_of_the_template_are_marked(form: str, pair: Any) -> None:
    hole = np.s_[100:160, 90:150]
    done = FORMS[form](pair[0], blanked(pair[1], hole))
    assert np.isnan(done.flux[hole]).all() and ((done.mask[hole] & NO_DATA) != 0).all()
    assert np.isfinite(done.flux[:60]).mean() > 0.99
    beside = done.mask[130, 151:154]
    assert ((beside & (bits("EDGE") | NO_DATA)) != 0).any()


@forms
def test_nan_of_the_variance_is_marked(form: str, pair: Any) -> None:
    science, template = pair
    variance = template.variance.copy()
    variance[50:60] = np.nan
    done = FORMS[form](science, replace(template, variance=variance))
    assert np.isnan(done.flux[50:60]).all() and ((done.mask[50:60] & NO_DATA) != 0).all()
    assert np.isfinite(done.variance[80:]).mean() > 0.99


@pytest.mark.parametrize("convolve", ["template", "science"])
def test_convolving_the_broader_image_is_told(convolve: Any, pair: Any) -> None:
    science, template = pair
    done = subtract_images(science, template, MatchOptions(convolve=convolve))
    assert done.match.sharpens is (convolve == "science")
    assert subtract_images(science, template).match.convolved == "template"
    pulls = done.image.flux / np.sqrt(done.image.variance)
    blank = done.image.usable() & (np.abs(pulls) < 5)
    assert pulls[blank].std() == pytest.approx(1.0, abs=0.06)
