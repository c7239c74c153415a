"""What service descriptors say of the datasets that they are for.

One descriptor serves all datasets of a document. For one it tells the ranges of that one; for
several the identifier is that of the row which names the service (DataLink 1.1, section 4.1).
"""

from __future__ import annotations

from collections.abc import Sequence

from app.pixels.grid import Grid
from app.recipes.recipe import ImageRef
from app.schema.rows import DatasetRow
from app.sky.stcs import describe_area, parse_region
from app.votable.datalink import ID_FIELD
from app.votable.descriptors import InputParameter


def is_on_sky(row: DatasetRow) -> bool:
    """Whether a dataset has pixels here whose places on the sky are known."""
    known = all(row.columns.get(name) is not None for name in ("s_region", "s_ra", "s_dec"))
    return known and bool(ImageRef.from_text(row.image_ref).grid)


def identifier_input(rows: Sequence[DatasetRow], description: str) -> InputParameter:
    """ID: the dataset, or the one of the row that names the service."""
    alone = len(rows) == 1
    return InputParameter(
        name="ID",
        value=rows[0].dataset_id if alone else "",
        ref=None if alone else ID_FIELD,
        ucd="meta.id;meta.main",
        description=description,
    )


def place_input(rows: Sequence[DatasetRow]) -> InputParameter:
    """A place on the image."""
    where = ""
    if len(rows) == 1:
        where = f", {describe_area(parse_region(str(rows[0].columns['s_region'])))}"
    return InputParameter(
        name="POS",
        datatype="double",
        arraysize="2",
        xtype="point",
        unit="deg",
        ucd="pos.eq",
        description=f"Place on the image{where}",
    )


def largest_px(rows: Sequence[DatasetRow]) -> tuple[int, int]:
    """(nx, ny): as many pixels as the widest and the highest of the images have."""
    sizes = [_size_px(row) for row in rows]
    return max(nx for nx, _ in sizes), max(ny for _, ny in sizes)


def _size_px(row: DatasetRow) -> tuple[int, int]:
    nx, ny = row.columns.get("s_xel1"), row.columns.get("s_xel2")
    if nx is None or ny is None:
        ny, nx = Grid.from_text(ImageRef.from_text(row.image_ref).grid).shape
    return int(nx), int(ny)
