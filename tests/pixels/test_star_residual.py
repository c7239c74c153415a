"""What is left of stars, told from noise."""

from __future__ import annotations

import numpy as np
import pytest

from app.pixels.dia_images import DiaImages, Layer
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.psf_field import PsfField
from app.pixels.star_residual import star_residual

SHAPE = (500, 500)
FWHM_PX = 4.0


@pytest.fixture
def left_of_stars(paint, observe):
    """What is told of stars of which a normal ``share`` is left, and of variables among them."""

    def measure(share: float, *, count: int = 60, variables: int = 0, flux: float = 2e5):
        rng = np.random.default_rng(4)
        lattice = np.mgrid[40:480:60, 40:480:60].reshape(2, -1)
        x, y = lattice + rng.uniform(-0.5, 0.5, lattice.shape)
        stars = np.stack([x, y, np.full(64, flux)], axis=1)[:count]
        rest = stars.copy()
        rest[:, 2] *= rng.normal(0, share, count)
        rest[:variables, 2] = 0.5 * flux
        samples = paint((41, 41), np.array([[20.0, 20.0, 1.0]]), FWHM_PX)
        psf = CoaddPsf.of_one(PsfField(samples[None], 0, (0.0, 0.0), (1.0, 1.0)), SHAPE)
        template, difference = (
            Layer(observe(paint(SHAPE, each, FWHM_PX), rng, noise=10.0, gain=20.0), psf)
            for each in (stars, rest)
        )
        places = [(round(a), round(b)) for a, b in stars[:, :2].tolist()]
        return star_residual(DiaImages(difference, template, template), places, 1.0)

    return measure


def test_noise_alone_leaves_nothing(left_of_stars):
    assert left_of_stars(0.0) < 0.001
    assert left_of_stars(0.0, flux=1e4) < 0.01


@pytest.mark.parametrize("share", [0.005, 0.02])
def test_what_is_left_is_told(left_of_stars, share):
    assert left_of_stars(share) == pytest.approx(share, rel=0.25)
    assert left_of_stars(share, variables=6) == pytest.approx(share, rel=0.5)


def test_few_or_faint_stars_tell_nothing(left_of_stars):
    assert left_of_stars(0.01, count=3) is None
    assert left_of_stars(0.01, flux=500.0) is None
