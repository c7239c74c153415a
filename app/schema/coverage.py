"""``skyloom.coverage``: where the images of each kind lie, as maps of HEALPix cells."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from app.schema.columns import integer
from app.schema.fields import Field, Table
from app.schema.obscore import OBSCORE

GROUPED: Final = (
    "obs_collection",
    "dataproduct_type",
    "dataproduct_subtype",
    "calib_level",
    "em_min",
    "em_max",
)
"""Columns of ObsCore that the images of one row have in common."""

COVERAGE: Final = Table(
    schema_name="skyloom",
    name="skyloom.coverage",
    physical="coverage",
    fields=(
        *(
            replace(field, std=False, utype=None, indexed=False)
            for field in OBSCORE.fields
            if field.name in GROUPED
        ),
        integer(
            "moc_order",
            "HEALPix order of the smallest cells of the map",
            datatype="int",
            ucd="meta.number;pos.resolution",
            principal=True,
        ),
        Field(
            name="coverage",
            kind="text",
            datatype="char",
            arraysize="*",
            xtype="moc",
            ucd="pos.outline;obs.field",
            description="Cells (ICRS) that the images have a part in: MOC 2.0, section 4.2.3",
            principal=True,
        ),
    ),
    description="Sky coverage of the images of each collection, kind, level and band, as it was "
    "when coverage was last asked for",
)
