"""The ObsCore row and the provenance rows of a product that was built.

Products are a collection of their own, ``products``, as their identifiers say; what they were made
from is told by provenance. Columns that all inputs agree on are handed down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from app.pixels.grid import Grid
from app.pixels.image import MASK_PLANES
from app.recipes.recipe import BuildPlan, BuildReport, ImageRef, Recipe
from app.schema.access import PUBLIC, UNRESTRICTED, Rights
from app.schema.obscore import BUILT
from app.schema.rows import DatasetRow, ProductInput, Value, links_path
from app.sky.predicates import bounding_circle, centroid
from app.sky.stcs import parse_region
from app.votable.datalink import MEDIA_TYPE

COLLECTION = "products"
FITS_MEDIA_TYPE = "application/fits"
SUBTYPES = {"template": "lsst.template_coadd", "difference": "lsst.difference_image"}
MATCHED_SUBTYPE = "lsst.template_matched"
LIKELIHOOD_SUBTYPE = "lsst.goodSeeingDiff_scoreExp"
"""Rubin's names of the matched template and of the likelihood image of a difference."""
INHERITED = (
    "facility_name",
    "instrument_name",
    "target_name",
    "em_min",
    "em_max",
    "o_ucd",
    "pol_states",
    "pol_xel",
    "data_rights",
    "lsst_filter",
)
OF_THE_SCIENCE = (*INHERITED, "lsst_visit", "lsst_detector", "lsst_ccdvisitid")

_FORMS = {
    SUBTYPES["difference"]: "Difference image",
    MATCHED_SUBTYPE: "Template matched to an image",
    LIKELIHOOD_SUBTYPE: "Likelihood image of a difference",
}
Columns = Mapping[str, Value]


def is_difference(row: DatasetRow) -> bool:
    """Whether a dataset shows changes about zero."""
    return row.columns.get("dataproduct_subtype") in (SUBTYPES["difference"], LIKELIHOOD_SUBTYPE)


def is_built_difference(row: DatasetRow) -> bool:
    """Whether an image is a difference, or the likelihood of one, that was built here."""
    subtype = row.columns.get("dataproduct_subtype")
    return row.recipe_key is not None and subtype in (SUBTYPES["difference"], LIKELIHOOD_SUBTYPE)


def subtype_of(recipe: Recipe) -> str:
    """dataproduct_subtype of what a recipe makes."""
    options = recipe.difference
    if options is not None and options.product == "matched":
        return MATCHED_SUBTYPE
    if options is not None and options.method == "likelihood":
        return LIKELIHOOD_SUBTYPE
    return SUBTYPES[recipe.kind]


def product_row(
    plan: BuildPlan,
    report: BuildReport,
    *,
    templates: Sequence[Columns],
    science: Columns | None,
    difference_of: str | None,
    rights: Rights = UNRESTRICTED,
    now: datetime,
) -> DatasetRow:
    """The record of a product. ``templates`` and ``science`` are the ObsCore columns of the inputs
    that took part, ``difference_of`` is the exposure whose default difference it is, ``rights``
    are the strictest of the inputs."""
    handed_down = (
        {name: science.get(name) for name in OF_THE_SCIENCE}
        if science is not None
        else {name: _agreed(templates, name) for name in INHERITED}
    )
    columns: dict[str, Value] = {
        **handed_down,
        **_restriction(rights, handed_down.get("data_rights")),
        **_identity(plan, report, templates, science, now),
        **_place(report),
        "t_min": report.t_min,
        "t_max": report.t_max,
        "t_exptime": report.exposure_s,
        "s_resolution": report.fwhm_arcsec,
        "lsst_band": plan.recipe.band,
        "lsst_tract": plan.tract,
        "lsst_patch": plan.patch,
        "build_state": BUILT,
    }
    return DatasetRow(
        columns={name: value for name, value in columns.items() if value is not None},
        file_path=report.path,
        file_hdu=report.planes[0].hdu,
        file_size=report.size_bytes,
        file_mtime_ns=report.mtime_ns,
        file_checksum=report.checksum,
        image_ref=_image_ref(plan, report).to_text(),
        origin="built",
        recipe_key=plan.recipe.key(),
        difference_of=difference_of,
        restricted_by=rights.collections,
    )


