"""Regions and positions by the tens of thousands into their spatial indexes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from app.errors import UsageError
from app.sky.boxes import box_of
from app.sky.bulk_polygons import BOX_MARGIN
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
    content, boxes = shapes.vectors.tobytes(), shapes.boxes
    starts = (24 * shapes.starts).tolist()
    outlines = [content[start:end] for start, end in pairwise(starts)]
    for row in np.flatnonzero(~shapes.plain).tolist():
        polygon = _polygon(row_ids[row], texts[row])
        boxes[row], outlines[row] = astuple(box_of(polygon)), outline_of(polygon)
    tree.put(row_ids, boxes, outlines)
    return len(row_ids)


def _polygon(row_id: int, text: str) -> Polygon:
    region = parse_region(text)
    if not isinstance(region, Polygon):
        raise UsageError(f"the region of row {row_id} is not a POLYGON")
    return region


def sky_order(texts: pa.Array) -> Any:
    """Places of regions in an order in which neighbours on the sky stand together."""
    return _along_the_sky(polygons_of(texts).boxes)


def _along_the_sky(boxes: Any) -> Any:
    """An order in which neighbours stand together: bits of x, y and z interleaved (Morton 1966)."""
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
