"""Apache Parquet, a row group per batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet

from app.schema.batches import RowLimit
from app.schema.fields import Field
from app.tabular.stream import as_declared, declared_type

_NO_METADATA: Mapping[str, str] = {}


class _Outbox:
    """A file object whose content is taken away piece by piece."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._written = 0

    def write(self, data: bytes) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._written += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def write(
    fields: Sequence[Field],
    batches: Iterable[pa.RecordBatch],
    maxrec: int,
    metadata: Mapping[str, str] = _NO_METADATA,
) -> Iterator[bytes]:
    """The file in pieces. ``metadata`` is kept in the footer, with ``query_status`` added.

    Units and UCDs are metadata of each column.
    """
    limit = RowLimit(batches, maxrec)
    rows = iter(limit)
    outbox = _Outbox()
    try:
        batch = next(rows, None)
        schema = _schema(fields).with_metadata(dict(metadata))
        with pyarrow.parquet.ParquetWriter(outbox, schema) as writer:
            while batch is not None:
                writer.write_batch(as_declared(fields, batch).cast(schema))
                yield outbox.take()
                batch = next(rows, None)
            status = "OVERFLOW" if limit.overflow else "OK"
            writer.add_key_value_metadata({"query_status": status})
        yield outbox.take()
    finally:
        limit.close()


def _schema(fields: Sequence[Field]) -> pa.Schema:
    return pa.schema([_column(field) for field in fields])


def _column(field: Field) -> pa.Field:
    about = {"unit": field.unit, "ucd": field.ucd, "description": field.description}
    metadata = {name: value for name, value in about.items() if value}
    return pa.field(field.name, declared_type(field), metadata=metadata)
