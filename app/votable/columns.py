"""Columns of a VOTable that was read: what their FIELDs mean here, and their values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from app.cells.columns import REALS, parts_of
from app.errors import LimitError, RegionError, UploadError
from app.schema.batches import arrow_type
from app.schema.fields import Datatype, Field, Kind
from app.sky.numbers import parse_number, parse_whole
from app.sky.stcs import circle_from, parse_region, simple_polygon_from
from app.votable.parse import RawField, RawTable
from app.votable.unpack import Cell, unpack

SCALARS: Final[dict[str, tuple[Kind, Datatype]]] = {
    "boolean": ("boolean", "boolean"),
    "bit": ("boolean", "boolean"),
    "unsignedByte": ("integer", "short"),
    "short": ("integer", "short"),
    "int": ("integer", "int"),
    "long": ("integer", "long"),
    "float": ("real", "float"),
    "double": ("real", "double"),
    "floatComplex": ("text", "floatComplex"),
    "doubleComplex": ("text", "doubleComplex"),
    "char": ("text", "char"),
    "unicodeChar": ("text", "unicodeChar"),
}
"""VOTable's datatypes as columns here."""
_RANGES: Final = {
    "unsignedByte": (0, 255),
    "short": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "long": (-(2**63), 2**63 - 1),
}
_TRUTH: Final = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}
_SHAPES: Final[dict[str, Kind]] = {"point": "point", "circle": "region", "polygon": "region"}
_ARRAYSIZE: Final = re.compile(r"(\d+x)*(\d+|\d*\*)\Z")
MAX_VERTICES: Final = 100
"""Of an uploaded polygon: whether its edges cross takes time as the square of it."""
MAX_ALL_VERTICES: Final = 100_000
_MAX_ELEMENTS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Shape:
    """What an arraysize says: ``count`` elements, or any number of them (None)."""

    text: str | None
    count: int | None
    is_array: bool


def read_columns(
    raw: RawTable, *, name: str, max_rows: int
) -> tuple[tuple[Field, ...], list[pa.Array]]:
    """Fields (named in the database ``c1``, ``c2`` …) and their values as they travel.

    Raises UploadError, which calls the table ``name`` and names column and row at fault, and
    LimitError for too many rows.
    """
    shapes = [_shape(field, name) for field in raw.fields]
    cells = _cells(raw, shapes, name, max_rows)
    found: list[tuple[Field, pa.Array]] = []
    for number, (field, shape, values) in enumerate(zip(raw.fields, shapes, cells, strict=True), 1):
        found.append(_Column(name, number, field, shape).read(values))
    _check_names([field for field, _ in found], name)
    return tuple(field for field, _ in found), [values for _, values in found]


def _cells(
    raw: RawTable, shapes: Sequence[Shape], name: str, max_rows: int
) -> Sequence[Sequence[Cell]]:
    """The cells of each column: text from TABLEDATA, values otherwise."""
    width = len(raw.fields)
    if raw.form in ("binary", "binary2"):
        datatypes = [field.attributes["datatype"] for field in raw.fields]
        types = [(t, shape.count) for t, shape in zip(datatypes, shapes, strict=True)]
        return unpack(
            raw.stream, types, null_flags=raw.form == "binary2", name=name, max_rows=max_rows
        )
    # An empty cell is NULL in every type (VOTable 1.3, section 4.7).
    return [[cell or None for cell in raw.cells[place::width]] for place in range(width)]


def _shape(field: RawField, name: str) -> Shape:
    label = _label(field)
    datatype = field.attributes.get("datatype", "")
    if datatype not in SCALARS:
        offered = ", ".join(SCALARS)
        reason = f"column {label} has the datatype {datatype!r}; taken are {offered}"
        raise UploadError(name, reason)
    text = field.attributes.get("arraysize", "").strip() or None
    if text in (None, "1"):  # the same, by erratum 3 of VOTable 1.3
        return Shape(None, 1, False)
    if not _ARRAYSIZE.match(text):
        raise UploadError(name, f"column {label} has the arraysize {text!r}")
    *fixed, last = text.split("x")
    count = 1
    for size in (*fixed, *(() if last.endswith("*") else (last,))):
        count *= int(size)
    if not 0 < count <= _MAX_ELEMENTS:
        raise UploadError(name, f"column {label} has the arraysize {text!r}")
    return Shape("*" if fixed else text, None if last.endswith("*") else count, True)


