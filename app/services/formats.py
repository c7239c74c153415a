"""The output formats of query answers: VOTable in its serializations and the tabular ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import pyarrow as pa

from app.schema.fields import Field
from app.tabular import parquet
from app.tabular.registry import CSV, FITS, JSON, PARQUET, TSV, FormatRegistry, OutputFormat
from app.votable.writer import Serialization, empty_table, write_results

_IVO: Final = "ivo://ivoa.net/std/TAPRegExt#output-votable-"


def _votable(
    serialization: Serialization,
    media_types: tuple[str, ...],
    names: tuple[str, ...],
) -> OutputFormat:
    def write(
        fields: Sequence[Field], batches: Iterable[pa.RecordBatch], maxrec: int
    ) -> Iterator[bytes]:
        return write_results(fields, batches, maxrec=maxrec, serialization=serialization)

    return OutputFormat(
        name=f"votable-{serialization}",
        media_types=media_types,
        names=names,
        write=write,
        ivo_id=f"{_IVO}{serialization}",
    )


def _voparquet(
    fields: Sequence[Field], batches: Iterable[pa.RecordBatch], maxrec: int
) -> Iterator[bytes]:
    """Parquet that carries its VOTable metadata, as the IVOA note VOParquet 1.0 has it."""
    metadata = {
        "IVOA.VOTable-Parquet.version": "1.0",
        "IVOA.VOTable-Parquet.content": empty_table(fields),
    }
    return parquet.write(fields, batches, maxrec, metadata)


VOTABLE_TD: Final = _votable(
    "td",
    (
        "application/x-votable+xml",
        "application/x-votable+xml;serialization=tabledata",
        "text/xml",
        "application/xml",
    ),
    ("votable", "votable/td"),
)
VOTABLE_BINARY2: Final = _votable(
    "binary2",
    ("application/x-votable+xml;serialization=binary2",),
    ("votable/b2", "votable/binary2"),
)
VOTABLE_BINARY: Final = _votable(
    "binary",
    ("application/x-votable+xml;serialization=binary",),
    ("votable/b", "votable/binary"),
)

FORMATS: Final = FormatRegistry(
    (
        VOTABLE_TD,
        VOTABLE_BINARY2,
        VOTABLE_BINARY,
        CSV,
        TSV,
        JSON,
        FITS,
        replace(PARQUET, write=_voparquet),
    )
)

VOTABLE_SERIALIZATIONS: Final[dict[str, Serialization]] = {
    VOTABLE_TD.name: "td",
    VOTABLE_BINARY2.name: "binary2",
    VOTABLE_BINARY.name: "binary",
}
"""Name of a VOTable format -> its serialization."""
