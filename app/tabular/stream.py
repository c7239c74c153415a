"""The flow of batches that the text formats share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from app.schema.batches import RowLimit


def stream_rows(
    batches: Iterable[pa.RecordBatch],
    maxrec: int,
    *,
    head: Callable[[], bytes],
    encode: Callable[[pa.RecordBatch], bytes],
    tail: Callable[[bool], bytes] = lambda overflow: b"",
) -> Iterator[bytes]:
    """Head, encoded batches, tail (told whether rows were cut off).

    The head comes with the first batch, so an error before it leaves no byte. An error on the way
    is raised: whoever sends the pieces must break off, for none of the formats can tell it.
    """
    limit = RowLimit(batches, maxrec)
    rows = iter(limit)
    try:
        batch = next(rows, None)
        yield head() if batch is None else head() + encode(batch)
        for batch in rows:
            yield encode(batch)
        yield tail(limit.overflow)
    finally:
        limit.close()
