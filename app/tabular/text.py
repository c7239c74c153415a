"""Column arrays as arrays of text."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def join_cells(cells: list[pa.Array], *, between: str, null: str) -> pa.Array:
    """One text per row: the cells of that row with ``between`` between them."""
    separator = pa.scalar(between, pa.large_string())
    return pc.binary_join_element_wise(
        *cells, separator, null_handling="replace", null_replacement=null
    )


def join_rows(rows: pa.Array, between: str) -> bytes:
    """All rows as one text."""
    whole = pa.LargeListArray.from_arrays(pa.array([0, len(rows)], pa.int64()), rows)
    return bytes(pc.binary_join(whole, pa.scalar(between, pa.large_string()))[0].as_buffer())
