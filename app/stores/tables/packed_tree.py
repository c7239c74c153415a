"""R*Trees of SQLite that are filled many rows at a time.

Rows are sorted into tiles on the sky (Leutenegger, Edgington & Lopez 1997, with zones of
declination for slices) and the leaves of the tree are written whole: many times faster than one row
after another, and what lies together shares a page. The levels above are made anew over all leaves,
old and new (bulk insertion as by Kamel, Khalil & Kouramajian 1996). The pages are part of SQLite's
file format (``_node``, ``_rowid`` and ``_parent``, as the head of its rtree.c tells);
``rtreecheck`` judges them.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from app.stores.tables.bulk import run_for_rows

MOST_ROWS: Final = 1_000_000
"""Sorted at once; their boxes are held in memory for it (32 bytes each)."""

FEW_ROWS: Final = 500
"""Fewer go into a tree that has rows one after another, and so do fewer than it has leaves."""

_CELL: Final = np.dtype([("key", ">i8"), ("box", ">f4", (6,))])
_HEAD_BYTES: Final = 4
_FILL: Final = 0.9
_PAGES_AT_ONCE: Final = 2048
_AXES: Final = "row_id, x_min, x_max, y_min, y_max, z_min, z_max"

Boxes = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class _Level:
    """Lowest level that need not be read whole: ``depth`` 1, cells of all leaves, or, in a tree of
    one page, 0 and the rows. ``above`` are the numbers of the pages between it and the root."""

    depth: int
    keys: Any
    boxes: Boxes
    above: tuple[int, ...]


class TreeWriter:
    """Puts rows into the R*Tree ``name``; call :meth:`finish` after the last.

    ``boxes`` are (x_min, x_max, y_min, y_max, z_min, z_max) of unit vectors; ``outlines`` what is
    kept beside each, for trees that have such a column.
    """

    def __init__(self, connection: sa.Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._row_ids: list[Any] = []
        self._boxes: list[Boxes] = []
        self._outlines: _Spool | None = None

    def put(self, row_ids: Sequence[int], boxes: Boxes, outlines: pa.Array | None = None) -> None:
        """Rows that are new to the tree."""
        held_rows = sum(len(held) for held in self._row_ids)
        if held_rows + len(row_ids) > MOST_ROWS:
            self.finish()
        if not len(row_ids):
            return
        self._row_ids.append(np.asarray(row_ids, np.int64))
        self._boxes.append(_outward(boxes))
        if outlines is not None:
            self._outlines = self._outlines or _Spool()
            self._outlines.put(outlines)

    def finish(self) -> None:
        """Write what was held back."""
        if not self._row_ids:
            return
        row_ids, boxes = np.concatenate(self._row_ids), np.concatenate(self._boxes)
        spool, self._row_ids, self._boxes, self._outlines = self._outlines, [], [], None
        level = self._lowest() if self._may_write_pages() else None
        if level is None or (level.depth and len(row_ids) < max(FEW_ROWS, len(level.keys))):
            for part, outlines in _parts(len(row_ids), spool):
                self._insert(row_ids[part], boxes[part], outlines)
            return
        self._clear(level)
        leaf_of = self._write(row_ids, boxes, level)
        for part, outlines in _parts(len(row_ids), spool):
            columns = [pa.array(row_ids[part]), pa.array(leaf_of[part]), *outlines]
            self._run("INSERT", "_rowid", columns)

    def _write(self, row_ids: Any, boxes: Boxes, level: _Level) -> Any:
        """Write the leaves of new rows and what stands above all leaves; the leaf of each row."""
        node_bytes = self._node_bytes()
        capacity = (node_bytes - _HEAD_BYTES) // _CELL.itemsize
        free = self._first_free()
        keys, depth, leaf_of = row_ids, 0, None
        if not level.depth:
            keys = np.concatenate([row_ids, level.keys])
            boxes = np.concatenate([boxes, level.boxes])
        while True:
            is_root = len(keys) <= capacity and (depth > 0 or level.depth == 0)
            tiles = _Tiles(keys, boxes, capacity if is_root else max(2, int(_FILL * capacity)))
            numbers = np.array([1]) if is_root else free + np.arange(tiles.count)
            free += tiles.count
            parents = tiles.parents(numbers)
            if leaf_of is None:
                leaf_of = parents
            else:
                self._run("INSERT", "_parent", [pa.array(keys), pa.array(parents)])
            for start in range(0, tiles.count, _PAGES_AT_ONCE):
                part = slice(start, start + _PAGES_AT_ONCE)
                pages = tiles.pages(part, node_bytes, depth if is_root else 0)
                self._run("INSERT OR REPLACE", "_node", [pa.array(numbers[part]), pages])
            if is_root:
                break
            keys, boxes = numbers, tiles.around()
            if depth == 0 and level.depth:
                keys = np.concatenate([level.keys, keys])
                boxes = np.concatenate([level.boxes, boxes])
            depth += 1
        if not level.depth:
            self._move(level.keys, leaf_of[len(row_ids) :])
        return leaf_of

    def _move(self, row_ids: Any, leaf_of: Any) -> None:
        """Tell the rows of what was the only page where they are now."""
        statement = f'UPDATE "{self._name}_rowid" SET nodeno = ? WHERE rowid = ?'
        if len(row_ids):
            run_for_rows(self._connection, statement, [pa.array(leaf_of), pa.array(row_ids)])

    def _run(self, verb: str, suffix: str, columns: Sequence[pa.Array]) -> None:
        marks = ", ".join("?" * len(columns))
        statement = f'{verb} INTO "{self._name}{suffix}" VALUES ({marks})'
        run_for_rows(self._connection, statement, columns)

    def _insert(self, row_ids: Any, boxes: Boxes, outlines: Sequence[pa.Array]) -> None:
        """Through SQLite, neighbours on the sky one after another: their pages are in the cache."""
        order = pa.array(_tiled(boxes, 1))
        columns = [pa.array(row_ids)]
        columns += [pa.array(boxes[:, side].astype(float)) for side in range(6)]
        columns += outlines
        names = f"{_AXES}, outline" if outlines else _AXES
        marks = ", ".join("?" * len(columns))
        run_for_rows(
            self._connection,
            f'INSERT OR REPLACE INTO "{self._name}" ({names}) VALUES ({marks})',
            [column.take(order) for column in columns],
        )

    def _lowest(self) -> _Level:
        """The leaves there are."""
        (root,) = self._pages_of([1])
        depth = int.from_bytes(root[:2], "big")
        cells = _cells([root])
        above: list[int] = []
        while depth > 1:
            inner = cells["key"].tolist()
            above += inner
            cells = _cells(self._pages_of(inner))
            depth -= 1
        boxes = cells["box"].astype(np.float32)
        return _Level(depth, cells["key"].astype(np.int64), boxes, tuple(above))

    def _pages_of(self, numbers: Sequence[int]) -> list[bytes]:
        query = (
            f'SELECT n.data FROM json_each(?) AS k JOIN "{self._name}_node" AS n '
            "ON n.nodeno = k.value"
        )
        found = self._connection.exec_driver_sql(query, (json.dumps(list(numbers)),))
        return list(found.scalars())

    def _clear(self, level: _Level) -> None:
        """Remove what stands above the leaves; the root is replaced."""
        self._connection.exec_driver_sql(
            f'DELETE FROM "{self._name}_node" WHERE nodeno IN (SELECT value FROM json_each(?))',
            (json.dumps(level.above),),
        )
        self._connection.exec_driver_sql(f'DELETE FROM "{self._name}_parent"')

    def _first_free(self) -> int:
        query = f'SELECT max(nodeno) FROM "{self._name}_node"'
        return int(self._connection.exec_driver_sql(query).scalar_one()) + 1

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


class _Spool:
    """Arrays of bytes that wait in a file, in the order in which they come."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it goes with the last reader
        self._writer = pa.ipc.new_stream(self._file, pa.schema([("outline", pa.binary())]))

    def put(self, outlines: pa.Array) -> None:
        """The next array."""
        self._writer.write(pa.record_batch([outlines], names=["outline"]))

    def read(self) -> Iterator[pa.Array]:
        """The arrays; the file is gone afterwards."""
        self._writer.close()
        self._file.seek(0)
        with self._file:
            for batch in pa.ipc.open_stream(self._file):
                yield batch.column(0)


