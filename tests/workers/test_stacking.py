"""Templates whose artefacts are found, of direct and of PSF-matched warps, and their tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter

from app.errors import ParameterError
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage, bits
from app.pixels.model_psf import ModelPsf
from app.pixels.psf_field import Profile
from app.pixels.warp import warp
from app.recipes.plan import make_plan
from app.recipes.recipe import BuildPlan, Recipe, TemplateOptions
from app.recipes.select import Candidate, Chosen
from app.sky.predicates import contains_point
from app.sky.shapes import Point
from app.sky.stcs import parse_region
from app.stores.coadd_rows import CoaddRowsStore
from app.stores.images import ImageStore
from app.stores.psf_files import find_psf
from app.stores.warps import WarpStore
from app.workers.stacking import stack
from app.workers.sub_regions import Ahead, prepare, rows_ahead
from app.workers.tasks import build
from app.workers.work import STAGES, Limits, Work
from tests.truth.exposures import Truth, simulate
from tests.truth.files import write_exposures
from tests.truth.settings import TruthSettings

FIELD = TruthSettings(size_px=400, exposures=6, stars=40, galaxies=10, trails=1, cosmic_rays=8)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return simulate(FIELD)


@pytest.fixture(scope="module")
def chosen(truth: Truth, tmp_path_factory: pytest.TempPathFactory) -> Chosen:
    refs = write_exposures(truth, tmp_path_factory.mktemp("truth"))
    return Chosen(
        inputs=tuple(
            Candidate(ref=ref, region=None, exposure=f"visit {n // 2}")
            for n, ref in enumerate(refs)
        )
    )


def plan_of(chosen: Chosen, data_dir: Path, options: TemplateOptions) -> BuildPlan:
    grid = FIELD.target_grid()
    return make_plan(
        Recipe(
            kind="template",
            band="r",
            grid=grid.to_text(),
            inputs=tuple((c.ref.dataset_id, c.ref.checksum) for c in chosen.inputs),
            template=options,
        ),
        chosen,
        shape=grid.shape,
        authority="test.local",
        root=str(data_dir),
        max_pixels=10**8,
    )


def make(chosen: Chosen, data_dir: Path, options: TemplateOptions) -> Path:
    plan = plan_of(chosen, data_dir, options)
    build(
        plan,
        lambda: False,
        lambda *_: None,
        ImageStore(data_dir=Path("/")),
        WarpStore(folder=data_dir / "warps", max_bytes=0),
        Limits(),
    )
    return Path(plan.output_path)


@pytest.mark.parametrize("statistic", ["safeclip", "comparewarp"])
def test_artefacts_are_left_out_and_told(
    truth: Truth, chosen: Chosen, tmp_path: Path, statistic: Literal["safeclip", "comparewarp"]
) -> None:
    clean = make(chosen, tmp_path, TemplateOptions(statistic=statistic))
    plain = make(chosen, tmp_path, TemplateOptions(statistic="mean"))
    with fits.open(clean) as product, fits.open(plain) as mean:
        assert product[0].header["STATISTC"] == statistic
        clipped = (product["MASK"].data & bits("CLIPPED")) != 0
        assert ((product["MASK"].data[clipped] & bits("INEXACT_PSF")) != 0).all()
        apart = (mean["IMAGE"].data - product["IMAGE"].data) / np.sqrt(product["VARIANCE"].data)
        assert 0.001 < clipped.mean() < 0.2
        measured = (product["MASK"].data & bits("NO_DATA")) == 0
        assert np.abs(apart[measured & ~clipped]).max() < 1e-3
        assert (apart[clipped] > 5).sum() > 200
        assert any(row["clipped_fraction"] > 0 for row in product["CCDS"].data)
        streak = (product["MASK"].data & bits("STREAK")) != 0
        assert clipped[streak].all() and not (mean["MASK"].data & bits("STREAK")).any()
    assert streak[_trail(truth) & measured].mean() > 0.95
    assert streak.mean() < 0.1


def _trail(truth: Truth) -> NDArray[np.bool_]:
    """Where the satellite of the field adds more than two sigma to a pixel of its exposure."""
    (crossed,) = [each for each in truth.observations if "trail" in each.artefacts]
    added = crossed.artefact_significance("trail")
    alone = MaskedImage(added, np.ones_like(added), np.zeros(added.shape, dtype=np.int32))
    return np.nan_to_num(warp(alone, crossed.grid, FIELD.target_grid()).flux) > 2.0


@pytest.mark.parametrize("profile", ["gaussian", "doublegaussian"])
def test_psf_matched_warps_give_the_model_psf(
    truth: Truth, chosen: Chosen, tmp_path: Path, profile: Literal["gaussian", "doublegaussian"]
) -> None:
    options = TemplateOptions(statistic="mean", warp="psfmatched", model_psf=profile)
    done = make(chosen, tmp_path, options)
    worst = max(c.ref.fwhm_arcsec or 0.0 for c in chosen.inputs)
    with fits.open(done) as product:
        header, ccds = product[0].header, product["CCDS"].data
        flux, psf = product["IMAGE"].data.astype(np.float64), find_psf(product, 1, (400, 400))
    assert header["WARPTYPE"] == "psfmatched" and header["MODELPSF"] == profile
    assert header["MODFWHM"] == pytest.approx(1.1 * worst, rel=0.03)
    assert header["FWHM"] == pytest.approx(header["MODFWHM"], rel=0.002)
    assert (header["NFROMPSF"], header["NFROMWID"]) == (6, 0)
    assert set(ccds["warp"]) == {"psf-matched"}
    model = ModelPsf(header["MODFWHM"] / FIELD.scale_arcsec, profile)
    for x, y in ((120.0, 200.0), (300.0, 250.0)):
        np.testing.assert_allclose(psf.profile(x, y).stamp(12), model.stamp(12), atol=1e-5)
    widths = list(_widths_of_stars(truth, flux))
    assert len(widths) > 3
    assert np.median(widths) == pytest.approx(model.fwhm_px, rel=0.01)


def _widths_of_stars(truth: Truth, flux: NDArray[np.float64]) -> Iterator[float]:
    """FWHM (px) of bright stars that stand alone."""
    sources, brightness = truth.sources, np.quantile(truth.sources.flux_njy, 0.6)
    alone = sources.is_star & sources.isolated(4.0) & (sources.flux_njy > brightness)
    saturated = sources.flux_njy > np.quantile(sources.flux_njy, 0.97)
    x, y = FIELD.target_grid().sky_to_pixel(sources.lon_deg, sources.lat_deg)
    for star in np.flatnonzero(alone & ~saturated):
        i, j = round(float(x[star])), round(float(y[star]))
        if min(i, j) > 40 and max(i, j) < 360:
            stamp = flux[j - 15 : j + 16, i - 15 : i + 16]
            yield Profile(stamp / stamp.sum(), 1.0).shape().fwhm_px


def test_a_model_sharper_than_an_input_is_refused(chosen: Chosen, tmp_path: Path) -> None:
    worst = max(chosen.inputs, key=lambda each: each.ref.fwhm_arcsec or 0.0).ref
    unknown = tuple(replace(c, ref=replace(c.ref, fwhm_arcsec=None)) for c in chosen.inputs)
    options = TemplateOptions(warp="psfmatched", model_fwhm_arcsec=1.0)
    for told in (chosen, replace(chosen, inputs=unknown)):
        with pytest.raises(ParameterError, match="MODEL_FWHM") as fault:
            make(told, tmp_path, options)
        assert worst.dataset_id in str(fault.value)
    wide = TemplateOptions(statistic="mean", warp="psfmatched", model_fwhm_arcsec=2.0)
    with fits.open(make(chosen, tmp_path, wide)) as product:
        assert product[0].header["FWHM"] == pytest.approx(2.0, rel=0.002)


def test_an_input_that_shows_no_stars_is_matched_by_its_width(
    chosen: Chosen, tmp_path: Path
) -> None:
    first, blank = chosen.inputs[0].ref, tmp_path / "blank.fits"
    with fits.open(first.planes[0].path) as exposure:
        shape = exposure["IMAGE"].data.shape
        noise = np.random.default_rng(1).normal(0.0, 20.0, shape)
        exposure["IMAGE"].data = noise.astype(np.float32)
        exposure["VARIANCE"].data = np.full(shape, 400.0, np.float32)
        exposure.writeto(blank)
    planes = tuple(replace(plane, path=str(blank)) for plane in first.planes)
    starless = replace(chosen.inputs[0], ref=replace(first, planes=planes, checksum="blank"))
    both = replace(chosen, inputs=(starless, *chosen.inputs[1:]))
    with fits.open(make(both, tmp_path, TemplateOptions(warp="psfmatched"))) as product:
        header, ccds = product[0].header, product["CCDS"].data
    assert (header["NFROMPSF"], header["NFROMWID"]) == (5, 1)
    assert ccds["warp"].tolist().count("fwhm-matched") == 1
    assert ccds["warp"][list(ccds["dataset_id"]).index(first.dataset_id)] == "fwhm-matched"


def test_artefacts_are_left_out_before_they_are_smeared(
    truth: Truth, chosen: Chosen, tmp_path: Path
) -> None:
    """A trail that is found leaves nothing beside it when its exposure is convolved."""
    done = [
        make(chosen, tmp_path, TemplateOptions(statistic=statistic, warp=warp))
        for statistic, warp in (("comparewarp", "psfmatched"), ("comparewarp", "direct"))
    ]
    beside = binary_dilation(_trail(truth), iterations=12)
    planes = []
    for path in done:
        with fits.open(path) as product:
            planes.append(product["IMAGE"].data.astype(np.float64))
            noise = np.sqrt(product["VARIANCE"].data)
    with np.errstate(invalid="ignore"):
        blank = beside & (np.abs(gaussian_filter(planes[1], 3.0)) < 2.0 * noise)
    assert blank.sum() > 2000
    assert abs(np.nanmedian(planes[0][blank] - planes[1][blank])) < 0.1 * np.nanmedian(noise)


def test_unknown_seeing_is_measured_before_it_is_matched(chosen: Chosen, tmp_path: Path) -> None:
    first = replace(chosen.inputs[0], ref=replace(chosen.inputs[0].ref, fwhm_arcsec=None))
    unknown = replace(chosen, inputs=(first, *chosen.inputs[1:]))
    with fits.open(make(unknown, tmp_path, TemplateOptions(warp="psfmatched"))) as product:
        assert product[0].header["NPSF"] == len(chosen.inputs)


@pytest.mark.parametrize("statistic", ["mean", "comparewarp"])
def test_the_input_map_tells_which_inputs_each_pixel_has(
    truth: Truth, chosen: Chosen, tmp_path: Path, statistic: Literal["mean", "comparewarp"]
) -> None:
    path = make(chosen, tmp_path, TemplateOptions(statistic=statistic))
    with fits.open(path, disable_image_compression=True) as coded:
        assert coded["INPUTMAP"].verify_checksum() == coded["INPUTMAP"].verify_datasum() == 1
    with fits.open(path) as product:
        planes, wcs = product["INPUTMAP"].data, product["INPUTMAP"].header
        count, mask, ccds = product["NIMAGE"].data, product["MASK"].data, product["CCDS"].data
    assert planes.dtype == np.uint8 and planes.shape == (1, 400, 400) and "CRVAL1" in wcs
    each = [(planes[n // 8] >> n % 8) & 1 for n in range(len(ccds))]
    clipped = (mask & bits("CLIPPED")) != 0
    assert np.array_equal(np.sum(each, axis=0)[~clipped], count[~clipped])
    assert clipped.any() == (statistic == "comparewarp")
    assert (np.sum(each, axis=0)[clipped] < count[clipped]).all()
    for has, row in zip(each, ccds, strict=True):
        box = np.s_[row["y_start"] : row["y_stop"], row["x_start"] : row["x_stop"]]
        assert has.sum() == has[box].sum()
        kept = row["n_pixels"] * (1.0 - row["clipped_fraction"])
        assert has.sum() == pytest.approx(kept, abs=0.5)


def test_tables_tell_what_each_place_is_made_of(chosen: Chosen, tmp_path: Path) -> None:
    with fits.open(make(chosen, tmp_path, TemplateOptions())) as product:
        names = [unit.name for unit in product]
        visits, ccds = product["VISITS"].data, product["CCDS"].data
        count, header = product["NIMAGE"].data, product["NIMAGE"].header
        weights = product["INPUTS"].data["weight"]
    assert names[:5] == ["PRIMARY", "IMAGE", "MASK", "VARIANCE", "INPUTS"]
    assert len(ccds) == 6 and len(visits) == 3 and visits["n_ccds"].tolist() == [2, 2, 2]
    assert count.dtype.kind == "i" and count.min() >= 0 and count.max() == 6
    assert "CRVAL1" in header
    np.testing.assert_allclose(ccds["weight"], weights)
    assert visits["weight"].sum() == pytest.approx(1.0)
    assert int(ccds["n_pixels"].sum()) == int(count.sum())
    assert set(ccds["visit"]) == {0, 1, 2}
    _polygons_agree_with_the_counts(ccds, count)


@pytest.mark.parametrize(
    ("statistic", "warp"),
    [("meanclip", "direct"), ("comparewarp", "direct"), ("comparewarp", "psfmatched")],
)
def test_rows_that_were_lost_are_made_when_they_are_joined(
    chosen: Chosen,
    tmp_path: Path,
    statistic: Literal["meanclip", "comparewarp"],
    warp: Literal["direct", "psfmatched"],
) -> None:
    stages: set[str] = set()
    plan = plan_of(chosen, tmp_path, TemplateOptions(statistic=statistic, warp=warp))
    work = Work(
        plan=plan,
        grid=FIELD.target_grid(),
        images=ImageStore(data_dir=Path("/")),
        warps=WarpStore(folder=tmp_path / "warps", max_bytes=2**30),
        limits=Limits(),
        should_stop=lambda: False,
        progress=lambda stage, *_: stages.add(stage),
    )
    store = CoaddRowsStore(folder=tmp_path / "rows")
    regions = ((0, 90), (90, 230), (230, 400))
    preparation = prepare(work)
    for region in regions:
        rows_ahead(work, preparation, region, store)
    first, second, _ = sorted((tmp_path / "rows").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:-5000])
    with ExitStack() as files:
        gathered, joined, combination = Ahead(preparation, regions, store).finish(work, files)
        whole = stack(work, [each.warped for each in gathered.kept], combination)
    assert joined.image.flux.tobytes() == whole.image.flux.tobytes()
    assert joined.image.mask.tobytes() == whole.image.mask.tobytes()
    assert joined.clipped_fraction == whole.clipped_fraction
    assert not list((tmp_path / "rows").iterdir())
    assert stages <= set(STAGES)
    assert ("psf" in stages, "artefacts" in stages) == (
        warp == "psfmatched",
        statistic == "comparewarp",
    )


def _polygons_agree_with_the_counts(ccds: np.ndarray, count: np.ndarray) -> None:
    """At places away from borders as many polygons hold the place as inputs are counted."""
    grid: Grid = FIELD.target_grid()
    regions = [parse_region(text) for text in ccds["s_region"]]
    agree = 0
    for y, x in np.random.default_rng(0).integers(20, 380, (60, 2)):
        lon, lat = grid.pixel_to_sky(np.array([float(x)]), np.array([float(y)]))
        place = Point(float(lon[0]), float(lat[0]))
        agree += sum(contains_point(region, place) for region in regions) == count[y, x]
    assert agree >= 50
