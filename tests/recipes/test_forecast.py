"""What a plan promises, against what stacking simulated noise gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from astropy.io.fits import Header

from app.pixels.coadd import coadd
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage, bits
from app.pixels.warp import warp
from app.pixels.warped import in_memory
from app.recipes.forecast import forecast
from app.recipes.recipe import BuildPlan, ImageRef, Recipe, TemplateOptions

SIDE = 160


def grid(*, shift_px: float = 0.0, scale_arcsec: float = 0.4, angle_deg: float = 0.0) -> Grid:
    """A square of pixels near (150, 2)."""
    angle, step = math.radians(angle_deg), scale_arcsec / 3600
    header = Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = 150.0, 2.0
    header["CRPIX1"] = header["CRPIX2"] = (SIDE + 1) / 2 + shift_px
    header["CD1_1"], header["CD1_2"] = -step * math.cos(angle), step * math.sin(angle)
    header["CD2_1"], header["CD2_2"] = step * math.sin(angle), step * math.cos(angle)
    return Grid.from_header(header, (SIDE, SIDE))


def image(name: str, own: Grid, **facts: float | None) -> ImageRef:
    """An exposure of 30 s with a zero point of 31.4: its flux unit is nJy."""
    told: dict[str, float | None] = {"zero_point_mag": 31.4, "exposure_s": 30.0, **facts}
    return ImageRef(dataset_id=name, planes=(), grid=own.to_text(), **told)  # type: ignore[arg-type]


def plan(*inputs: ImageRef, science: ImageRef | None = None, **options: str) -> BuildPlan:
    """A template of inputs on the plain grid."""
    recipe = Recipe(
        kind="template" if science is None else "difference",
        band="i",
        grid=grid().to_text(),
        inputs=(),
        template=TemplateOptions(**options),  # type: ignore[arg-type]
    )
    return BuildPlan(recipe=recipe, dataset_id="x", output_path="x", inputs=inputs, science=science)


INPUTS = (
    image("a", grid(angle_deg=20), noise=2.0, fwhm_arcsec=0.9),
    image("b", grid(angle_deg=-31, scale_arcsec=0.5), noise=3.0, fwhm_arcsec=1.0),
    image("c", grid(angle_deg=7), noise=4.0, fwhm_arcsec=1.4, zero_point_mag=31.0),
)


@pytest.mark.parametrize("statistic", ["mean", "median"])
@pytest.mark.parametrize("kernel", ["lanczos3", "bilinear"])
def test_noise_and_weights_are_those_of_a_stack(kernel: str, statistic: str) -> None:
    asked = plan(*INPUTS, kernel=kernel, statistic=statistic)
    told = forecast(asked)
    warped = []
    for ref, each in zip(INPUTS, told.inputs, strict=True):
        noise = float(ref.noise or 0) * each.scale
        stored = MaskedImage(
            np.zeros((SIDE, SIDE), np.float32),
            np.full((SIDE, SIDE), noise**2, np.float32),
            np.zeros((SIDE, SIDE), np.int32),
        )
        warped.append(warp(stored, Grid.from_text(ref.grid), grid(), kernel=kernel))
    stack = coadd(in_memory(warped), statistic=statistic)  # type: ignore[arg-type]
    middle = np.s_[SIDE // 2 - 20 : SIDE // 2 + 20, SIDE // 2 - 20 : SIDE // 2 + 20]
    built = float(np.sqrt(np.median(stack.image.variance[middle])))
    cells = len(told.coverage.noise) // 2
    assert told.coverage.noise[cells, cells] == pytest.approx(built, rel=0.04)
    shares = np.array(stack.weights) / sum(stack.weights)
    assert [each.weight for each in told.inputs] == pytest.approx(list(shares), rel=0.04)


def test_masked_pixels_cost_depth() -> None:
    rng = np.random.default_rng(5)
    refs = [image(str(n), grid(), noise=2.0, fwhm_arcsec=1.0, usable_fraction=0.7) for n in "abcd"]
    told = forecast(plan(*refs, kernel="nearest"))
    images = [
        MaskedImage(
            np.zeros((SIDE, SIDE), np.float32),
            np.full((SIDE, SIDE), 4.0, np.float32),
            np.where(rng.random((SIDE, SIDE)) < 0.3, bits("BAD"), 0).astype(np.int32),
        )
        for _ in refs
    ]
    stack = coadd(in_memory(images), statistic="mean")
    seen = stack.n_image > 0
    built = float(np.sqrt(1 / np.mean(1 / stack.image.variance[seen])))
    assert told.noise == pytest.approx(built, rel=0.02)
    assert told.noise == pytest.approx(1.0 / math.sqrt(0.7), rel=1e-6)


def test_coverage_counts_exposures() -> None:
    half = image("half", grid(shift_px=SIDE / 2), noise=2.0, fwhm_arcsec=1.0)
    full = image("full", grid(), noise=2.0, fwhm_arcsec=1.0)
    told = forecast(plan(half, full))
    counts = told.coverage.n_exposures
    assert counts.min() == 1 and counts.max() == 2
    assert np.mean(counts == 2) == pytest.approx(0.25, abs=0.02)
    assert (told.covered_fraction, told.median_n_exposures) == (1.0, 1.0)
    only = forecast(plan(half))
    assert only.covered_fraction == pytest.approx(0.25, abs=0.02)


def test_the_psf_of_a_sum_is_narrower_than_the_mean_of_its_parts() -> None:
    widths = (0.8, 1.6)
    inputs = [image(str(w), grid(), noise=2.0, fwhm_arcsec=w) for w in widths]
    fwhm = forecast(plan(*inputs)).fwhm_arcsec
    x = np.linspace(0, 2, 20001)
    profile = sum(np.exp(-4 * math.log(2) * (x / w) ** 2) / w**2 for w in widths)
    half = 2 * x[np.argmin(np.abs(profile - profile[0] / 2))]
    assert fwhm == pytest.approx(float(half), rel=1e-3)
    assert forecast(plan(*inputs, warp="psfmatched")).fwhm_arcsec == pytest.approx(1.1 * 1.6)
    asked = plan(*inputs, warp="psfmatched", model_fwhm_arcsec=2.5)
    assert forecast(asked).fwhm_arcsec == 2.5


def test_an_image_of_unknown_noise_is_taken_as_sky_limited() -> None:
    known = image("known", grid(), noise=2.0, fwhm_arcsec=1.0)
    same = image("same", grid(), fwhm_arcsec=1.0)
    deeper = image(
        "deeper", grid(), fwhm_arcsec=1.0, exposure_s=120.0, zero_point_mag=31.4 + 2.5 * 0.60206
    )
    told = {each.ref.dataset_id: each for each in forecast(plan(known, same, deeper)).inputs}
    assert told["same"].weight == pytest.approx(told["known"].weight)
    assert told["deeper"].weight == pytest.approx(4 * told["known"].weight, rel=1e-3)
    assert told["same"].noise is None and told["known"].noise is not None


def test_what_is_not_known_is_not_told() -> None:
    blind = [image(name, grid(), zero_point_mag=None, noise=2.0) for name in "ab"]
    told = forecast(plan(*blind))
    assert (told.noise, told.depth_mag, told.fwhm_arcsec, told.zero_point_mag) == (None,) * 4
    assert [each.weight for each in told.inputs] == pytest.approx([0.5, 0.5])


def test_a_difference_adds_the_noise_of_the_science_image() -> None:
    science = image("s", grid(), noise=3.0, fwhm_arcsec=1.2)
    template = forecast(plan(*INPUTS[:1])).noise
    told = forecast(plan(*INPUTS[:1], science=science))
    assert template is not None and told.noise is not None
    assert told.noise == pytest.approx(math.hypot(template, 3.0))
    assert told.fwhm_arcsec == 1.2


def test_coadds_share_their_exposures() -> None:
    stacked = forecast(plan(*INPUTS[:1], *INPUTS[:1], kernel="nearest")).noise
    merged = forecast(plan(*INPUTS[:1], *INPUTS[:1], kernel="nearest", source="coadds")).noise
    assert stacked is not None and merged == pytest.approx(stacked * math.sqrt(2))
