"""The simulated exposures are what their truth says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from app.pixels.image import bits
from app.pixels.statistics import robust_sigma
from app.stores.images import ImageStore
from tests.truth.exposures import Truth, observe, simulate
from tests.truth.files import write_exposures
from tests.truth.settings import TruthSettings

SMALL = TruthSettings(exposures=3, size_px=400, stars=60, galaxies=8, trails=1)


@pytest.fixture(scope="module")
def small() -> Truth:
    return simulate(SMALL)


def test_stars_have_their_flux_at_their_place_on_every_exposure(small):
    chosen = small.sources.is_star & small.sources.isolated(6.0) & (small.sources.flux_njy < 5e5)
    checked = 0
    for seen in small.observations:
        dirt = (seen.image.mask != 0) | (seen.artefact_significance() > 1)
        for n in np.flatnonzero(chosen & seen.inside(30)):
            x, y = round(float(seen.x[n])), round(float(seen.y[n]))
            part = np.s_[y - 25 : y + 26, x - 25 : x + 26]
            if dirt[part].any():
                continue
            model = seen.psf.stamp(seen.x[n], seen.y[n], 25, dx=seen.x[n] - x, dy=seen.y[n] - y)
            weight = model / seen.image.variance[part]
            flux = (weight * seen.image.flux[part]).sum() / (weight * model).sum()
            error = 1.0 / np.sqrt((weight * model).sum())
            assert abs(flux - seen.flux[n]) < 5.0 * error + 0.02 * seen.flux[n]
            checked += 1
    assert checked > 15


def test_noise_is_that_of_the_variance_plane(small):
    for seen in small.observations:
        image = seen.image
        lit = binary_dilation(image.variance > 1.02 * np.median(image.variance), iterations=3)
        blank = ~lit & (image.mask == 0) & (seen.artefact_significance() < 0.05)
        pulls = image.flux[blank] / np.sqrt(image.variance[blank])
        assert robust_sigma(pulls) == pytest.approx(1.0, abs=0.03)


def test_artefacts_are_in_the_pixels_and_not_in_the_mask(small):
    kinds = [set(seen.artefacts) for seen in small.observations]
    assert all({"cosmic_ray", "moving"} <= kind for kind in kinds)
    assert sum("trail" in kind for kind in kinds) == SMALL.trails
    for seen in small.observations:
        strong = (seen.artefact_significance("cosmic_ray") > 20) & (seen.image.mask == 0)
        assert strong.sum() > 5
        assert (seen.image.flux[strong] > 10 * np.sqrt(seen.image.variance[strong])).all()
        assert (seen.image.mask & bits("CR") == 0).all()
        assert np.count_nonzero((seen.image.mask & bits("BAD")).any(axis=0)) == SMALL.bad_columns
        assert (seen.image.mask & bits("SAT")).any()


def test_a_seed_gives_the_same_pixels_and_the_field_is_seen_differently(small):
    first = small.observations[0]
    again = observe(
        SMALL,
        small.sources,
        0,
        first.psf.seeing_arcsec,
        _rotation(first),
        trail="trail" in first.artefacts,
    )
    assert np.array_equal(first.image.flux, again.image.flux)
    assert len({seen.grid.header for seen in small.observations}) == SMALL.exposures
    seeing = sorted(seen.psf.seeing_arcsec for seen in small.observations)
    assert seeing == pytest.approx([0.6, 1.0, 1.4])
    variable = [
        seen.flux[small.sources.variable] / seen.transparency for seen in small.observations
    ]
    assert np.ptp(variable) > 0.2 * np.mean(variable)


def _rotation(observation):
    header = observation.grid.fits_header()
    return float(np.degrees(np.arctan2(header["CD2_1"], header["CD2_2"])))


def test_files_hold_the_same_planes(small, tmp_path):
    refs = write_exposures(small, tmp_path)
    store = ImageStore(data_dir=tmp_path)
    for seen, ref in zip(small.observations, refs, strict=True):
        image = store.read(ref)
        assert np.array_equal(image.flux, seen.image.flux)
        assert np.array_equal(image.variance, seen.image.variance)
        assert np.array_equal(image.mask, seen.image.mask)
        assert image.zero_point_mag == seen.image.zero_point_mag
        assert image.fwhm_px == pytest.approx(seen.image.fwhm_px, rel=1e-3)
