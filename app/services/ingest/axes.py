"""Headers are looked at before astropy counts axes and columns: for each that a card tells it takes
a step, and a place in memory, whether there are more cards of it or not."""

from __future__ import annotations

import bz2
import gzip
import re
import zlib
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Final

from app.errors import ImageFormatError

MOST: Final = 999
"""FITS 4.0, sections 4.4.1.1 and 7.3.1."""
_READ_BYTES: Final = 1 << 20
_COUNTS: Final = (
    ("axes", re.compile(rb"NAXIS *= +([+-]?\d+)")),
    ("columns", re.compile(rb"TFIELDS *= +([+-]?\d+)")),
)
"""Each beginning with fixed letters, which are found faster than any that may vary."""
_LONGEST: Final = 80


def require_few_axes(path: Path) -> None:
    """Refuse a file that has a card of more than :data:`MOST` axes or columns, wherever it stands:
    what astropy takes for a header is not known before. Raises ImageFormatError; where
    the file cannot be read any further is for whoever opens it to tell."""
    with suppress(EOFError, OSError, zlib.error), _open(path) as file:
        kept = b""
        while piece := file.read(_READ_BYTES):
            for name, count in _COUNTS:
                for found in count.finditer(kept + piece):
                    if len(found[1].lstrip(b"+-0")) > len(str(MOST)):
                        raise ImageFormatError("", f"a header tells of more than {MOST} {name}")
            kept = piece[-_LONGEST:]


def _open(path: Path) -> AbstractContextManager[Any]:
    with path.open("rb") as file:
        start = file.read(3)
    if start.startswith(b"\x1f\x8b"):
        return gzip.open(path, "rb")
    return bz2.open(path, "rb") if start == b"BZh" else path.open("rb")
