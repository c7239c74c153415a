"""R*Trees that are written page by page are what SQLite would have made: whole, and found in."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from app.stores.database import open_engine, write_transaction
from app.stores.tables import packed_tree
from app.stores.tables.packed_tree import TreeWriter

_BOX = "x_min, x_max, y_min, y_max, z_min, z_max"


def boxes_of(count: int) -> Any:
    """Small boxes all over the sky, some of them points, a few twice."""
    made = np.random.default_rng(count).normal(size=(count, 3))
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    made[count // 2 : count // 2 + 3] = made[:1]
    half = np.where(np.arange(count)[:, None] % 3, 0.01, 0.0)
    boxes = np.empty((count, 6))
    boxes[:, 0::2], boxes[:, 1::2] = made - half, made + half
    return boxes


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    made = open_engine(f"sqlite:///{tmp_path / 'trees.sqlite3'}")
    with write_transaction(made) as connection:
        connection.exec_driver_sql(
            f"CREATE VIRTUAL TABLE tree USING rtree(row_id, {_BOX}, +outline BLOB)"
        )
    yield made
    made.dispose()


def judged(connection: sa.Connection) -> str:
    return str(connection.exec_driver_sql("SELECT rtreecheck('tree')").scalar_one())


def fill(engine: sa.Engine, row_ids: range, boxes: Any) -> None:
    """In two chunks, as tables are read."""
    with write_transaction(engine) as connection:
        tree, half = TreeWriter(connection, "tree"), len(row_ids) // 2
        for part in (slice(0, half), slice(half, None)):
            outlines = [str(row_id).encode() for row_id in row_ids[part]]
            tree.put(row_ids[part], boxes[part], pa.array(outlines, pa.binary()))
        tree.finish()


def check_boxes(connection: sa.Connection, row_ids: range, boxes: Any) -> None:
    """Everything that meets a window is found in it, with what is kept beside it."""
    for middle in boxes[::97, 0::2]:
        low, high = middle - 0.1, middle + 0.1
        meets = (boxes[:, 0::2] <= high).all(1) & (boxes[:, 1::2] >= low).all(1)
        window = tuple(float(bound) for pair in zip(high, low, strict=True) for bound in pair)
        query = (
            "SELECT row_id, outline FROM tree WHERE x_min <= ? AND x_max >= ? "
            "AND y_min <= ? AND y_max >= ? AND z_min <= ? AND z_max >= ?"
        )
        rows = connection.exec_driver_sql(query, window)
        found = {int(row[0]): bytes(row[1]) for row in rows}
        assert {row_ids[place] for place in np.flatnonzero(meets)} <= set(found)
        assert len(found) <= meets.sum() + 2  # the tree rounds its boxes outward
        assert all(outline == str(row_id).encode() for row_id, outline in found.items())


@pytest.mark.parametrize("count", [0, 1, 5, 51, 52, 3000, 20_000])
def test_a_packed_tree_is_whole_and_holds_every_row(engine: sa.Engine, count: int) -> None:
    boxes, row_ids = boxes_of(max(count, 9))[:count], range(3, 3 + count)
    fill(engine, row_ids, boxes)
    with engine.connect() as connection:
        assert judged(connection) == "ok"
        assert len(connection.exec_driver_sql("SELECT row_id FROM tree").all()) == count
        check_boxes(connection, row_ids, boxes)


@pytest.mark.parametrize("ends", [[3000, 4000], [20, 4000], [3600, 3990, 4000], [60, 1000, 4000]])
def test_rows_come_to_a_packed_tree_and_go(engine: sa.Engine, ends: list[int]) -> None:
    """Many (whole pages at a time) and few (one after another)."""
    boxes = boxes_of(4000)
    for start, end in pairwise([0, *ends]):
        fill(engine, range(start, end), boxes[start:end])
    with write_transaction(engine) as connection:
        assert judged(connection) == "ok"
        check_boxes(connection, range(4000), boxes)
        connection.exec_driver_sql("DELETE FROM tree WHERE row_id % 5 <> 0")
        assert judged(connection) == "ok"
        left = connection.exec_driver_sql("SELECT row_id FROM tree ORDER BY row_id").scalars().all()
    assert left == list(range(0, 4000, 5))


def test_more_rows_than_are_packed_at_once(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_tree, "MOST_ROWS", 600)
    boxes = boxes_of(1000)
    fill(engine, range(1000), boxes)
    with engine.connect() as connection:
        assert judged(connection) == "ok"
        check_boxes(connection, range(1000), boxes)


def test_without_leave_to_write_pages_rows_go_in_all_the_same(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TreeWriter, "_may_write_pages", lambda _: False)
    boxes = boxes_of(500)
    fill(engine, range(500), boxes)
    with engine.connect() as connection:
        assert judged(connection) == "ok"
        check_boxes(connection, range(500), boxes)
