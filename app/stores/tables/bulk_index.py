"""Regions and positions by the tens of thousands into their spatial indexes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import pyarrow as pa

from app.errors import UsageError
from app.sky.boxes import box_of
from app.sky.bulk_polygons import BOX_MARGIN, BulkPolygons
from app.sky.bulk_regions import polygons_of
from app.sky.outlines import outline_of
from app.sky.shapes import Polygon
from app.sky.stcs import parse_region
from app.stores.tables.packed_tree import TreeWriter


def put_in_tree(tree: TreeWriter, row_ids: Sequence[int], texts: Sequence[str]) -> int:
    """Put polygons into an outline index of SQLite; how many.

    ``texts`` are STC-S. Raises UsageError, naming the row, when one is no polygon.
    """
    shapes = polygons_of(pa.array(texts, pa.string()))
    boxes, outlines = shapes.boxes, outlines_of(shapes)
    others = np.flatnonzero(~shapes.plain).tolist()
    if others:
        contents = outlines.to_pylist()
        for row in others:
            polygon = _polygon(row_ids[row], texts[row])
            boxes[row], contents[row] = astuple(box_of(polygon)), outline_of(polygon)
        outlines = pa.array(contents, pa.binary())
    tree.put(row_ids, boxes, outlines)
    return len(row_ids)


def outlines_of(shapes: BulkPolygons) -> pa.Array:
    """Outlines of polygons (:mod:`app.sky.outlines`)."""
    offsets = (24 * shapes.starts).astype(np.int32)
    vectors = shapes.vectors.astype("<f8", copy=False)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(vectors)]
    return pa.Array.from_buffers(pa.binary(), len(shapes.plain), buffers)


def _polygon(row_id: int, text: str) -> Polygon:
    region = parse_region(text)
    if not isinstance(region, Polygon):
        raise UsageError(f"the region of row {row_id} is not a POLYGON")
    return region


def along_the_sky(boxes: Any) -> Any:
    """An order of boxes in which neighbours stand together: bits of x, y and z interleaved
    (Morton 1966)."""
    middles = (boxes[:, 0::2] + boxes[:, 1::2]) / 2.0
    cells = np.clip((middles + 1.0) * 512.0, 0, 1023).astype(np.uint64)
    key = np.zeros(len(cells), np.uint64)
    for bit in range(10):
        for axis in range(3):
            place = np.uint64(3 * bit + axis)
            key |= ((cells[:, axis] >> np.uint64(bit)) & np.uint64(1)) << place
    return np.argsort(key, kind="stable")


def put_positions(
    tree: TreeWriter, row_ids: Sequence[int], lon_deg: Sequence[float], lat_deg: Sequence[float]
) -> int:
    """Put directions into SQLite's R*Tree of a pair of position columns; how many."""
    lon, lat = np.radians(np.asarray(lon_deg, float)), np.radians(np.asarray(lat_deg, float))
    vectors = np.stack([np.cos(lon) * np.cos(lat), np.sin(lon) * np.cos(lat), np.sin(lat)], axis=-1)
    boxes = np.empty((len(vectors), 6))
    boxes[:, 0::2], boxes[:, 1::2] = vectors - BOX_MARGIN, vectors + BOX_MARGIN
    tree.put(row_ids, boxes)
    return len(row_ids)