def _label(field: RawField) -> str:
    return field.attributes.get("name") or field.attributes.get("ID") or "without a name"


def _check_names(fields: Sequence[Field], name: str) -> None:
    seen: set[str] = set()
    for field in fields:
        if field.name.lower() in seen:
            reason = f"two columns are called {field.name}; names must differ in more than case"
            raise UploadError(name, reason)
        seen.add(field.name.lower())


class _Column:
    """One column on its way."""

    def __init__(self, table: str, number: int, raw: RawField, shape: Shape) -> None:
        self._table = table
        self._raw = raw
        self._shape = shape
        self._datatype = raw.attributes["datatype"]
        self._name = (raw.attributes.get("name") or raw.attributes.get("ID") or "").strip()
        self._column = f"c{number}"
        if not self._name:
            raise UploadError(table, f"column {number} has no name")

    def read(self, cells: Sequence[Cell]) -> tuple[Field, pa.Array]:
        """The field and its values."""
        kind, datatype = SCALARS[self._datatype]
        if datatype in ("char", "unicodeChar"):
            return self._read_text(cells, datatype)
        if self._shape.is_array or kind == "text":
            return self._read_array(cells, datatype)
        readers: dict[Kind, Callable[[Cell], object]] = {
            "boolean": _boolean,
            "integer": self._integer,
            "real": self._real,
        }
        return self._finish(kind, datatype, None, self._each(cells, readers[kind]))

    def _each(self, cells: Sequence[Cell], read: Callable[[Cell], object]) -> list[object]:
        """The values; a cell that cannot be read is named with its row."""
        try:
            return [None if cell is None else read(cell) for cell in cells]
        except (ValueError, OverflowError, RegionError):
            for row, cell in enumerate(cells, 1):
                if cell is not None:
                    self._try(row, cell, read)
            raise

    def _try(self, row: int, cell: Cell, read: Callable[[Cell], object]) -> None:
        try:
            read(cell)
        except RegionError as error:
            reason = f"column {self._name}, row {row}: {error.args[1]}"
            raise UploadError(self._table, reason) from None
        except (ValueError, OverflowError):
            shown = str(cell)[:40]
            size = f" of arraysize {self._shape.text}" if self._shape.text else ""
            reason = f"column {self._name}, row {row}: {shown!r} is no {self._datatype}{size}"
            raise UploadError(self._table, reason) from None

    def _integer(self, cell: Cell) -> int | None:
        if isinstance(cell, str):
            cell = cell.strip()
            if not cell or cell == self._raw.null:
                return None
            value = parse_whole(cell, 16) if cell.lower().startswith("0x") else parse_whole(cell)
        else:
            value = int(cell or 0)
            if self._raw.null is not None and str(value) == self._raw.null:
                return None
        low, high = _RANGES[self._datatype]
        if not low <= value <= high:
            raise ValueError
        return value

    def _real(self, cell: Cell) -> float | None:
        if isinstance(cell, str):
            cell = cell.strip()
            if not cell or cell == self._raw.null:
                return None
            cell = parse_number(cell)
        value = float(cell or 0)
        return None if math.isnan(value) else value

    def _read_text(self, cells: Sequence[Cell], datatype: Datatype) -> tuple[Field, pa.Array]:
        """Strings, as timestamps or regions if the xtype says so and they are."""
        values = [None if cell is None else str(cell).replace("\0", "") for cell in cells]
        longest = max((len(value) for value in values if value), default=0)
        arraysize = self._shape.text
        bound = (arraysize or "1").rstrip("*")
        if bound and longest > int(bound):
            arraysize = "*"
        xtype = (self._raw.attributes.get("xtype") or "").lower()
        kind: Kind = "text"
        if xtype in ("timestamp", "adql:timestamp"):
            kind = "timestamp"
        elif xtype in ("adql:region", "stc") and _are_regions(values):
            kind = "region"
        return self._finish(kind, datatype, arraysize, values)

    def _read_array(self, cells: Sequence[Cell], datatype: Datatype) -> tuple[Field, pa.Array]:
        """Elements separated by blanks; numbers with the xtype of a geometry are one. Of complex
        numbers both parts. Bits are booleans."""
        xtype = (self._raw.attributes.get("xtype") or "").lower()
        shape = _SHAPES.get(xtype) if datatype in ("float", "double") else None
        if shape is None:
            is_truth = datatype == "boolean"
            values = self._each(cells, self._truths if is_truth else self._numbers)
            # A whole number has no NaN: NULL can only be an array without elements.
            is_fixed = is_truth or datatype in REALS or None not in values
            arraysize = self._shape.text if is_fixed else "*"
            return self._finish("text", datatype, arraysize, values)

        vertices = 0

        def geometry(cell: Cell) -> str | None:
            nonlocal vertices
            text = self._numbers(cell)
            if text is None:
                return None
            vertices += text.count(" ") // 2 + 1
            if xtype == "polygon" and vertices > MAX_ALL_VERTICES:
                what = "vertices in a column of uploaded polygons"
                raise LimitError(what, "more", MAX_ALL_VERTICES)
            return _checked(xtype, text)

        sizes = {"point": "2", "circle": "3"}
        arraysize = sizes.get(xtype, "*")
        return self._finish(shape, "double", arraysize, self._each(cells, geometry))

    def _numbers(self, cell: Cell) -> str | None:
        """The elements as text; NULL when there is none, or nothing but NaN."""
        words = str(cell).split()
        numbers = [parse_number(word) for word in words]
        if not numbers or all(map(math.isnan, numbers)):
            return None
        elements, left = divmod(len(numbers), parts_of(self._datatype))
        if left or elements != (self._shape.count or elements):
            raise ValueError
        return " ".join(words)

    def _truths(self, cell: Cell) -> str | None:
        """The elements as T, F and ?; NULL when there is none, or nothing but ?. Bits may be
        written without blanks (VOTable 1.4, section 6)."""
        words = str(cell).split()
        known = [_boolean(word) for word in ("".join(words) if self._datatype == "bit" else words)]
        if all(value is None for value in known):
            return None
        if len(known) != (self._shape.count or len(known)):
            raise ValueError
        return " ".join("?" if value is None else "FT"[value] for value in known)

    def _finish(
        self, kind: Kind, datatype: Datatype, arraysize: str | None, values: Sequence[object]
    ) -> tuple[Field, pa.Array]:
        facts = self._raw.attributes
        field = Field(
            name=self._name,
            column=self._column,
            kind=kind,
            datatype=datatype,
            arraysize=arraysize,
            xtype=facts.get("xtype") or None,
            unit=facts.get("unit") or None,
            ucd=facts.get("ucd") or None,
            utype=facts.get("utype") or None,
            description=self._raw.description,
        )
        array = pa.array(values, arrow_type(field))
        if datatype == "float" and kind == "real":  # what TABLEDATA spells is a float as well
            array = array.cast(pa.float32(), safe=False).cast(pa.float64())
        return field, array


def _boolean(cell: Cell) -> bool | None:
    if isinstance(cell, bool):
        return cell
    word = str(cell).strip().strip("\0").lower()
    if word in ("", "?"):
        return None
    if word not in _TRUTH:
        raise ValueError
    return _TRUTH[word]


def _are_regions(values: Sequence[str | None]) -> bool:
    try:
        for value in values:
            if value is not None:
                parse_region(value)
    except RegionError:
        return False
    return True


def _checked(xtype: str, text: str) -> str:
    """The same numbers if they are such a geometry; RegionError otherwise."""
    numbers = [parse_number(word) for word in text.split()]
    if xtype == "circle":
        circle_from(text, numbers)
    elif xtype == "polygon":
        if len(numbers) > 2 * MAX_VERTICES:
            raise RegionError(text, f"a polygon may have {MAX_VERTICES} vertices at most here")
        simple_polygon_from(text, numbers)
    elif len(numbers) != 2:
        raise RegionError(text, "a point needs two numbers")
    else:
        circle_from(text, [*numbers, 0.0])
    return text
