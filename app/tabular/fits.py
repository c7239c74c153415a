"""A FITS binary table (FITS 4.0, section 7.3) in the first extension.

The header must tell the number of rows and the width of texts, so the rows are kept in a temporary
file until all have come; the memory that this takes does not grow with their number.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from astropy.io import fits

from app.cells.binary import WIDTHS, BinaryPlan, BinaryRows, Layout
from app.cells.codes import XML
from app.cells.columns import LEAST, as_lists, holds_numbers, integers_of, parts_of, size_of
from app.cells.described import batch_as_travelled, describe_batch
from app.schema.batches import RowLimit, arrow_schema
from app.schema.fields import Field

_BLOCK: Final = 2880
_IN_MEMORY: Final = 16 * 2**20
_CANDIDATES: Final = 64
_FORMS: Final = {
    "boolean": "L",
    "short": "I",
    "int": "J",
    "long": "K",
    "float": "E",
    "double": "D",
    "floatComplex": "C",
    "doubleComplex": "M",
    "char": "A",
}


class _Spool:
    """Batches in a temporary file (in memory while they are few), and what the header needs."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = tuple(fields)
        self.rows = 0
        self.sizes = [size_of(field) for field in fields]
        self._longest = [parts_of(field.datatype) for field in fields]
        self._taken: list[set[int]] = [set() for _ in self.fields]
        # A file without a name: it is gone when it is closed, however that comes about.
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writer = pa.ipc.new_stream(self._file, arrow_schema(fields), options=options)

    def add(self, batch: pa.RecordBatch) -> None:
        travelled = batch_as_travelled(self.fields, batch)
        for number, (field, column) in enumerate(zip(self.fields, travelled.columns, strict=True)):
            self._learn(number, field, column)
        self._writer.write_batch(travelled)
        self.rows += batch.num_rows

    def _learn(self, number: int, field: Field, column: pa.Array) -> None:
        """How long values are, and which of the numbers that could stand for NULL occur."""
        values = column
        if holds_numbers(field):
            lists = as_lists(field, column)
            lengths, values = pc.list_value_length(lists), lists.values
        elif self.sizes[number] is None:
            lengths = pc.utf8_length(column)
        if self.sizes[number] is None:
            self._longest[number] = max(self._longest[number], pc.max(lengths).as_py() or 0)
        if field.datatype in LEAST and len(values):
            integers = integers_of(values)
            low = integers[integers < LEAST[field.datatype] + _CANDIDATES]
            self._taken[number].update(low.tolist())

    def layouts(self) -> list[Layout]:
        """Every column with the width of its longest value."""
        return [
            Layout(
                field=field,
                datatype="char" if field.datatype == "unicodeChar" else field.datatype,
                size=longest if size is None else size,
                null=self._null(number),
                printable=True,
            )
            for number, (field, size, longest) in enumerate(
                zip(self.fields, self.sizes, self._longest, strict=True)
            )
        ]

    def _null(self, number: int) -> int:
        """What stands for NULL (TNULLn): the least number of the type that does not occur."""
        least = LEAST.get(self.fields[number].datatype, 0)
        candidates = range(least, least + _CANDIDATES)
        return next((each for each in candidates if each not in self._taken[number]), least)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """What was added, in the same order."""
        self._writer.close()
        self._file.seek(0)
        yield from pa.ipc.open_stream(self._file)

    def close(self) -> None:
        self._file.close()


def write(
    fields: Sequence[Field], batches: Iterable[pa.RecordBatch], maxrec: int
) -> Iterator[bytes]:
    """The file in pieces. NULL: TNULL for integers, NaN for reals, zero byte for booleans,
    empty for text. FITS text is ASCII: other characters are sent as ``?``, line ends and tabs as
    blanks. Arrays are as long as the longest, the rest is NULL."""
    limit = RowLimit(batches, maxrec)
    spool = _Spool(fields)
    try:
        for batch in limit:
            spool.add(batch)
        layouts = spool.layouts()
        yield _headers(layouts, limit)
        rows = BinaryRows(BinaryPlan(layouts, null_flags=False))
        n_bytes = 0
        for batch in spool.batches():
            data, size = rows.encode(describe_batch(fields, batch, XML))
            n_bytes += size
            yield data[:size].tobytes()
        yield bytes(-n_bytes % _BLOCK)
    finally:
        limit.close()
        spool.close()


def _headers(layouts: Sequence[Layout], limit: RowLimit) -> bytes:
    cards: list[tuple[str, int | str, str]] = [
        ("XTENSION", "BINTABLE", "binary table extension"),
        ("BITPIX", 8, ""),
        ("NAXIS", 2, ""),
        ("NAXIS1", sum(_width(layout) for layout in layouts), "bytes per row"),
        ("NAXIS2", limit.rows, "rows"),
        ("PCOUNT", 0, ""),
        ("GCOUNT", 1, ""),
        ("TFIELDS", len(layouts), "columns"),
        ("EXTNAME", "RESULT", ""),
        ("QSTATUS", "OVERFLOW" if limit.overflow else "OK", "OVERFLOW: more rows exist"),
    ]
    for number, layout in enumerate(layouts, start=1):
        cards += [(f"{name}{number}", value, "") for name, value in _column_cards(layout)]
    text = "".join(_card(*card) for card in cards) + "END".ljust(80)
    return _primary() + (text + " " * (-len(text) % _BLOCK)).encode("ascii")


@cache
def _primary() -> bytes:
    header: str = fits.PrimaryHDU().header.tostring()
    return header.encode("ascii")


@lru_cache(maxsize=4096)
def _card(keyword: str, value: int | str, comment: str) -> str:
    """80 characters, or a multiple of it where a text is long (FITS 4.0, section 4.2.1.2)."""
    image: str = fits.Card(keyword, value, comment).image
    return image


def _width(layout: Layout) -> int:
    return WIDTHS[layout.datatype] * (layout.size or 0)


def _column_cards(layout: Layout) -> Iterator[tuple[str, int | str]]:
    field = layout.field
    yield "TTYPE", _ascii(field.name)
    elements = (layout.size or 0) // parts_of(layout.datatype)
    yield "TFORM", f"{'' if elements == 1 else elements}{_FORMS[layout.datatype]}"
    if layout.datatype in LEAST:
        yield "TNULL", layout.null
    dimensions = (field.arraysize or "").split("x")
    if len(dimensions) > 1 and "*" not in dimensions[-1] and layout.datatype != "char":
        yield "TDIM", f"({','.join(dimensions)})"
    texts = (("TUNIT", field.unit), ("TUCD", field.ucd), ("TUTYP", field.utype))
    for keyword, value in (*texts, ("TXTYP", field.xtype), ("TCOMM", field.description)):
        if value:
            yield keyword, _ascii(value)


def _ascii(text: str) -> str:
    plain = text.encode("ascii", "replace").decode()
    return "".join(character if character.isprintable() else " " for character in plain)
