"""The first table of a VOTable document as it stands there, nothing interpreted yet.

The reader is made for documents of strangers: no document type and no entity is taken, nothing is
fetched from elsewhere (``STREAM href``), and rows and columns are counted while they come.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from xml.parsers import expat

from app.errors import LimitError, UploadError

DataForm = Literal["tabledata", "binary", "binary2"]

_MAX_DEPTH: Final = 64
_TAKEN: Final = "take TABLEDATA, BINARY or BINARY2"


@dataclass(slots=True)
class RawField:
    """A FIELD: its attributes, the value that stands for NULL, its description."""

    attributes: Mapping[str, str]
    null: str | None = None
    description: str = ""


@dataclass(slots=True)
class RawTable:
    """Fields and data: ``cells`` row by row for TABLEDATA, ``stream`` for the binary forms."""

    fields: list[RawField] = field(default_factory=list)
    form: DataForm | None = None
    cells: list[str] = field(default_factory=list)
    stream: bytes = b""


def parse_table(data: bytes, *, name: str, max_rows: int, max_columns: int) -> RawTable:
    """The first TABLE of a document. ``name`` is what errors call it.

    Raises
    ------
    UploadError
        It is no VOTable, not well formed, or holds its data in a form that is not taken.
    LimitError
        More rows or columns than allowed.
    """
    reader = _Reader(name, max_rows, max_columns)
    try:
        reader.parser.Parse(data, True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        where = f"line {error.lineno}, column {error.offset + 1}"
        told = f"a VOTable is needed, and this is not well-formed XML: {reason} ({where})"
        raise UploadError(name, told) from None
    except (LookupError, UnicodeError, ValueError) as error:
        raise UploadError(name, f"its encoding cannot be read: {error}") from None
    reader.require_fields()
    return reader.table


class _Reader:
    """Follows the events of one document."""

    def __init__(self, name: str, max_rows: int, max_columns: int) -> None:
        self.table = RawTable()
        self._name = name
        self._max_rows = max_rows
        self._max_columns = max_columns
        self._path: list[str] = []
        self._text: list[str] = []
        self._is_done = False
        self._in_table = False
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.buffer_size = 1 << 16
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._listen()

    def _listen(self) -> None:
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text.append

    def require_fields(self) -> None:
        """Raise UploadError if there are none."""
        if not self.table.fields:
            raise UploadError(self._name, "the VOTable holds no TABLE with a FIELD")

    def _refuse_doctype(self, *_: object) -> None:
        raise UploadError(self._name, "a document type declaration is not taken")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        kind = tag.rpartition(":")[2]
        if not self._path and kind != "VOTABLE":
            raise UploadError(self._name, f"a VOTable is needed, and this is XML of type {kind}")
        if len(self._path) >= _MAX_DEPTH:
            raise LimitError("nested elements in a VOTable", "more", _MAX_DEPTH)
        self._path.append(kind)
        self._text.clear()
        if self._is_done:
            return
        if kind == "TABLE":
            self._in_table = True
        if self._in_table:
            self._start_in_table(kind, attributes)

    def _start_in_table(self, kind: str, attributes: dict[str, str]) -> None:
        if kind == "FIELD":
            self._add_field(attributes)
        elif kind == "VALUES" and self._path[-2] == "FIELD" and attributes.get("null"):
            self.table.fields[-1].null = attributes["null"].strip()
        elif kind in ("BINARY", "BINARY2"):
            self.table.form = "binary" if kind == "BINARY" else "binary2"
        elif kind == "STREAM":
            self._check_stream(attributes)
        elif kind == "TABLEDATA":
            self.table.form = "tabledata"
            self.require_fields()
            self._listen_to_rows()
        elif kind in ("FITS", "PARQUET"):
            raise UploadError(self._name, f"its data are {kind} inside a VOTable; {_TAKEN}")

    def _add_field(self, attributes: dict[str, str]) -> None:
        if len(self.table.fields) >= self._max_columns:
            raise LimitError("columns in an uploaded table", "more", self._max_columns)
        self.table.fields.append(RawField(attributes))

    def _check_stream(self, attributes: dict[str, str]) -> None:
        if "href" in attributes:
            raise UploadError(self._name, "its data lie elsewhere (STREAM href); send them along")
        encoding = attributes.get("encoding", "base64").strip().lower()
        if encoding != "base64":
            raise UploadError(self._name, f"the encoding {encoding!r} of STREAM is not base64")

    def _end(self, tag: str) -> None:
        kind = self._path.pop()
        if self._is_done or not self._in_table:
            return
        if kind == "TABLE":
            self._in_table, self._is_done = False, bool(self.table.fields)
        elif kind == "STREAM":
            self.table.stream = self._decoded("".join(self._text))
        elif kind == "DESCRIPTION" and self._path[-1] == "FIELD":
            self.table.fields[-1].description = " ".join("".join(self._text).split())
        self._text.clear()

    def _decoded(self, text: str) -> bytes:
        try:
            return binascii.a2b_base64("".join(text.split()), strict_mode=True)
        except (binascii.Error, ValueError) as error:
            raise UploadError(self._name, f"its STREAM is no base64 text: {error}") from None

    def _listen_to_rows(self) -> None:
        """Rows are many: inside TABLEDATA only the few things that may come are looked at."""
        start, text, end = self._row_handlers()
        self.parser.StartElementHandler = start
        self.parser.CharacterDataHandler = text
        self.parser.EndElementHandler = end

    def _row_handlers(
        self,
    ) -> tuple[Callable[[str, dict[str, str]], None], Callable[[str], None], Callable[[str], None]]:
        cells, width = self.table.cells, len(self.table.fields)
        add = cells.append
        expected = 0
        held = ""

        def start(tag: str, attributes: dict[str, str]) -> None:
            nonlocal held
            held = ""
            if attributes and attributes.get("encoding", "none") != "none":
                raise UploadError(self._name, "encoded cells (TD encoding) are not taken")
            if not tag.endswith(("TD", "TR")):
                raise UploadError(self._name, f"{tag} does not belong into TABLEDATA")

        def text(data: str) -> None:
            nonlocal held
            held += data

        def end(tag: str) -> None:
            nonlocal expected
            if tag.endswith("TD"):
                add(held)
            elif tag.endswith("TR"):
                expected += width
                if len(cells) != expected:
                    found, row = len(cells) - expected + width, expected // width
                    raise UploadError(self._name, f"row {row} has {found} cells, not {width}")
                if expected > width * self._max_rows:
                    raise LimitError("rows in an uploaded table", "more", self._max_rows)
            else:
                self._path.pop()
                self._text.clear()
                self._listen()

        return start, text, end
