"""Builds on small real FITS files: what the pixels and the product say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from astropy.io import fits
from astropy.units import Unit

from app.errors import CoverageError, ImageFormatError, StoppedError
from app.pixels.bands import limit_threads
from app.pixels.grid import Grid
from app.pixels.image import MASK_PLANES
from app.recipes.plan import make_plan
from app.recipes.recipe import (
    BuildPlan,
    BuildReport,
    DifferenceOptions,
    ImageRef,
    Recipe,
    TemplateOptions,
)
from app.recipes.select import Candidate, Chosen
from app.sky.predicates import contains_region
from app.sky.stcs import parse_region
from app.stores.images import ImageStore
from app.stores.warps import WarpStore
from app.workers.tasks import build
from app.workers.work import Limits
from tests.services.survey import (
    AUTHORITY,
    CENTRE,
    SCALE_ARCSEC,
    SKY_NOISE,
    TRANSIENT,
    TRANSIENT_FLUX,
    Exposure,
    exposure_header,
    image_ref,
    standard_exposures,
    star_field,
    write_exposure,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The standard exposures, written once."""
    path = tmp_path_factory.mktemp("field")
    for exposure in standard_exposures():
        write_exposure(path, exposure)
    return path


def candidate(folder: Path, exposure: Exposure) -> Candidate:
    """An exposure as a build input."""
    path = folder / f"{exposure.band}-{exposure.visit}.fits"
    return Candidate(ref=image_ref(path, exposure), region=None, exposure=str(exposure.visit))


def plan_of(
    folder: Path,
    inputs: Sequence[Exposure],
    *,
    data_dir: Path,
    science: Exposure | None = None,
    explicit: bool = False,
) -> BuildPlan:
    """A template on the grid of the first input, or a difference on that of the science image."""
    chosen = Chosen(inputs=tuple(candidate(folder, exposure) for exposure in inputs))
    target = candidate(folder, science or inputs[0]).ref
    recipe = Recipe(
        kind="template" if science is None else "difference",
        band="i",
        grid=target.grid,
        inputs=tuple((c.dataset_id, c.ref.checksum) for c in chosen.inputs),
        science=None if science is None else (target.dataset_id, target.checksum),
        difference=None if science is None else DifferenceOptions(),
    )
    return make_plan(
        recipe,
        chosen,
        shape=Grid.from_text(target.grid).shape,
        authority=AUTHORITY,
        root=str(data_dir),
        max_pixels=10**8,
        science=None if science is None else target,
        explicit=explicit,
    )


def run(
    plan: BuildPlan,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    stages: list[str] | None = None,
    cache_bytes: int = 0,
    stack_memory_bytes: int = 2**28,
) -> BuildReport:
    """Build in this process."""
    seen = [] if stages is None else stages
    folder = Path(plan.output_path).parent / "warps"
    return build(
        plan,
        should_stop,
        lambda stage, *_: seen.append(stage),
        ImageStore(data_dir=Path("/")),
        WarpStore(folder=folder, max_bytes=cache_bytes),
        Limits(stack_memory_bytes=stack_memory_bytes),
    )


def aperture(report: BuildReport, lon_deg: float, lat_deg: float, radius_px: float = 8) -> float:
    """Flux in an aperture of the product."""
    x, y = (float(v) for v in Grid.from_text(report.grid).sky_to_pixel(lon_deg, lat_deg))
    data = fits.getdata(report.path, "IMAGE")
    yy, xx = np.indices(data.shape)
    return float(np.nansum(data[np.hypot(xx - x, yy - y) < radius_px]))