def _restriction(rights: Rights, handed_down: Value) -> dict[str, Value]:
    """What a product tells of its rights: inputs that are public by now do not restrict it."""
    if rights == UNRESTRICTED:
        return {"data_rights": None if handed_down is None else PUBLIC}
    release = rights.release
    date = None if release is None else release.replace(tzinfo=None).isoformat(timespec="seconds")
    return {"data_rights": rights.data_rights, "obs_release_date": date}


def product_inputs(plan: BuildPlan, report: BuildReport) -> tuple[ProductInput, ...]:
    """Which dataset went into the product, with which weight and scale, and which did not."""
    recipe = plan.recipe
    checksums = dict((*recipe.inputs, *((recipe.science,) if recipe.science else ())))
    return tuple(
        ProductInput(
            product_id=plan.dataset_id,
            input_id=use.dataset_id,
            role=use.role,
            weight=use.weight,
            scale=use.scale,
            rejected=use.rejected,
            input_checksum=checksums.get(use.dataset_id, ""),
        )
        for use in (*report.uses, *plan.rejected)
    )


def _identity(
    plan: BuildPlan,
    report: BuildReport,
    templates: Sequence[Columns],
    science: Columns | None,
    now: datetime,
) -> dict[str, Value]:
    kind = plan.recipe.kind
    return {
        "dataproduct_type": "image",
        "dataproduct_subtype": subtype_of(plan.recipe),
        "calib_level": 3,
        "obs_collection": COLLECTION,
        "obs_id": f"{kind}/{plan.recipe.key()}",
        "obs_title": _title(plan, len(templates), science),
        "obs_creation_date": now.replace(tzinfo=None).isoformat(timespec="milliseconds"),
        "obs_publisher_did": plan.dataset_id,
        "access_url": links_path(plan.dataset_id),
        "access_format": MEDIA_TYPE,
        "access_estsize": max(1, round(report.size_bytes / 1000)),
    }


def _title(plan: BuildPlan, templates: int, science: Columns | None) -> str:
    band = plan.recipe.band
    if science is not None:
        return f"{_FORMS[subtype_of(plan.recipe)]}, band {band}: {science.get('obs_id')}"
    place = "" if plan.tract is None else f", tract {plan.tract} patch {plan.patch}"
    return f"Template coadd, band {band}{place}, of {templates} images"


def _place(report: BuildReport) -> dict[str, Value]:
    region = parse_region(report.s_region)
    centre = centroid(region)
    grid = Grid.from_text(report.grid)
    return {
        "s_region": report.s_region,
        "s_ra": centre.lon_deg,
        "s_dec": centre.lat_deg,
        "s_fov": 2 * bounding_circle(region).radius_deg,
        "s_xel1": grid.shape[1],
        "s_xel2": grid.shape[0],
        "s_pixel_scale": grid.pixel_scale_arcsec,
    }


def _image_ref(plan: BuildPlan, report: BuildReport) -> ImageRef:
    return ImageRef(
        dataset_id=plan.dataset_id,
        planes=report.planes,
        grid=report.grid,
        band=plan.recipe.band,
        t_min=report.t_min,
        t_max=report.t_max,
        exposure_s=report.exposure_s,
        fwhm_arcsec=report.fwhm_arcsec,
        zero_point_mag=report.zero_point_mag,
        mask_planes=tuple(MASK_PLANES.items()),
        bunit=report.bunit,
        checksum=report.checksum,
    )


def _agreed(rows: Sequence[Columns], name: str) -> Value:
    """The value all rows share, or None."""
    values = {row.get(name) for row in rows}
    return values.pop() if len(values) == 1 else None
