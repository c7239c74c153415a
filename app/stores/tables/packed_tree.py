"""R*Trees of SQLite that are filled at once, when nothing is in them yet.

Rows are sorted into tiles on the sky (Leutenegger, Edgington & Lopez 1997, with zones of
declination for slices) and the pages of the tree are written whole: many times faster than one row
after another, and what lies together shares a page. The pages are part of SQLite's file format
(``_node``, ``_rowid`` and ``_parent``, as the head of its rtree.c tells); ``rtreecheck`` judges
them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import sqlalchemy as sa

from app.stores.tables.bulk import insert_rows

MOST_ROWS: Final = 2_000_000
"""Packed at once; they are held in memory for it. Rows beyond go in one after another."""

_CELL: Final = np.dtype([("key", ">i8"), ("box", ">f4", (6,))])
_HEAD_BYTES: Final = 4
_FILL: Final = 0.9
_AXES: Final = "row_id, x_min, x_max, y_min, y_max, z_min, z_max"

Boxes = np.ndarray[Any, np.dtype[Any]]


class TreeWriter:
    """Puts rows into the R*Tree ``name``; call :meth:`finish` after the last.

    ``boxes`` are (x_min, x_max, y_min, y_max, z_min, z_max) of unit vectors; ``outlines`` what is
    kept beside each, for trees that have such a column.
    """

    def __init__(self, connection: sa.Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._held: list[tuple[Sequence[int], Boxes, Sequence[bytes] | None]] = []
        self._held_rows = 0
        self._packs = self._is_empty() and self._may_write_pages()

    def put(
        self, row_ids: Sequence[int], boxes: Boxes, outlines: Sequence[bytes] | None = None
    ) -> None:
        """Rows that are new to the tree."""
        if not len(row_ids):
            return
        if self._packs and self._held_rows + len(row_ids) > MOST_ROWS:
            self.finish()
            self._packs = False
        if self._packs:
            self._held.append((row_ids, boxes, outlines))
            self._held_rows += len(row_ids)
        else:
            self._insert(row_ids, boxes, outlines)

    def finish(self) -> None:
        """Write what was held back."""
        held, self._held, self._held_rows = self._held, [], 0
        if not held:
            return
        row_ids = np.concatenate([np.asarray(ids, np.int64) for ids, _, _ in held])
        levels, leaf_of = _levels(
            row_ids, np.concatenate([boxes for _, boxes, _ in held]), self._node_bytes()
        )
        for depth, (numbers, parents, pages) in enumerate(levels):
            is_root = depth == len(levels) - 1
            self._run("INSERT OR REPLACE", "_node", zip(numbers, pages, strict=True), 2)
            if not is_root:
                self._run("INSERT", "_parent", zip(numbers, parents, strict=True), 2)
        columns: list[Any] = [row_ids.tolist(), leaf_of.tolist()]
        if held[0][2] is not None:
            columns.append([outline for _, _, outlines in held for outline in outlines or ()])
        self._run("INSERT", "_rowid", zip(*columns, strict=True), len(columns))

    def _run(self, verb: str, suffix: str, rows: Any, width: int) -> None:
        marks = ", ".join("?" * width)
        insert_rows(self._connection, f'{verb} INTO "{self._name}{suffix}" VALUES ({marks})', rows)

    def _insert(
        self, row_ids: Sequence[int], boxes: Boxes, outlines: Sequence[bytes] | None
    ) -> None:
        """Through SQLite, neighbours on the sky one after another: their pages are in the cache."""
        order, values = _tiled(boxes, 1).tolist(), boxes.tolist()
        names = _AXES if outlines is None else f"{_AXES}, outline"
        marks = ", ".join("?" * (7 if outlines is None else 8))
        insert_rows(
            self._connection,
            f'INSERT OR REPLACE INTO "{self._name}" ({names}) VALUES ({marks})',
            (
                (row_ids[row], *values[row], *(() if outlines is None else (outlines[row],)))
                for row in order
            ),
        )

    def _is_empty(self) -> bool:
        query = f'SELECT EXISTS (SELECT 1 FROM "{self._name}_rowid")'
        return not self._connection.exec_driver_sql(query).scalar_one()

    def _may_write_pages(self) -> bool:
        """Not where SQLite is built to defend them."""
        try:
            self._connection.exec_driver_sql(f'DELETE FROM "{self._name}_node" WHERE 0')
        except (sa.exc.DBAPIError, sqlite3.Error):
            return False
        return True

    def _node_bytes(self) -> int:
        query = f'SELECT length(data) FROM "{self._name}_node" WHERE nodeno = 1'
        return int(self._connection.exec_driver_sql(query).scalar_one())


_Level = tuple[list[int], list[int], list[bytes]]
"""Number, number of the parent and content of each page."""


def _levels(keys: Any, boxes: Boxes, node_bytes: int) -> tuple[list[_Level], Any]:
    """The pages from the leaves to the root, which is number 1, and the leaf of each row."""
    capacity = (node_bytes - _HEAD_BYTES) // _CELL.itemsize
    per_node = max(2, int(_FILL * capacity))
    boxes = _outward(boxes)
    found: list[_Level] = []
    leaf_of = np.empty(0, np.int64)
    first_free = 2
    while True:
        is_root = len(keys) <= capacity
        size = capacity if is_root else per_node
        order = _tiled(boxes, size)
        starts = np.arange(0, len(keys), size)
        numbers = np.array([1]) if is_root else first_free + np.arange(len(starts))
        parents = np.empty(len(keys), np.int64)
        parents[order] = numbers[np.arange(len(keys)) // size]
        pages = _pages(keys[order], boxes[order], size, node_bytes, len(found) if is_root else 0)
        if found:
            found[-1] = (found[-1][0], parents.tolist(), found[-1][2])
        else:
            leaf_of = parents
        found.append((numbers.tolist(), [], pages))
        if is_root:
            return found, leaf_of
        first_free += len(starts)
        keys, boxes = numbers, _around(boxes[order], starts)


def _tiled(boxes: Boxes, per_tile: int) -> Any:
    """An order of the boxes in which each ``per_tile`` of them lie together on the sky."""
    x, y, z = ((boxes[:, 2 * axis] + boxes[:, 2 * axis + 1]) for axis in range(3))
    tiles = -(-len(boxes) // per_tile)
    zones = max(1, round(float(np.sqrt(tiles))))
    per_zone = -(-tiles // zones) * per_tile
    upward = np.argsort(z, kind="stable")
    zone = np.arange(len(boxes)) // per_zone
    return upward[np.lexsort((np.arctan2(y, x)[upward], zone))]


def _outward(boxes: Boxes) -> Boxes:
    """In single precision, in which the tree keeps them, and no smaller for it."""
    rounded = boxes.astype(np.float32)
    low, high = rounded[:, 0::2], rounded[:, 1::2]
    rounded[:, 0::2] = np.where(low > boxes[:, 0::2], np.nextafter(low, np.float32(-9)), low)
    rounded[:, 1::2] = np.where(high < boxes[:, 1::2], np.nextafter(high, np.float32(9)), high)
    return rounded


def _around(boxes: Boxes, starts: Any) -> Boxes:
    """The box about each run of boxes."""
    found = np.empty((len(starts), 6), np.float32)
    found[:, 0::2] = np.minimum.reduceat(boxes[:, 0::2], starts, axis=0)
    found[:, 1::2] = np.maximum.reduceat(boxes[:, 1::2], starts, axis=0)
    return found


def _pages(keys: Any, boxes: Boxes, size: int, node_bytes: int, depth: int) -> list[bytes]:
    """Content of the pages: depth (of the root), number of cells, cells."""
    count = -(-len(keys) // size)
    cells = np.zeros(count * size, _CELL)
    cells["key"][: len(keys)], cells["box"][: len(keys)] = keys, boxes
    heads = np.zeros((count, 2), ">u2")
    heads[:, 0], heads[:, 1] = depth, size
    heads[-1, 1] = len(keys) - (count - 1) * size
    pages = np.zeros((count, node_bytes), np.uint8)
    pages[:, :_HEAD_BYTES] = heads.view(np.uint8).reshape(count, _HEAD_BYTES)
    pages[:, _HEAD_BYTES : _HEAD_BYTES + size * _CELL.itemsize] = cells.view(np.uint8).reshape(
        count, -1
    )
    return [page.tobytes() for page in pages]
