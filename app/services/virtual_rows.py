"""The ObsCore row of a difference that can be built and was not yet."""

from __future__ import annotations

from typing import Final

from app.recipes.recipe import ImageRef
from app.schema.obscore import BUILDABLE
from app.schema.rows import DatasetRow, Value, links_path, virtual_id
from app.services.builds_rows import COLLECTION, OF_THE_SCIENCE, SUBTYPES
from app.votable.datalink import MEDIA_TYPE

_PLACE: Final = ("s_region", "s_ra", "s_dec", "s_fov", "s_xel1", "s_xel2", "s_pixel_scale")
_HANDED_DOWN: Final = (
    *OF_THE_SCIENCE,
    *_PLACE,
    "s_resolution",
    "t_min",
    "t_max",
    "t_exptime",
    "lsst_band",
    "obs_release_date",
)


def virtual_row(science: DatasetRow, *, bytes_per_pixel: float) -> DatasetRow | None:
    """What is known beforehand of the default difference of an exposure; None when its identifier
    is not of a form that one for the difference follows from."""
    name = virtual_id(science.dataset_id)
    if name is None:
        return None
    given = science.columns
    pixels = int(given.get("s_xel1") or 0) * int(given.get("s_xel2") or 0)
    columns: dict[str, Value] = {
        **{column: given.get(column) for column in _HANDED_DOWN},
        "dataproduct_type": "image",
        "dataproduct_subtype": SUBTYPES["difference"],
        "calib_level": 3,
        "obs_collection": COLLECTION,
        "obs_id": name.partition("?")[2],
        "obs_title": f"Difference image, band {given.get('lsst_band')}: {given.get('obs_id')} "
        "(can be built)",
        "obs_publisher_did": name,
        "access_url": links_path(name),
        "access_format": MEDIA_TYPE,
        "access_estsize": max(1, round(pixels * bytes_per_pixel / 1000)) if pixels else None,
        "build_state": BUILDABLE,
    }
    return DatasetRow(
        columns={column: value for column, value in columns.items() if value is not None},
        file_path="",
        file_hdu=0,
        file_size=0,
        file_mtime_ns=0,
        file_checksum="",
        image_ref=ImageRef(dataset_id=name, planes=(), grid="").to_text(),
        origin="virtual",
        difference_of=science.dataset_id,
        restricted_by=science.rights.collections,
    )
