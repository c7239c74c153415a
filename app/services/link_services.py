"""Which services take which datasets."""

from __future__ import annotations

from collections.abc import Sequence

from app.schema.obscore import CALIBRATED
from app.schema.rows import DatasetRow
from app.services.build_descriptors import build_descriptors
from app.services.cutout_descriptor import cutout_descriptor, has_pixels
from app.services.described import is_on_sky
from app.services.light_curve_descriptor import light_curve_descriptor
from app.services.psf_descriptor import psf_descriptor
from app.services.stamp_descriptor import stamp_descriptor
from app.stores.tables.rows import fold
from app.votable.descriptors import ServiceDescriptor


def services_of(
    rows: Sequence[DatasetRow], service_url: str
) -> tuple[dict[str, tuple[ServiceDescriptor, ...]], tuple[ServiceDescriptor, ...]]:
    """Folded identifier -> descriptors of the services that take the dataset; and all of them,
    which the datasets share."""
    here = [row for row in rows if not (row.is_external or row.is_buildable)]
    calibrated = [row for row in here if row.columns.get("calib_level") == CALIBRATED]
    on_sky = [row for row in here if is_on_sky(row)]
    found: dict[str, tuple[ServiceDescriptor, ...]] = {}
    descriptors: list[ServiceDescriptor] = []
    for some, describe in (
        (calibrated, build_descriptors),
        ([row for row in here if has_pixels(row)], cutout_descriptor),
        (on_sky, psf_descriptor),
        (on_sky, light_curve_descriptor),
        (on_sky, stamp_descriptor),
    ):
        told = describe(some, service_url) if some else ()
        descriptors += told
        for row in some:
            name = fold(row.dataset_id)
            found[name] = (*found.get(name, ()), *told)
    return found, tuple(descriptors)
