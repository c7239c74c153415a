"""Sources of a difference against what was put into it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import chain, compress

import numpy as np
import pytest

from app.errors import CoverageError
from app.pixels.bands import limit_threads
from app.pixels.dia_blends import MOST_TOGETHER
from app.pixels.dia_dipole import LARGEST_SHARE
from app.pixels.dia_footprints import find_footprints
from app.pixels.dia_images import DiaImages, Layer
from app.pixels.dia_score import noise_of, score_image
from app.pixels.dia_sources import THRESHOLD, find_dia_sources
from app.pixels.image import MaskedImage, bits
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.psf_field import PsfField

SHAPE = (400, 400)
FWHM_PX = 4.0
NOISE = 10.0
search = partial(find_dia_sources, threshold=5.0)
"""Noise alone has hardly a peak as high in these images."""


@pytest.fixture
def psf(paint) -> CoaddPsf:
    """That of the stars that ``paint`` paints."""
    samples = paint((61, 61), np.array([[30.0, 30.0, 1.0]]), FWHM_PX)
    return CoaddPsf.of_one(PsfField(samples[None], 0, (0.0, 0.0), (1.0, 1.0)), SHAPE)


@pytest.fixture
def images(paint, observe, psf):
    """From the stars on the science image and on the template (x, y, flux)."""

    def make(science, template, *, seed=1, gain=5.0, mask=None) -> DiaImages:
        rng = np.random.default_rng(seed)
        shown = [
            observe(
                paint(SHAPE, np.array(stars).reshape(-1, 3), FWHM_PX), rng, noise=NOISE, gain=gain
            )
            for stars in (science, template)
        ]
        difference = MaskedImage(
            shown[0].flux - shown[1].flux,
            shown[0].variance + shown[1].variance,
            np.zeros(SHAPE, np.int32) if mask is None else mask,
        )
        return DiaImages(*(Layer(image, psf) for image in (difference, *shown)))

    return make


def flux_of(sigma: float) -> float:
    """Of a source that stands out by so many sigma on a difference of two images.

    The noise-equivalent area of a Moffat profile of beta 3.5: pi alpha² (2 beta - 1) / (beta - 1)².
    """
    alpha = FWHM_PX / (2.0 * np.sqrt(2.0 ** (1 / 3.5) - 1.0))
    area = np.pi * alpha**2 * 6.0 / 2.5**2
    return float(sigma * NOISE * np.sqrt(2.0 * area))


def lattice(flux, step=40):
    x, y = np.meshgrid(np.arange(30, 380, step) + 0.3, np.arange(30, 380, step) - 0.2)
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, flux)], axis=1)


def test_the_score_counts_sigmas(images):
    found = search(images(lattice(flux_of(20.0)), []))
    peaks = np.array([source.score for source in found.sources])
    assert len(peaks) == 81
    assert found.score_scatter == pytest.approx(1.0, abs=0.03)
    assert peaks.mean() == pytest.approx(20.0, rel=0.05)
    assert peaks.std() == pytest.approx(1.0, abs=0.3)


def test_places_and_fluxes_scatter_as_their_errors_tell(images):
    added = lattice(flux_of(15.0))
    added[::2, 2] *= 3.0
    pulls, found_count = [], 0
    for seed in (1, 2, 3):
        found = search(images(added, [], seed=seed)).sources
        at = np.array([(s.fit.x, s.fit.y) for s in found])
        for x, y, flux in added:
            distance = np.hypot(*(at - (x, y)).T)
            source = found[int(distance.argmin())]
            if distance.min() < 1.0:
                fit, circle = source.fit, source.aperture
                found_count += 1
                pulls.append(
                    (
                        (fit.x - x) / fit.x_err,
                        (fit.y - y) / fit.y_err,
                        (fit.flux - flux) / fit.flux_err,
                        (source.science.flux - flux) / source.science.flux_err,
                        source.template.flux / source.template.flux_err,
                    )
                )
                assert circle.flux == pytest.approx(0.97 * flux, abs=5 * circle.flux_err)
    assert found_count >= 0.98 * 3 * len(added)
    scatter, mean = np.std(pulls, axis=0), np.mean(pulls, axis=0)
    assert np.abs(scatter - 1.0).max() < 0.15, scatter
    assert np.abs(mean).max() < 0.25, mean


def judged(images, seed, threshold):
    """Of a field with sources of six sigma, of both signs: it, how many there are, those found with
    their sign, and what else was found."""
    added = lattice(flux_of(6.0))
    layers = images(added[::2], added[1::2], seed=seed)
    sources = find_dia_sources(layers, threshold=threshold).sources
    at = np.array([(s.fit.x, s.fit.y) for s in sources])
    nearest = [np.flatnonzero(np.hypot(*(at - (x, y)).T) < 2.5)[:1] for x, y, _ in added]
    found = [sources[k] for n, near in enumerate(nearest) for k in near.tolist()
             if sources[k].is_negative == bool(n % 2)]  # fmt: skip
    away = [np.hypot(*(added[:, :2] - place).T).min() > 5 for place in at]
    return layers, len(added), found, list(compress(sources, away))


def test_faint_sources_are_found_and_noise_is_not(images):
    """Over four fields."""
    _, counts, found, wrong = zip(*(judged(images, seed, 4.5) for seed in range(4)), strict=True)
    assert sum(map(len, found)) >= 0.9 * sum(counts)  # 0.93 of six sigma are above 4.5
    assert sum(map(len, wrong)) <= 2


def test_noise_is_not_trusted_beyond_the_usual_threshold(images):
    """Over eight fields."""
    layers, counts, *both = zip(*(judged(images, n, THRESHOLD) for n in range(8)), strict=True)
    found, wrong = (list(chain.from_iterable(each)) for each in both)
    noise = sum(noise_of(each.difference, 1.0).peaks(THRESHOLD) for each in layers)
    assert len(found) / sum(counts) == pytest.approx(0.955, abs=0.025)
    assert sum(source.reliability > 0.5 for source in found) / sum(counts) > 0.8
    assert noise * SHAPE[0] * SHAPE[1] == pytest.approx(6.0, abs=1.0)
    assert len(wrong) <= 12, "as many as noise has"
    assert sum(source.reliability > 0.5 for source in wrong) <= 3


def test_detections_are_marked_by_their_sign(images):
    got = search(images([(100.0, 100.0, 5e3)], [(300.0, 300.0, 5e3)]))
    assert len(got.sources) == 2
    assert [s.is_negative for s in got.sources] == [False, True]
    plus, minus = bits("DETECTED"), bits("DETECTED_NEGATIVE")
    assert got.mask[100, 100] == plus and got.mask[300, 300] == minus
    assert got.mask[200, 200] == 0
    assert 40 < np.count_nonzero(got.mask & plus) < 400


@pytest.mark.parametrize(("moved", "angle"), [(0.6, 0.3), (2.0, 2.0), (5.0, -1.2)])
def test_a_star_that_moved_is_a_dipole(images, moved, angle):
    step = moved * np.array([np.cos(angle), np.sin(angle)])
    new, old = (200.4 + step[0], 180.7 + step[1], 4e4), (200.4, 180.7, 4e4)
    (source,) = search(images([new], [old])).sources
    dipole = source.dipole
    assert dipole is not None
    assert (dipole.positive.x, dipole.positive.y) == pytest.approx(new[:2], abs=0.06)
    assert (dipole.negative.x, dipole.negative.y) == pytest.approx(old[:2], abs=0.06)
    assert dipole.length_px == pytest.approx(moved, abs=0.08)
    assert dipole.mean_flux == pytest.approx(4e4, rel=0.02)
    assert dipole.positive.flux < LARGEST_SHARE * (dipole.positive.flux + dipole.negative.flux)
    assert source.reliability == 0.0


@pytest.mark.parametrize(
    ("science", "template"),
    [
        ([(200.0, 200.0, 6e4)], [(200.0, 200.0, 4e4)]),
        ([(200.0, 200.0, 2e4)], [(206.0, 200.0, 5e3)]),
        ([(200.0, 200.0, 2e4)], [(230.0, 200.0, 2e4)]),
    ],
    ids=["brighter", "of unequal flux", "far apart"],
)
def test_what_did_not_move_is_none(images, science, template):
    sources = search(images(science, template)).sources
    assert sources and all(source.dipole is None for source in sources)


def test_neighbours_are_sources_of_their_own(images):
    pair = [(200.0, 200.0, 2e4), (209.0, 200.0, 8e3)]
    sources = search(images(pair, [])).sources
    assert sorted((round(s.fit.x), round(s.fit.y)) for s in sources) == [(200, 200), (209, 200)]
    assert {s.footprint_px for s in sources} == {sources[0].footprint_px}


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_sources_that_overlap_are_measured_as_if_alone(images, ratio):
    """Two 1.5 FWHM apart, at many angles: places, fluxes, apertures."""
    sigma, pulls, apertures = flux_of(1.0), [], []
    for seed in range(4):
        rng = np.random.default_rng(100 + seed)
        first, angle = lattice(60.0 * sigma), rng.uniform(0, 2 * np.pi, 81)
        step = 1.5 * FWHM_PX * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        second = np.column_stack([first[:, :2] + step, ratio * first[:, 2]])
        layers = images(np.concatenate([first, second]), [], seed=seed)
        found = find_dia_sources(layers, threshold=5.2).sources  # four fields have a peak beyond 5
        at = np.array([(s.fit.x, s.fit.y) for s in found])
        assert len(found) == 2 * len(first)
        for x, y, flux in np.concatenate([first, second]):
            source = found[int(np.hypot(*(at - (x, y)).T).argmin())]
            fit = source.fit
            pulls.append(
                (
                    (fit.x - x) / fit.x_err,
                    (fit.y - y) / fit.y_err,
                    (fit.flux - flux) / fit.flux_err,
                    (source.science.flux - flux) / source.science.flux_err,
                )
            )
            apertures.append(source.aperture.flux / flux)
            assert source.reliability > 0.5
    assert np.std(pulls, axis=0) == pytest.approx(1.0, abs=0.12)
    assert np.mean(pulls, axis=0) == pytest.approx(0.0, abs=0.15)
    assert np.median(apertures) == pytest.approx(0.934, abs=0.01)  # 1 - (1 + 2.25 c²)^-2.5


def test_many_that_touch_are_fitted_with_their_nearest(images):
    """A chain of more sources than are fitted together."""
    sigma, count = flux_of(1.0), 2 * MOST_TOGETHER
    x = 60.2 + 2.0 * FWHM_PX * np.arange(count)
    chain = np.stack([x, np.full(count, 200.3), np.full(count, 50.0 * sigma)], axis=1)
    found = sorted(search(images(chain, [])).sources, key=lambda each: each.fit.x)
    pulls = [
        (s.fit.flux - flux) / s.fit.flux_err for s, flux in zip(found, chain[:, 2], strict=True)
    ]
    assert np.abs(pulls).max() < 3.5


def test_the_flank_of_a_bright_source_has_no_peaks(images):
    (source,) = search(images([(200.0, 200.0, 1e6)], [])).sources
    assert source.fit.flux == pytest.approx(1e6, rel=0.005)


@pytest.mark.parametrize(
    ("plane", "flag", "offset"),
    [
        ("BAD", "pixel_flags_bad", 1),
        ("CR", "pixel_flags_cr", 1),
        ("INTRP", "pixel_flags_interpolated", 0),
        ("SAT", "pixel_flags_saturated", 5),
        ("SAT_TEMPLATE", "pixel_flags_saturated_template", 5),
        ("EDGE", "pixel_flags_edge", 5),
        ("NO_DATA", "pixel_flags_nodata", 5),
    ],
)
def test_the_mask_becomes_flags(images, plane, flag, offset):
    mask = np.zeros(SHAPE, np.int32)
    mask[200 + offset, 200] = bits(plane)
    sources = search(images([(200.0, 200.0, 2e4), (100.0, 100.0, 2e4)], [], mask=mask)).sources
    clean, flagged = sources
    assert clean.flags == frozenset()
    assert flagged.flags == {flag}
    assert clean.reliability > 0.7
    assert (flagged.reliability > 0.5) == (plane == "INTRP")


def test_a_source_at_the_border_is_flagged(images):
    (source,) = search(images([(3.0, 200.0, 2e4)], [])).sources
    assert source.flags == {"pixel_flags_nodata"} and source.reliability == 0.0
    assert source.fit.x == pytest.approx(3.0, abs=0.1)


def test_faults_beside_a_bright_star_are_not_trusted(images):
    star, ghost = (200.0, 200.0, 3e6), (212.0, 200.0, 3e3)
    trusted = search(images([ghost], []))
    doubted = search(images([star, ghost], [star], gain=1e9))
    near = [s for s in doubted.sources if abs(s.fit.x - 212) < 2]
    assert trusted.sources[0].reliability > 0.5
    assert near and near[0].reliability == 0.0
    assert "bright_neighbour_flag" in near[0].flags


def test_the_shape_is_that_of_the_psf(images, psf):
    (source,) = search(images([], [(150.3, 210.6, 5e4)])).sources
    expected = psf.profile(150.0, 210.0).shape()
    assert source.is_negative and source.fit.flux == pytest.approx(-5e4, rel=0.02)
    assert source.moments.ixx == pytest.approx(expected.ixx, rel=0.05)
    assert source.moments.iyy == pytest.approx(expected.iyy, rel=0.05)
    assert abs(source.moments.ixy) < 0.1 * expected.ixx
    assert source.aperture.positive_ratio < 0.1


def test_no_pixels_no_sources(images):
    empty = images([], [], mask=np.full(SHAPE, bits("BAD"), np.int32))
    with pytest.raises(CoverageError):
        search(empty)


def test_noise_that_varies_is_reckoned_with(images):
    """Half of the image is five times as noisy, and its variance says so."""
    rng = np.random.default_rng(3)
    quiet = images([], [])
    factor = np.where(np.arange(SHAPE[1]) < 200, 1.0, 5.0).astype(np.float32)
    noisy = MaskedImage(
        (rng.normal(0, NOISE, SHAPE) * factor).astype(np.float32),
        (NOISE**2 * np.broadcast_to(factor, SHAPE) ** 2).astype(np.float32),
        np.zeros(SHAPE, np.int32),
    )
    layers = replace(quiet, difference=Layer(noisy, quiet.difference.psf))
    score = score_image(layers.difference)
    assert np.nanstd(score.values[:, :190]) == pytest.approx(1.0, abs=0.06)
    assert np.nanstd(score.values[:, 210:]) == pytest.approx(1.0, abs=0.06)
    assert len(search(layers).sources) <= 1


def test_signs_are_merged_within_the_gap_only():
    values = np.zeros((40, 60), np.float32)
    values[20, 10], values[20, 18], values[20, 50] = 9.0, -7.0, 6.0
    found = find_footprints(values, 5.0, 3.0, 2).found
    assert [[p.score for p in f.peaks] for f in found] == [[9.0, -7.0], [6.0]]
    apart = find_footprints(values, 5.0, 2.0, 2).found
    assert len(apart) == 3
    assert apart[0].area == 13


def test_the_result_does_not_depend_on_threads(images):
    layers = images(lattice(3e3), [(111.0, 77.0, 2e4)])
    results = []
    for threads in (1, 3):
        with limit_threads(threads):
            results.append(search(layers))
    assert repr(results[0].sources) == repr(results[1].sources)
    assert results[0].mask.tobytes() == results[1].mask.tobytes()
