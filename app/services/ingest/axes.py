"""Headers are looked at before astropy counts axes: for each axis that NAXIS tells it takes a step
and a place in memory, whether there are cards of that axis or not."""

from __future__ import annotations

import bz2
import gzip
import re
import zlib
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Final

from app.errors import ImageFormatError

MOST_AXES: Final = 999
"""FITS 4.0, section 4.4.1.1."""
_READ_BYTES: Final = 1 << 20
_COUNT: Final = re.compile(rb"NAXIS *= +([+-]?\d+)")
_LONGEST: Final = 80


def require_few_axes(path: Path) -> None:
    """Refuse a file that has a card of more than :data:`MOST_AXES` axes, wherever it stands: what
    astropy takes for a header is not known before. Raises ImageFormatError; where
    the file cannot be read any further is for whoever opens it to tell."""
    with suppress(EOFError, OSError, zlib.error), _open(path) as file:
        kept = b""
        while piece := file.read(_READ_BYTES):
            for found in _COUNT.finditer(kept + piece):
                told = found[1].lstrip(b"+-0")
                if len(told) > len(str(MOST_AXES)):
                    raise ImageFormatError("", f"a header tells of more than {MOST_AXES} axes")
            kept = piece[-_LONGEST:]


def _open(path: Path) -> AbstractContextManager[Any]:
    with path.open("rb") as file:
        start = file.read(3)
    if start.startswith(b"\x1f\x8b"):
        return gzip.open(path, "rb")
    return bz2.open(path, "rb") if start == b"BZh" else path.open("rb")
