"""Templates whose artefacts are found, of direct and of PSF-matched warps, and their tables."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

from app.pixels.grid import Grid
from app.pixels.image import MaskedImage, bits
from app.pixels.warp import warp
from app.recipes.plan import make_plan
from app.recipes.recipe import BuildPlan, Recipe, TemplateOptions
from app.recipes.select import Candidate, Chosen
from app.sky.predicates import contains_point
from app.sky.shapes import Point
from app.sky.stcs import parse_region
from app.stores.coadd_rows import CoaddRowsStore
from app.stores.images import ImageStore
from app.stores.warps import WarpStore
from app.workers.stacking import stack
from app.workers.sub_regions import Ahead, prepare, rows_ahead
from app.workers.tasks import build
from app.workers.work import Limits, Work
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
        data_dir=data_dir,
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


def test_psf_matched_warps_give_the_model_psf(chosen: Chosen, tmp_path: Path) -> None:
    done = make(chosen, tmp_path, TemplateOptions(statistic="mean", warp="psfmatched"))
    worst = max(c.ref.fwhm_arcsec or 0.0 for c in chosen.inputs)
    with fits.open(done) as product:
        assert product[0].header["WARPTYPE"] == "psfmatched"
        assert product[0].header["FWHM"] == pytest.approx(1.1 * worst, rel=0.02)


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


@pytest.mark.parametrize("statistic", ["meanclip", "comparewarp"])
def test_rows_that_were_lost_are_made_when_they_are_joined(
    chosen: Chosen, tmp_path: Path, statistic: Literal["meanclip", "comparewarp"]
) -> None:
    plan = plan_of(chosen, tmp_path, TemplateOptions(statistic=statistic))
    work = Work(
        plan=plan,
        grid=FIELD.target_grid(),
        images=ImageStore(data_dir=Path("/")),
        warps=WarpStore(folder=tmp_path / "warps", max_bytes=2**30),
        limits=Limits(),
        should_stop=lambda: False,
        progress=lambda *_: None,
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