def test_a_template_is_calibrated_deep_and_complete(folder: Path, tmp_path: Path) -> None:
    stages: list[str] = []
    report = run(plan_of(folder, standard_exposures()[:4], data_dir=tmp_path), stages=stages)
    assert stages == ["warp"] * 4 + ["coadd", "write"]
    with fits.open(report.path, checksum=True) as hdus:
        assert [h.name for h in hdus] == [
            "PRIMARY",
            "IMAGE",
            "MASK",
            "VARIANCE",
            "INPUTS",
            "NIMAGE",
            "INPUTMAP",
            "VISITS",
            "CCDS",
            "PSF",
            "PSF_BASIS",
        ]
        header, flux, variance = hdus[0].header, hdus["IMAGE"].data, hdus["VARIANCE"].data
        rows = hdus["INPUTS"].data
        assert hdus["IMAGE"].header["BUNIT"] == "nJy"
        units = {
            name: {column.name: column.unit for column in hdus[name].columns if column.unit}
            for name in ("INPUTS", "VISITS", "CCDS")
        }
    times = {"mjd_beg": "d", "mjd_end": "d", "exptime_s": "s"}
    box = dict.fromkeys(("x_start", "x_stop", "y_start", "y_stop"), "pix")
    optics = {"fwhm_arcsec": "arcsec", "zero_point_mag": "mag"}
    assert units["INPUTS"] == times | optics
    assert units["VISITS"] == times | box | {"fwhm_arcsec": "arcsec"}
    assert units["CCDS"] == box | optics
    assert all(Unit(unit, format="vounit") for unit in (times | box | optics).values())
    assert header["NINPUT"] == 4 and header["BAND"] == "i" and header["MAGZERO"] == 31.4
    assert header["MJD-BEG"] == 60001 and header["EXPTIME"] == 120
    assert sum(rows["weight"]) == pytest.approx(1)
    njy = 10 ** (0.4 * (31.4 - 27.0))
    assert list(rows["scale"][:3]) == pytest.approx([njy] * 3)
    assert rows["scale"][3] == pytest.approx(njy / 0.8)
    lon, lat, total = star_field(60)
    x, y = Grid.from_text(report.grid).sky_to_pixel(lon, lat)
    inside = (x > 20) & (x < 180) & (y > 20) & (y < 180)
    alone = [
        i
        for i in np.flatnonzero(inside)
        if np.sort(np.hypot(x - x[i], y - y[i]))[1] > 20 and total[i] > 5000
    ]
    ratios = [aperture(report, lon[i], lat[i]) / (total[i] * njy) for i in alone]
    assert len(ratios) >= 3
    assert np.median(ratios) == pytest.approx(1, abs=0.02)
    sky = variance[100:, 100:]
    assert np.nanmedian(np.sqrt(sky)) < 0.65 * SKY_NOISE * njy
    assert abs(np.nanmedian(flux)) < 0.3 * SKY_NOISE * njy
    assert report.fwhm_arcsec == pytest.approx(3.05 * SCALE_ARCSEC, rel=0.1)
    assert (report.t_min, report.exposure_s) == (60001, 120)


def test_a_difference_shows_the_transient_alone(folder: Path, tmp_path: Path) -> None:
    *templates, science = standard_exposures()[:5]
    report = run(plan_of(folder, templates, data_dir=tmp_path, science=science))
    with fits.open(report.path) as hdus:
        header = hdus[0].header
        pull = hdus["IMAGE"].data / np.sqrt(hdus["VARIANCE"].data)
        good = (hdus["MASK"].data == 0) & np.isfinite(pull)
        assert hdus["IMAGE"].header["BUNIT"] == "adu"
    assert aperture(report, *TRANSIENT) == pytest.approx(TRANSIENT_FLUX, rel=0.1)
    assert aperture(report, *CENTRE, radius_px=5) < 0.1 * TRANSIENT_FLUX
    x, y = (float(v) for v in Grid.from_text(report.grid).sky_to_pixel(*TRANSIENT))
    yy, xx = np.indices(pull.shape)
    good &= np.hypot(xx - x, yy - y) > 12
    assert np.std(pull[good]) == pytest.approx(1, abs=0.15)
    assert header["KERNSUM"] == pytest.approx(1, abs=0.05)
    assert header["CONVOLVD"] == "template" and header["PRODKIND"] == "difference"
    assert [use.role for use in report.uses] == ["science"] + ["template"] * 4
    assert (report.t_min, report.zero_point_mag) == (60100, pytest.approx(27.0))


