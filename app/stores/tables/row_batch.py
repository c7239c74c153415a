"""Rows of ObsCore that are ready to be written: sorted along the sky, with their fingerprints and
what the spatial indexes hold of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from app.schema.batches import arrow_type
from app.schema.obscore import OBSCORE
from app.sky.boxes import box_of
from app.sky.bulk_polygons import BulkPolygons
from app.sky.bulk_regions import polygons_of
from app.sky.outlines import outline_of
from app.sky.shapes import Polygon
from app.sky.stcs import parse_region
from app.stores.tables.bulk_index import along_the_sky, outlines_of
from app.stores.tables.digests import as_text, row_digests

_BATCH_ROWS: Final = 50_000

NAMES: Final = tuple(field.name for field in OBSCORE.fields)

Columns = Mapping[str, pa.Array]


@dataclass(frozen=True, slots=True)
class RowBatch:
    """``columns``: every column of ObsCore. ``numbers``: what the caller calls the rows.
    ``digests``: fingerprints as text. ``boxes`` and ``outlines`` are those of ``s_region``; where
    there is none, the outline is null and the box means nothing."""

    columns: Columns
    numbers: Any
    digests: pa.Array
    boxes: Any
    outlines: pa.Array

    def __len__(self) -> int:
        return len(self.digests)

    def take(self, places: Any) -> RowBatch:
        """The rows at these places, in their order."""
        chosen = pa.array(places, pa.int64())
        return RowBatch(
            {name: values.take(chosen) for name, values in self.columns.items()},
            self.numbers[places],
            self.digests.take(chosen),
            self.boxes[places],
            self.outlines.take(chosen),
        )


def row_batch(
    columns: Columns, numbers: Any, polygons: BulkPolygons | None = None, keep: Any = None
) -> RowBatch:
    """The rows that ``keep`` marks, neighbours on the sky one after another.

    ``columns`` are checked; ``polygons`` are the shapes of their ``s_region``, if at hand.
    """
    shapes = polygons or polygons_of(columns["s_region"])
    boxes, outlines = _outlines(columns["s_region"], shapes)
    places = np.arange(len(boxes)) if keep is None else np.flatnonzero(keep)
    batch = RowBatch(columns, numbers, pa.nulls(len(boxes), pa.string()), boxes, outlines)
    chosen = batch.take(places[along_the_sky(boxes[places])])
    digests = as_text(row_digests([chosen.columns[name] for name in NAMES]))
    return RowBatch(chosen.columns, chosen.numbers, digests, chosen.boxes, chosen.outlines)


def _outlines(regions: pa.Array, shapes: BulkPolygons) -> tuple[Any, pa.Array]:
    """Boxes and outlines; those of unusual polygons are made one by one."""
    boxes, outlines = shapes.boxes, outlines_of(shapes)
    known = regions.is_valid().to_numpy(zero_copy_only=False)
    if shapes.plain.all():
        return boxes, outlines
    contents = outlines.to_pylist()
    for row in np.flatnonzero(~shapes.plain).tolist():
        polygon = parse_region(regions[row].as_py()) if known[row] else None
        contents[row] = None
        if isinstance(polygon, Polygon):
            boxes[row], contents[row] = astuple(box_of(polygon)), outline_of(polygon)
    return boxes, pa.array(contents, pa.binary())


def stored_batches(connection: sa.Connection, numbers: Any) -> Iterator[RowBatch]:
    """The rows of an obscore that was filled from ``row_id`` 1 on, ``numbers`` in that order."""
    shown = ", ".join(NAMES)
    query = sa.text(
        f"SELECT row_id, {shown} FROM obscore WHERE row_id > :after "
        f"ORDER BY row_id LIMIT {_BATCH_ROWS}"
    )
    after = 0
    while rows := connection.execute(query, {"after": after}).all():
        _, *values = zip(*rows, strict=True)
        columns = {
            field.name: pa.array(column, arrow_type(field))
            for field, column in zip(OBSCORE.fields, values, strict=True)
        }
        yield row_batch(columns, numbers[after : after + len(rows)])
        after += len(rows)
