"""Numbers by which the drivers tell the compiled code what to do."""

from __future__ import annotations

from typing import Final

COLUMN_BYTES: Final = 64
"""Bytes that describe a column (:mod:`app.cells.columns`)."""

NUMBERS: Final = 0
BITS: Final = 1
TEXTS: Final = 2
"""How the values of a column lie in memory."""

XML: Final = 0
CSV: Final = 1
TSV: Final = 2
JSON: Final = 3

SPECIAL: Final = 1
"""Bit of a scan's answer: a byte that the style cannot hold as it is."""
BEYOND_ASCII: Final = 2
"""Bit of a scan's answer: a byte of a character outside ASCII."""

EMPTY: Final = 0
"""A column without any value."""
BOOLEAN: Final = 1
SHORT: Final = 2
INT: Final = 3
LONG: Final = 4
FLOAT: Final = 5
DOUBLE: Final = 6
CHAR: Final = 7
UNICODE: Final = 8
LISTS: Final = 16
"""Added to the code of an element: arrays of it."""
UNKNOWN: Final = -1
"""A boolean in an array that is neither true nor false."""
CODES: Final = {
    "boolean": BOOLEAN,
    "short": SHORT,
    "int": INT,
    "long": LONG,
    "float": FLOAT,
    "double": DOUBLE,
    "floatComplex": FLOAT,
    "doubleComplex": DOUBLE,
    "char": CHAR,
    "unicodeChar": UNICODE,
}
"""VOTable datatype -> code, of complex numbers that of their two parts."""

PLAIN: Final = 0
"""Of a text column: nothing in it needs care."""
REPLACED: Final = 1
"""Characters that cannot be held are written otherwise."""
PRINTABLE: Final = 2
"""The same, and control characters too."""

ANY: Final = -1
"""Of a size: arrays of any number of elements, led by their count."""

PIECE_BYTES: Final = 40
"""Bytes of one constant text: its length as int64, and 32 bytes."""
BEFORE: Final = 0
CELLS: Final = 1
ROWS: Final = 2
AFTER: Final = 3
NULL: Final = 4
NOT_A_NUMBER: Final = 5
INFINITY: Final = 6
MINUS_INFINITY: Final = 7