def _parts(rows: int, spool: _Spool | None) -> Iterator[tuple[slice, list[pa.Array]]]:
    """Some of the rows after another, with their outlines in a tree that has any."""
    if spool is None:
        yield slice(rows), []
        return
    done = 0
    for outlines in spool.read():
        yield slice(done, done + len(outlines)), [outlines]
        done += len(outlines)


class _Tiles:
    """Cells in pages, each ``size`` of them (the last: the rest) that lie together on the sky."""

    def __init__(self, keys: Any, boxes: Boxes, size: int) -> None:
        self._order = _tiled(boxes, size)
        self._keys, self._boxes, self._size = keys[self._order], boxes[self._order], size
        self.count = -(-len(keys) // size)

    def parents(self, numbers: Any) -> Any:
        """The number of the page of each cell, in the order in which the cells were given."""
        found = np.empty(len(self._keys), np.int64)
        found[self._order] = numbers[np.arange(len(self._keys)) // self._size]
        return found

    def around(self) -> Boxes:
        """The box about each page."""
        starts = np.arange(0, len(self._keys), self._size)
        found = np.empty((len(starts), 6), np.float32)
        found[:, 0::2] = np.minimum.reduceat(self._boxes[:, 0::2], starts, axis=0)
        found[:, 1::2] = np.maximum.reduceat(self._boxes[:, 1::2], starts, axis=0)
        return found

    def pages(self, part: slice, node_bytes: int, depth: int) -> pa.Array:
        """Content of some of the pages: depth (of the root), number of cells, cells."""
        size = self._size
        rows = slice(part.start * size, part.stop * size)
        keys, boxes = self._keys[rows], self._boxes[rows]
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
        offsets = np.arange(count + 1, dtype=np.int32) * np.int32(node_bytes)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(pages)]
        return pa.Array.from_buffers(pa.binary(), count, buffers)


def _cells(pages: Sequence[bytes]) -> Any:
    """The cells of pages, one after another."""
    return np.concatenate(
        [
            np.frombuffer(page, _CELL, int.from_bytes(page[2:4], "big"), _HEAD_BYTES)
            for page in pages
        ]
    )


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
