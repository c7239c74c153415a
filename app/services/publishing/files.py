"""Opens a file of a table by what it holds, not by what it is called."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Final

from app.services.publishing.parquet_files import open_parquet
from app.services.publishing.source import FileError, Source
from app.services.publishing.text_files import open_csv

_HEAD_BYTES: Final = 4096


def open_table(path: Path) -> Source:
    """VOTable, FITS, Parquet, ECSV or CSV; what is compressed with gzip may be VOTable or FITS.

    Raises FileError saying what is wrong with the file, and where.
    """
    head = _head(path)
    if head.startswith(b"PAR1"):
        return open_parquet(path)
    # A second that Parquet and CSV need not wait for.
    from app.services.publishing.astropy_files import open_ecsv, open_fits, open_votable

    if head.startswith(b"SIMPLE  ="):
        return open_fits(path)
    if head.startswith(b"# %ECSV"):
        return open_ecsv(path)
    text = head.decode("utf-8-sig", "replace").lstrip()
    if text.startswith("<"):
        if not re.search(r"<(\w+:)?VOTABLE\b", text):
            raise FileError(path, "this is XML, but no VOTable")
        return open_votable(path)
    if not head.strip():
        raise FileError(path, "the file is empty")
    if b"\0" in head:
        raise FileError(path, "this is none of VOTable, FITS, Parquet, ECSV and CSV")
    return open_csv(path)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if head.startswith(b"\x1f\x8b"):
            with gzip.open(path) as packed:
                head = packed.read(_HEAD_BYTES)
            if not head.startswith((b"SIMPLE  =", b"<")):
                raise FileError(path, "of gzip files only VOTable and FITS are read; unpack it")
    except OSError as fault:
        raise FileError(path, fault.strerror or "cannot be read") from None
    except EOFError:
        raise FileError(path, "the gzip file ends too early") from None
    return head
