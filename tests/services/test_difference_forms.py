"""Forms of differences as a service offers them: what is refused, found and published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from astropy.io import fits

from app.errors import CoverageError, ParameterError, RecipeError
from app.recipes.recipe import BuildPlan, Recipe
from app.services.build_descriptors import build_descriptors
from app.uws.job import Phase
from app.workers.embedded import EmbeddedEngine
from tests.services.builds_fixture import Field, open_field, standard_field
from tests.services.survey import (
    CENTRE,
    Exposure,
    dataset_row,
    standard_exposures,
    star_field,
    write_exposure,
)
from tests.services.test_bright_objects import publish
from tests.services.test_builds import select

SCIENCE = standard_exposures()[4]
SNAPS = (
    Exposure(visit=31, fwhm_px=3.2, mjd=60300, transient=True),
    Exposure(visit=32, fwhm_px=3.1, mjd=60300.001),
)


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory, engine: EmbeddedEngine) -> Iterator[Field]:
    """The standard exposures and two of one visit on the same pixels."""
    with open_field(tmp_path_factory.mktemp("field"), engine) as opened:
        standard_field(opened)
        rows = [dataset_row(write_exposure(opened.folder / "images", e), e) for e in SNAPS]
        visit = {"lsst_visit": 31}
        opened.stores.datasets.upsert(
            [replace(row, columns={**row.columns, **visit}) for row in rows]
        )
        yield opened


def prepare(field: Field, **parameters: str) -> tuple[Recipe, BuildPlan]:
    return field.builds.prepare("difference", list(parameters.items()))


def test_the_other_exposure_of_a_visit_is_subtracted_by_a_snap_alone(field: Field) -> None:
    ask = {"ID": SNAPS[0].dataset_id, "TEMPLATE_IDS": SNAPS[1].dataset_id}
    job = field.run("difference", METHOD="snap", WARP_TEMPLATE="false", **ask)
    assert job.phase is Phase.COMPLETED, job.error
    product = field.builds.get_product(str(job.results[0].dataset_id))
    with fits.open(product.file_path) as hdus:
        assert hdus[0].header["SUBMETH"] == "snap"
        assert list(hdus["INPUTS"].data["dataset_id"]) == [s.dataset_id for s in SNAPS]
    with pytest.raises(RecipeError, match="science exposure"):
        prepare(field, **ask)
    both = f"{SNAPS[1].dataset_id},{standard_exposures()[0].dataset_id}"
    with pytest.raises(RecipeError, match="takes one exposure"):
        prepare(field, METHOD="snap", ID=SNAPS[0].dataset_id, TEMPLATE_IDS=both)
    with pytest.raises(RecipeError, match="is the science image itself"):
        prepare(field, METHOD="snap", ID=SNAPS[0].dataset_id, TEMPLATE_IDS=SNAPS[0].dataset_id)


def test_what_would_be_warped_is_refused_by_name(field: Field) -> None:
    with pytest.raises(RecipeError, match=r"i/1 is not on the pixels of .*i/5: its WCS puts"):
        prepare(field, ID=SCIENCE.dataset_id, WARP_TEMPLATE="false")
    ids = ",".join(each.dataset_id for each in standard_exposures()[:4])
    template = field.run("template", ID=SCIENCE.dataset_id, TEMPLATE_IDS=ids, BORDER="20")
    assert template.phase is Phase.COMPLETED, template.error
    made = str(template.results[0].dataset_id)
    recipe, _ = prepare(field, ID=SCIENCE.dataset_id, WARP_TEMPLATE="false", TEMPLATE_IDS=made)
    assert recipe.template.kernel == "nearest"


@pytest.mark.parametrize(
    ("asked", "subtype", "title"),
    [
        ({"PRODUCT": "matched"}, "lsst.template_matched", "Template matched to an image"),
        (
            {"METHOD": "likelihood"},
            "lsst.goodSeeingDiff_scoreExp",
            "Likelihood image of a difference",
        ),
    ],
)
def test_a_form_is_told_by_its_row(
    field: Field, asked: dict[str, str], subtype: str, title: str
) -> None:
    job = field.run("difference", ID=SCIENCE.dataset_id, **asked)
    assert job.phase is Phase.COMPLETED, job.error
    made = str(job.results[0].dataset_id)
    (row,) = select(
        field,
        "SELECT dataproduct_subtype, obs_title, calib_level, t_min FROM ivoa.ObsCore "
        f"WHERE obs_publisher_did = '{made}'",
    )
    assert row["dataproduct_subtype"] == subtype and row["calib_level"] == 3
    assert str(row["obs_title"]).startswith(title)
    assert row["t_min"] == (60001 if asked.get("PRODUCT") else 60100)
    quality = select(
        field,
        "SELECT kernel_sum, stamps_used FROM skyloom.build_quality "
        f"WHERE obs_publisher_did = '{made}'",
    )
    assert quality[0]["kernel_sum"] == pytest.approx(1.0, abs=0.05)


def test_candidates_of_a_table(field: Field, tmp_path: Path) -> None:
    lon, lat, _ = star_field(60)
    far = ([*lon.tolist(), 200.0], [*lat.tolist(), 40.0])
    name = publish(field, tmp_path, "stars", ra=(far[0], "deg"), dec=(far[1], "deg"))
    recipe, _ = prepare(field, ID=SCIENCE.dataset_id, CANDIDATES=name)
    assert recipe.difference is not None
    found = recipe.difference.candidates
    assert 10 < len(found) < 60 and found == tuple(sorted(found))
    assert set(found) < set(zip(lon.tolist(), lat.tolist(), strict=True))
    given = ", ".join(f"{a!r} {b!r}" for a, b in reversed(found))
    assert prepare(field, ID=SCIENCE.dataset_id, CANDIDATES=given)[0] == recipe
    with pytest.raises(ParameterError, match=r"CANDIDATES: there is no table 'mine.none'"):
        prepare(field, ID=SCIENCE.dataset_id, CANDIDATES="mine.none")
    flat = publish(field, tmp_path, "flat", lon=([CENTRE[0]], "deg"), lat=([CENTRE[1]], "deg"))
    with pytest.raises(ParameterError, match="needs columns of real numbers ra and dec"):
        prepare(field, ID=SCIENCE.dataset_id, CANDIDATES=flat)
    away = publish(field, tmp_path, "away", ra=([10.0], "deg"), dec=([10.0], "deg"))
    with pytest.raises(CoverageError, match=r"rows of mine\.away on the image"):
        prepare(field, ID=SCIENCE.dataset_id, CANDIDATES=away)


def test_a_width_that_no_psf_has_is_refused(field: Field) -> None:
    for width in ("0.001", "100"):
        with pytest.raises(ParameterError, match=r"TEMPLATE_FWHM: .* \(0\.5 to 30 pixels"):
            prepare(field, ID=SCIENCE.dataset_id, TEMPLATE_FWHM=width)
    recipe, _ = prepare(field, ID=SCIENCE.dataset_id, TEMPLATE_FWHM="1.5")
    assert recipe.difference is not None and recipe.difference.template_fwhm_arcsec == 1.5


def test_service_descriptors_offer_them(field: Field) -> None:
    row = field.stores.datasets.get(SCIENCE.dataset_id)
    (sync,) = (d for d in build_descriptors([row], "http://x") if "difference/sync" in d.access_url)
    offered = {each.name: each.options for each in sync.inputs}
    assert offered["METHOD"] == ("kernel", "zogy", "snap", "likelihood")
    assert offered["PRODUCT"] == ("difference", "matched")
    assert offered["KERNEL_BASIS"] == ("gaussians", "delta")
    assert {"KERNEL_LAMBDA", "CANDIDATES", "SCIENCE_FWHM", "WARP_TEMPLATE"} <= offered.keys()