def test_a_difference_keeps_its_kernel(folder: Path, tmp_path: Path) -> None:
    """The recipe of docs/kernel.md gives kernels of the sum that the header tells."""
    *templates, science = standard_exposures()[:5]
    plan = plan_of(folder, templates, data_dir=tmp_path, science=science)
    options = DifferenceOptions(kernel_spatial_order=1)
    report = run(replace(plan, recipe=replace(plan.recipe, difference=options)))
    guide = (Path(__file__).parents[2] / "docs" / "kernel.md").read_text()
    recipe: dict[str, Any] = {}
    exec(guide.partition("```python")[2].partition("```")[0], recipe)
    kernels = [recipe["kernel_at"](report.path, x, y) for x, y in ((0, 0), (199, 100))]
    with fits.open(report.path) as hdus:
        assert [k.sum() for k in kernels] == pytest.approx([hdus[0].header["KERNSUM"]] * 2)
        assert hdus["KERNEL"].header["KERNORD"] == 1
        stars = hdus["KERNEL_STARS"].data
        assert stars["USED"].sum() == hdus[0].header["NSTAMPS"]
        assert (~stars["USED"]).sum() == hdus[0].header["NSTAMREJ"]
    border = options.border_px
    for axis in ("X", "Y"):
        assert -border <= stars[axis].min() and stars[axis].max() < 200 + border
    assert not np.allclose(*kernels)
    brightest = np.unravel_index(np.argmax(kernels[0]), kernels[0].shape)
    assert np.hypot(*(np.array(brightest) - kernels[0].shape[0] // 2)) < 2


def test_a_proper_difference_has_the_score_of_the_transient(folder: Path, tmp_path: Path) -> None:
    *templates, science = standard_exposures()[:5]
    plan = plan_of(folder, templates, data_dir=tmp_path, science=science)
    options = DifferenceOptions(method="zogy")
    report = run(replace(plan, recipe=replace(plan.recipe, difference=options)))
    with fits.open(report.path) as hdus:
        header, score = hdus[0].header, hdus["SCORE"].data
        pull = hdus["IMAGE"].data / np.sqrt(hdus["VARIANCE"].data)
        good = (hdus["MASK"].data == 0) & np.isfinite(pull) & np.isfinite(score)
        psf = hdus["PSF"].header
    assert header["SUBMETH"] == "zogy" and header["PSFOF"] == "difference"
    assert abs(header["SHIFTX"]) < 0.1 and abs(header["SHIFTY"]) < 0.1
    assert psf["EXTNAME"] == "PSF"
    assert aperture(report, *TRANSIENT) == pytest.approx(TRANSIENT_FLUX, rel=0.1)
    assert aperture(report, *CENTRE, radius_px=5) < 0.1 * TRANSIENT_FLUX
    x, y = (float(v) for v in Grid.from_text(report.grid).sky_to_pixel(*TRANSIENT))
    yy, xx = np.indices(pull.shape)
    far = good & (np.hypot(xx - x, yy - y) > 12)
    assert np.std(pull[far]) == pytest.approx(1, abs=0.15)
    peak = np.unravel_index(np.nanargmax(score), score.shape)
    assert np.hypot(peak[1] - x, peak[0] - y) < 1.5
    assert np.nanmax(score) > 15 and np.std(score[far]) == pytest.approx(1, abs=0.2)


def test_the_same_plan_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    *templates, science = standard_exposures()[:5]
    plan = plan_of(folder, templates, data_dir=tmp_path, science=science)
    first = run(plan)
    content = Path(first.path).read_bytes()
    Path(first.path).unlink()
    assert run(plan).checksum == first.checksum
    assert Path(first.path).read_bytes() == content


def test_images_without_zero_points_are_scaled_by_their_stars(tmp_path: Path) -> None:
    exposures = [
        Exposure(visit=1, zero_point=False),
        Exposure(visit=2, zero_point=False, transparency=0.5, rotation_deg=10),
        Exposure(visit=3, zero_point=False, transparency=0.8, fwhm_px=3.6),
    ]
    for exposure in exposures:
        write_exposure(tmp_path, exposure)
    report = run(plan_of(tmp_path, exposures, data_dir=tmp_path))
    scales = np.array([use.scale for use in report.uses], dtype=float)
    assert scales / scales[0] == pytest.approx([1.0, 2.0, 1.25], rel=0.03)
    assert report.zero_point_mag is None and report.bunit == "adu"


def test_the_region_is_that_of_pixels_with_data(tmp_path: Path) -> None:
    target = Exposure(visit=1)
    aside = Exposure(visit=2, offset_px=(90, 0))
    for exposure in (target, aside):
        write_exposure(tmp_path, exposure)
    plan = plan_of(tmp_path, [target, aside], data_dir=tmp_path)
    wide = replace(plan.recipe, grid=wide_grid().to_text())
    report = run(replace(plan, recipe=wide))
    region = parse_region(report.s_region)
    whole = wide_grid().footprint()
    assert contains_region(whole, region)
    assert not contains_region(region, whole)


def wide_grid() -> Grid:
    """A target larger than what the exposures cover."""
    header = exposure_header(Exposure(visit=0))
    header["CRPIX1"], header["CRPIX2"] = 250.5, 200.5
    return Grid.from_header(header, (400, 500))


def truncate(path: Path, size: int = 100_000) -> None:
    """Cut a file short, as a broken transfer leaves it."""
    path.write_bytes(path.read_bytes()[:size])


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    """The standard exposures, the third one truncated."""
    for exposure in standard_exposures():
        write_exposure(tmp_path, exposure)
    truncate(tmp_path / "i-3.fits")
    return tmp_path


def test_a_truncated_input_of_an_automatic_choice_is_left_out(spoilt: Path) -> None:
    report = run(plan_of(spoilt, standard_exposures()[:4], data_dir=spoilt))
    (rejected,) = [use for use in report.uses if use.rejected]
    assert rejected.dataset_id.endswith("i/3") and rejected.weight is None
    assert str(spoilt) not in str(rejected.rejected)
    header = fits.getheader(report.path)
    assert (header["NINPUT"], header["NREJECT"]) == (3, 1)


def test_a_truncated_input_of_a_list_fails_the_build_by_name(spoilt: Path) -> None:
    plan = plan_of(spoilt, standard_exposures()[:4], data_dir=spoilt, explicit=True)
    with pytest.raises(ImageFormatError, match=r"i/3") as caught:
        run(plan)
    assert str(spoilt) not in str(caught.value)
    assert not Path(plan.output_path).exists()


def test_a_truncated_science_image_fails_the_build_by_name(spoilt: Path) -> None:
    exposures = standard_exposures()
    plan = plan_of(spoilt, [exposures[0], exposures[1]], data_dir=spoilt, science=exposures[2])
    with pytest.raises(ImageFormatError, match=r"i/3"):
        run(plan)


def test_too_few_readable_inputs_fail_the_build(spoilt: Path) -> None:
    exposures = standard_exposures()
    plan = plan_of(spoilt, [exposures[0], exposures[2]], data_dir=spoilt)
    with pytest.raises(ImageFormatError, match=r"i/3"):
        run(plan)
    far = Exposure(visit=7, offset_px=(900, 0))
    write_exposure(spoilt, far)
    with pytest.raises(CoverageError, match="exposures with usable pixels"):
        run(plan_of(spoilt, [exposures[0], far], data_dir=spoilt))


def test_a_build_stops_between_inputs(folder: Path, tmp_path: Path) -> None:
    stages: list[str] = []
    plan = plan_of(folder, standard_exposures()[:4], data_dir=tmp_path)
    with pytest.raises(StoppedError):
        run(plan, should_stop=lambda: len(stages) >= 2, stages=stages)
    assert stages == ["warp", "warp"]
    assert not Path(plan.output_path).exists()


@pytest.mark.parametrize("statistic", ["safeclip", "comparewarp"])
def test_a_build_stops_while_artefacts_are_searched(
    folder: Path, tmp_path: Path, statistic: Literal["safeclip", "comparewarp"]
) -> None:
    stages: list[str] = []
    plan = plan_of(folder, standard_exposures()[:4], data_dir=tmp_path)
    options = replace(plan.recipe.template, statistic=statistic)
    plan = replace(plan, recipe=replace(plan.recipe, template=options))
    with pytest.raises(StoppedError):
        run(
            plan,
            should_stop=lambda: stages.count("artefacts") >= 2,
            stages=stages,
            stack_memory_bytes=1,
        )
    assert stages == ["warp"] * 4 + ["artefacts"] * 2
    assert not Path(plan.output_path).exists()


def test_bytes_do_not_depend_on_threads_or_memory(folder: Path, tmp_path: Path) -> None:
    plan = plan_of(folder, standard_exposures()[:5], data_dir=tmp_path)
    reports = []
    for threads, memory in ((1, 2**28), (2, 10_000), (3, 100_000)):
        with limit_threads(threads):
            reports.append(run(plan, stack_memory_bytes=memory))
    assert len({report.checksum for report in reports}) == 1


def test_warps_of_an_earlier_build_serve_a_later_one(folder: Path, tmp_path: Path) -> None:
    exposures = standard_exposures()[:4]
    for exposure in exposures:
        (tmp_path / f"i-{exposure.visit}.fits").write_bytes(
            (folder / f"i-{exposure.visit}.fits").read_bytes()
        )
    plan = plan_of(tmp_path, exposures, data_dir=tmp_path)
    first = run(plan, cache_bytes=10**9)
    for exposure in exposures:
        (tmp_path / f"i-{exposure.visit}.fits").unlink()
    assert run(plan, cache_bytes=10**9).checksum == first.checksum
    assert not list((Path(plan.output_path).parent / "warps").glob(".*"))
    run(plan, cache_bytes=0)
    with pytest.raises(ImageFormatError, match="i/1"):
        run(plan)


def test_an_input_deleted_while_the_build_runs_is_left_out(spoilt: Path) -> None:
    exposures = [e for e in standard_exposures()[:5] if e.visit != 3]
    stages: list[str] = []

    def delete_later() -> bool:
        if len(stages) == 2:
            (spoilt / "i-4.fits").unlink(missing_ok=True)
        return False

    plan = plan_of(spoilt, exposures, data_dir=spoilt)
    report = run(plan, should_stop=delete_later, stages=stages)
    (rejected,) = [use for use in report.uses if use.rejected]
    assert rejected.dataset_id.endswith("i/4")
    assert rejected.rejected is not None and "does not exist" in rejected.rejected


def spoil_pixels(path: Path, hdu: str, value: float, part: tuple[slice, slice]) -> None:
    """Overwrite a part of a plane."""
    with fits.open(path, mode="update") as hdus:
        hdus[hdu].data[part] = value


def test_nan_and_zero_variance_are_no_data(spoilt: Path) -> None:
    exposures = [e for e in standard_exposures()[:4] if e.visit != 3]
    middle = np.s_[80:100, 80:100]
    spoil_pixels(spoilt / "i-1.fits", "IMAGE", np.nan, middle)
    spoil_pixels(spoilt / "i-1.fits", "VARIANCE", 0.0, np.s_[120:140, 80:100])
    report = run(plan_of(spoilt, exposures, data_dir=spoilt))
    with fits.open(report.path) as hdus:
        flux, variance = hdus["IMAGE"].data, hdus["VARIANCE"].data
        assert np.isfinite(flux[60:150, 60:150]).all()
        ordinary = np.median(variance[60:70, 80:100])
        for part in (middle, np.s_[120:140, 80:100]):
            assert np.median(variance[part]) > 1.3 * ordinary
    whole = np.s_[:, :]
    spoil_pixels(spoilt / "i-2.fits", "VARIANCE", 0.0, whole)
    report = run(plan_of(spoilt, exposures, data_dir=spoilt))
    (rejected,) = [use for use in report.uses if use.rejected]
    assert rejected.dataset_id.endswith("i/2") and rejected.weight is None
    with pytest.raises(CoverageError, match="i/2"):
        run(plan_of(spoilt, exposures, data_dir=spoilt, explicit=True))


def test_inputs_of_two_pixel_scales_make_one_template(folder: Path, tmp_path: Path) -> None:
    exposures = standard_exposures()[:3]
    plan = plan_of(folder, exposures, data_dir=tmp_path)
    header = exposure_header(exposures[0])
    for name in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
        header[name] *= 0.5
    header["CRPIX1"] = header["CRPIX2"] = 200.5
    fine = Grid.from_header(header, (400, 400))
    made = run(replace(plan, recipe=replace(plan.recipe, grid=fine.to_text())))
    assert star_ratio(made) == pytest.approx(1, abs=0.02)
    assert made.fwhm_arcsec == pytest.approx(2.95 * SCALE_ARCSEC, rel=0.1)
    small = ImageRef(
        dataset_id="ivo://test.local/fine",
        planes=made.planes,
        grid=made.grid,
        zero_point_mag=made.zero_point_mag,
        mask_planes=tuple(MASK_PLANES.items()),
        checksum=made.checksum,
    )
    inputs, names = (small, *plan.inputs[1:]), ("small", "2", "3")
    mixed = run(replace(plan, inputs=inputs, exposures=names, output_path=made.path + ".mixed"))
    assert star_ratio(mixed) == pytest.approx(1, abs=0.02)
    assert [use.rejected for use in mixed.uses] == [None] * 3
    assert 0.2 < (mixed.uses[0].weight or 0.0) < 0.9


def star_ratio(report: BuildReport) -> float:
    """Median of measured per true flux of isolated stars, in nJy."""
    njy = 10 ** (0.4 * (31.4 - 27.0))
    grid = Grid.from_text(report.grid)
    unit = SCALE_ARCSEC / grid.pixel_scale_arcsec
    lon, lat, total = star_field(60)
    x, y = grid.sky_to_pixel(lon, lat)
    low, high = 30 * unit, 170 * unit
    inside = np.flatnonzero((x > low) & (x < high) & (y > low) & (y < high) & (total > 5000))
    alone = [i for i in inside if np.sort(np.hypot(x - x[i], y - y[i]))[1] > 22 * unit]
    ratios = [aperture(report, lon[i], lat[i], 8 * unit) / (total[i] * njy) for i in alone]
    assert len(ratios) >= 2
    return float(np.median(ratios))


def test_without_zero_points_or_sources_exposure_times_give_the_scale(tmp_path: Path) -> None:
    exposures = [Exposure(visit=n, zero_point=False, stars=0) for n in (1, 2, 3)]
    for exposure in exposures:
        write_exposure(tmp_path, exposure)
    plan = plan_of(tmp_path, exposures, data_dir=tmp_path)
    seconds = (30.0, 60.0, 30.0)
    timed = [replace(ref, exposure_s=s) for ref, s in zip(plan.inputs, seconds, strict=True)]
    scales = np.array([use.scale for use in run(replace(plan, inputs=tuple(timed))).uses])
    assert scales / scales[0] == pytest.approx([1.0, 0.5, 1.0])
    rates = [replace(ref, bunit="electron/s") for ref in timed]
    assert [use.scale for use in run(replace(plan, inputs=tuple(rates))).uses] == [1.0] * 3
    untimed = [replace(ref, exposure_s=None) for ref in plan.inputs]
    with pytest.raises(CoverageError, match="bright pixels seen in both images"):
        run(replace(plan, inputs=tuple(untimed)))


def test_matched_backgrounds_leave_no_steps(tmp_path: Path) -> None:
    exposures = [Exposure(visit=1), Exposure(visit=2, offset_px=(90, 0)), Exposure(visit=3)]
    for exposure in exposures:
        write_exposure(tmp_path, exposure)
    x = np.mgrid[:200, :200][1] / 100.0 - 1.0
    with fits.open(tmp_path / "i-2.fits", mode="update") as hdus:
        hdus["IMAGE"].data += (12 * x).astype(np.float32)
    plan = plan_of(tmp_path, exposures, data_dir=tmp_path)
    njy = 10 ** (0.4 * (31.4 - 27.0))
    steps = []
    for matching in (False, True):
        options = TemplateOptions(statistic="mean", background_matching=matching)
        report = run(replace(plan, recipe=replace(plan.recipe, template=options)))
        with fits.open(report.path) as hdus:
            flux = hdus["IMAGE"].data
            assert hdus[0].header["BKGMATCH"] == matching
        sides = [np.nanmedian(flux[:, a : a + 12]) / njy for a in (94, 114)]
        steps.append(abs(sides[1] - sides[0]))
    assert steps[0] > 2.0  # a third of 12 units
    assert steps[1] < 0.7
