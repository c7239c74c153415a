"""The simulated survey is what its truth says: positions, fluxes, noise, masks, bytes."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from app.demo.files import Exposure
from app.demo.render import render
from app.demo.schedule import plan_visits
from app.demo.settings import BANDS, Camera, SurveySettings, demo_sky_map
from app.demo.survey import find_tract_boundary, make_survey
from app.demo.truth import SurveyTruth, find_survey
from app.demo.universe import make_universe
from app.pixels.image import UNUSABLE, bits
from app.sky.shapes import Point

SEED = 7
TINY = SurveySettings(
    camera=Camera(columns=2, rows=1, nx_px=336, ny_px=300, gap_px=12),
    bands=BANDS[1:2],
    quiet_epochs=1,
    active_epochs=3,
    dither_arcsec=10.0,
    transients=6,
    variables=2,
)


@dataclass(frozen=True)
class Opened:
    """One file of the survey with what it should show without noise (ADU)."""

    exposure: Exposure
    flux: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.int32]
    wcs: WCS
    expected: NDArray[np.float64]
    constant: NDArray[np.float64]
    """The expected image without transients and variables."""


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> SurveyTruth:
    return make_survey(tmp_path_factory.mktemp("survey"), seed=SEED, workers=1, settings=TINY)


@pytest.fixture(scope="module")
def opened(survey: SurveyTruth) -> list[Opened]:
    return [_open(survey, exposure) for exposure in survey.exposures]


def _open(survey: SurveyTruth, exposure: Exposure) -> Opened:
    with fits.open(survey.folder / exposure.path) as hdus:
        flux, variance, mask = (np.array(hdus[n].data) for n in ("IMAGE", "VARIANCE", "MASK"))
        wcs = WCS(hdus["IMAGE"].header)
    visits = {v.visit: v for v in plan_visits(TINY, survey.centre_deg, SEED)}
    universe = make_universe(TINY, survey.centre_deg, SEED)
    still = dataclasses.replace(universe, transients=(), variables=())
    visit, gain = visits[exposure.visit], exposure.gain_e_per_adu
    return Opened(
        exposure,
        flux,
        variance,
        mask,
        wcs,
        render(universe, visit, wcs, flux.shape).source_e / gain,
        render(still, visit, wcs, flux.shape).source_e / gain,
    )


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_same_seed_gives_the_same_bytes_whatever_the_workers(
    survey: SurveyTruth, tmp_path: Path
) -> None:
    calls: list[tuple[str, int, int]] = []
    again = make_survey(
        tmp_path, seed=SEED, workers=2, settings=TINY, progress=lambda *c: calls.append(c)
    )
    assert _digests(tmp_path) == _digests(survey.folder)
    assert again.exposures == survey.exposures
    assert calls[-1] == ("simulate", 8, 8)


def test_another_seed_gives_another_sky(survey: SurveyTruth, tmp_path: Path) -> None:
    small = dataclasses.replace(TINY, quiet_epochs=0, active_epochs=1)
    other = make_survey(tmp_path, seed=SEED + 1, workers=1, settings=small)
    assert other.transients != survey.transients


def test_a_finished_survey_is_left_as_it_is(survey: SurveyTruth) -> None:
    before = {p: p.stat().st_mtime_ns for p in survey.folder.rglob("*")}
    again = make_survey(survey.folder, seed=SEED, workers=1, settings=TINY)
    assert again == survey == find_survey(survey.folder)
    assert before == {p: p.stat().st_mtime_ns for p in survey.folder.rglob("*")}


def test_the_field_lies_in_two_tracts(survey: SurveyTruth) -> None:
    patches = demo_sky_map().find_patches(Point(*survey.centre_deg))
    assert len({p.tract for p in patches}) == 2
    lon, lat = survey.centre_deg
    assert find_tract_boundary(demo_sky_map(), lon - 0.5, lat)[1] == lat


def test_files_are_laid_out_as_pipelines_write_them(survey: SurveyTruth) -> None:
    exposure = survey.exposures[3]
    with fits.open(survey.folder / exposure.path) as hdus:
        assert [h.name for h in hdus] == ["PRIMARY", "IMAGE", "MASK", "VARIANCE"]
        cards = hdus[0].header
        assert (cards["VISIT"], cards["DETECTOR"]) == (exposure.visit, exposure.detector)
        assert cards["MJD-OBS"] == exposure.mjd and cards["EXPTIME"] == exposure.exposure_s
        assert hdus["IMAGE"].header["MAGZERO"] == exposure.zero_point_mag
        assert hdus["MASK"].header["MP_SAT"] == 1 and hdus["MASK"].header["MP_NO_DATA"] == 8
        assert hdus["IMAGE"].header["CTYPE1"] == "RA---TAN-SIP"


def test_stars_lie_where_the_wcs_says(survey: SurveyTruth, opened: list[Opened]) -> None:
    stars = Table.read(survey.folder / "stars.ecsv")
    offsets = np.concatenate([_centroid_offsets(image, stars) for image in opened])
    assert len(offsets) > 20
    assert np.max(np.hypot(*offsets.T)) < 0.1
    assert np.all(np.abs(np.mean(offsets, axis=0)) < 0.01)


def _centroid_offsets(image: Opened, stars: Table) -> NDArray[np.float64]:
    """Measured less predicted position (px) of bright stars once all other light is taken off."""
    bright = stars[(stars["mag_r"] > 17.5) & (stars["mag_r"] < 20.0)]
    x, y = image.wcs.all_world2pix(bright["ra"], bright["dec"], 0)
    ny, nx = image.flux.shape
    offsets = []
    for px, py, mag in zip(x, y, bright["mag_r"], strict=True):
        if not (12 < px < nx - 13 and 12 < py < ny - 13):
            continue
        cut = np.s_[round(py) - 9 : round(py) + 10, round(px) - 9 : round(px) + 10]
        star_adu = 10 ** (-0.4 * (mag - image.exposure.zero_point_mag))
        alone = abs(image.expected[cut].sum() / star_adu - 1) < 0.03
        if not alone or np.any(image.mask[cut] & UNUSABLE):
            continue
        yy, xx = np.mgrid[cut]
        weight = np.exp(-((xx - px) ** 2 + (yy - py) ** 2) / (2 * 1.5**2)) * image.flux[cut]
        offsets.append(
            (
                2 * ((weight * (xx - px)).sum() / weight.sum()),
                2 * ((weight * (yy - py)).sum() / weight.sum()),
            )
        )
    return np.array(offsets).reshape(-1, 2)


def test_fluxes_agree_with_the_zero_point(survey: SurveyTruth, opened: list[Opened]) -> None:
    stars = Table.read(survey.folder / "stars.ecsv")
    galaxies = Table.read(survey.folder / "galaxies.ecsv")
    ratios = np.concatenate([_flux_ratios(image, stars, galaxies) for image in opened])
    assert len(ratios) > 12
    assert np.median(ratios) == pytest.approx(1.0, abs=0.01)


def _flux_ratios(image: Opened, stars: Table, galaxies: Table) -> NDArray[np.float64]:
    """Aperture flux over true flux of bright stars with no neighbour that would tell."""
    ra, dec, mag = (
        np.concatenate([stars[n], galaxies[n]]).astype(float) for n in ("ra", "dec", "mag_r")
    )
    x, y = image.wcs.all_world2pix(ra, dec, 0)
    yy, xx = np.indices(image.flux.shape)
    ratios = []
    for k in np.flatnonzero((stars["mag_r"] > 17.0) & (stars["mag_r"] < 19.5)):
        near = np.hypot(xx - x[k], yy - y[k]) < 12
        beside = (np.hypot(x - x[k], y - y[k]) < 20) & (mag < mag[k] + 4) & (mag != mag[k])
        if near.sum() < 440 or beside.any() or np.any(image.mask[near] & UNUSABLE):
            continue
        true_adu = 10 ** (-0.4 * (mag[k] - image.exposure.zero_point_mag))
        ratios.append(float(image.flux[near].sum()) / true_adu)
    return np.array(ratios)


def test_transients_have_their_light_curve(survey: SurveyTruth, opened: list[Opened]) -> None:
    curve = Table.read(survey.folder / "lightcurves.ecsv")
    flux_njy = {(row["name"], row["visit"]): row["flux_njy"] for row in curve}
    pulls = []
    for image in opened:
        for source in survey.transients:
            measured = _measure_change(image, source.lon_deg, source.lat_deg)
            if measured is not None:
                adu_per_njy = 10 ** (0.4 * (image.exposure.zero_point_mag - 31.4))
                true_adu = flux_njy[source.name, image.exposure.visit] * adu_per_njy
                pulls.append(((measured[0] - true_adu) / measured[1], true_adu / measured[1]))
    significance = np.array(pulls)
    assert np.abs(significance[:, 0]).max() < 4.0
    assert significance[:, 1].max() > 20, "a transient should be seen"
    assert np.sum(significance[:, 1] < 0.1) >= 2, "before the event there is nothing"


def _measure_change(image: Opened, lon_deg: float, lat_deg: float) -> tuple[float, float] | None:
    """(flux, error) in an aperture once everything constant is taken off; None when masked."""
    x, y = (float(c) for c in image.wcs.all_world2pix(lon_deg, lat_deg, 0))
    yy, xx = np.indices(image.flux.shape)
    near = np.hypot(xx - x, yy - y) < 12
    if near.sum() < 440 or np.any(image.mask[near] & UNUSABLE):
        return None
    change = (image.flux - image.constant)[near]
    return float(change.sum()), float(np.sqrt(image.variance[near].sum()))


def test_variance_is_the_noise(opened: list[Opened]) -> None:
    for image in opened:
        pull = (image.flux - image.expected) / np.sqrt(image.variance)
        good = (image.mask & ~bits("DETECTED")) == 0
        for x, y in image.exposure.missed_cosmic_rays:
            good[y, x] = False
        assert np.std(pull[good]) == pytest.approx(1.0, abs=0.02)
        assert np.mean(pull[good]) == pytest.approx(0.0, abs=0.03)


def test_masks_know_of_everything_that_is_not_sky(opened: list[Opened]) -> None:
    for image in opened:
        pull = np.nan_to_num((image.flux - image.expected) / np.sqrt(image.variance))
        odd = np.abs(pull) > 6
        known = (image.mask & bits("SAT", "CR", "BAD", "NO_DATA")) != 0
        for x, y in image.exposure.missed_cosmic_rays:
            known[y, x] = True
        assert not np.any(odd & ~known)
        cosmic_rays = image.mask == bits("CR")
        assert not cosmic_rays.any() or np.median(pull[cosmic_rays]) > 6


def test_saturated_pixels_sit_at_the_full_well(opened: list[Opened]) -> None:
    seen = 0
    for image in opened:
        limit = TINY.camera.full_well_e / image.exposure.gain_e_per_adu - image.exposure.sky_adu
        saturated = image.mask & bits("SAT", "BAD") == bits("SAT")
        assert np.all(np.abs(image.flux[saturated] - limit) < 0.01 * limit)
        seen += int(saturated.sum())
    assert seen > 0


def test_the_dead_amplifier_has_no_data(opened: list[Opened]) -> None:
    for image in opened:
        last = image.exposure.detector == TINY.camera.detectors - 1
        no_data = (image.mask & bits("NO_DATA")) != 0
        assert no_data.any() == last
        assert np.array_equal(np.isnan(image.flux), no_data)
        if last:
            assert no_data[:75, :112].all() and no_data.sum() == 75 * 112
