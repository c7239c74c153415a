"""Rows per second of each writer alone, on ObsCore rows in memory, beside other writers.

The peers get the same rows in the form that suits them: astropy a table of its own, fewer rows
because it is slow (its BINARY refuses NULL of an integer), pyarrow the batch as it is (its CSV
quotes every text).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from astropy.io.votable import from_table
from astropy.table import MaskedColumn, Table

from app.schema.batches import arrow_schema
from app.schema.obscore import OBSCORE
from app.services.formats import FORMATS
from benchmarks.contains import generated_rows
from benchmarks.figures import Figure, interleaved

ROWS = 100_000
ASTROPY_ROWS = 2_000
BATCH_ROWS = 10_000
SMALL = 525
ROUNDS = 5


def obscore_rows() -> pa.RecordBatch:
    """The neutral generator's rows with every column of ObsCore."""
    rows, _ = generated_rows()
    schema = arrow_schema(OBSCORE.fields)
    columns = [
        pa.array([row.columns.get(each.name) for row in rows[:ROWS]], each.type) for each in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def written(name: str, rows: pa.RecordBatch) -> int:
    """Bytes of the rows in a format."""
    output = next(each for each in FORMATS.formats if each.name == name)
    batches = (
        rows.slice(start, BATCH_ROWS) for start in range(0, max(rows.num_rows, 1), BATCH_ROWS)
    )
    return sum(map(len, output.write(OBSCORE.fields, batches, 10**9)))


def astropy_table(rows: pa.RecordBatch) -> Table:
    """The rows as a table of astropy; NULL is masked."""
    table = Table()
    for field, column in zip(OBSCORE.fields, rows.columns, strict=True):
        empty: Any = {"integer": 0, "real": 0.0}.get(field.kind, "")
        values = [empty if value is None else value for value in column.to_pylist()]
        mask = column.is_null().to_numpy(zero_copy_only=False)
        table[field.name] = MaskedColumn(values, mask=mask)
    return table


def votable_by_astropy(table: Table, serialization: str) -> None:
    """A VOTable as astropy writes it."""
    from_table(table).to_xml(io.BytesIO(), tabledata_format=serialization)


def fits_by_astropy(table: Table) -> None:
    """A FITS table as astropy writes it."""
    table.write(io.BytesIO(), format="fits")


def csv_by_pyarrow(rows: pa.RecordBatch) -> None:
    """The rows as pyarrow writes them."""
    pyarrow.csv.write_csv(rows, io.BytesIO())


def parquet_by_pyarrow(rows: pa.RecordBatch) -> None:
    """The rows as pyarrow writes them."""
    pyarrow.parquet.write_table(pa.Table.from_batches([rows]), io.BytesIO())


def figures() -> Iterator[Figure]:
    """Each format beside a peer that writes it too, then the small answer."""
    rows = obscore_rows()
    table = astropy_table(rows.slice(0, ASTROPY_ROWS))
    peers: dict[str, tuple[str, int, Callable[[], None]]] = {
        "votable-td": ("astropy", ASTROPY_ROWS, partial(votable_by_astropy, table, "tabledata")),
        "votable-binary2": ("astropy", ASTROPY_ROWS, partial(votable_by_astropy, table, "binary2")),
        "fits": ("astropy", ASTROPY_ROWS, partial(fits_by_astropy, table)),
        "csv": ("pyarrow", ROWS, partial(csv_by_pyarrow, rows)),
        "parquet": ("pyarrow", ROWS, partial(parquet_by_pyarrow, rows)),
    }
    for output in FORMATS.formats:
        tasks: dict[str, Callable[[], object]] = {"ours": partial(written, output.name, rows)}
        peer = peers.get(output.name)
        if peer is not None:
            tasks["peer"] = peer[2]
        written(output.name, rows.slice(0, SMALL))
        seconds = interleaved(ROUNDS, **tasks)
        yield Figure(
            name=f"{output.name}, {len(OBSCORE.fields)} columns",
            ours=rows.num_rows / seconds["ours"],
            unit="rows/s",
            peer_name=peer[0] if peer is not None else "",
            peer=peer[1] / seconds["peer"] if peer is not None else None,
            larger_is_better=True,
        )
    small = rows.slice(0, SMALL)
    seconds = interleaved(50, ours=partial(written, "votable-td", small))
    yield Figure(name=f"votable-td, {SMALL} rows, whole", ours=1e3 * seconds["ours"], unit="ms")
