"""The checksums that FITS files carry: DATASUM and CHECKSUM (FITS 4.0, section 4.4.2.7)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from astropy.io import fits

from app.stores.fits_files import FITS_BLOCK, format_faults

_WORD: Final = (1 << 32) - 1
_PIECE: Final = 256 * FITS_BLOCK
"""Bytes that are read at a time: a multiple of the words that are added."""


def wrong_checksums(path: Path) -> list[str]:
    """The HDUs whose cards do not agree with their bytes, as ``HDU 1 (DATASUM)``; HDUs without
    such cards are passed over. Compressed images are judged by the bytes of their tables.

    Raises ImageFormatError for a file that is no FITS, or that ends early.
    """
    with (
        format_faults(path.name),
        fits.open(path, memmap=False, lazy_load_hdus=True, disable_image_compression=True) as units,
    ):
        return [
            f"HDU {number} ({', '.join(cards)})"
            for number, unit in enumerate(units)
            if (cards := _wrong_cards(unit))
        ]


def _wrong_cards(unit: Any) -> list[str]:
    """Which of the two cards of an HDU do not hold."""
    told, info = unit.header, unit.fileinfo()
    if info is None or not ("DATASUM" in told or "CHECKSUM" in told):
        return []
    file, start, data = info["file"], info["hdrLoc"], info["datLoc"]
    data_sum = _sum(_pieces(file, data, info["datSpan"]))
    wrong = []
    if "DATASUM" in told and _number(told["DATASUM"]) != data_sum:
        wrong.append("DATASUM")
    if "CHECKSUM" in told:
        whole = _folded(_sum(_pieces(file, start, data - start)) + data_sum)
        if whole not in (0, _WORD):
            wrong.append("CHECKSUM")
    return wrong


def _number(text: object) -> int | None:
    try:
        return int(str(text).strip())
    except ValueError:
        return None


def _pieces(file: Any, start: int, length: int) -> Iterator[bytes]:
    """The bytes of a part of a file. Raises EOFError where it ends early."""
    file.seek(start)
    while length > 0:
        piece = file.read(min(_PIECE, length))
        if not piece:
            raise EOFError
        length -= len(piece)
        yield bytes(piece)


def _sum(pieces: Iterator[bytes]) -> int:
    """The ones' complement sum of 32-bit words."""
    total = 0
    for piece in pieces:
        words = np.frombuffer(piece.ljust(-(-len(piece) // 4) * 4, b"\0"), dtype=">u4")
        total += int(words.sum(dtype=np.uint64))
    return _folded(total)


def _folded(total: int) -> int:
    while total > _WORD:
        total = (total & _WORD) + (total >> 32)
    return total
