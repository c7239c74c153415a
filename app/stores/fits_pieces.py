"""HDUs as pieces of FITS bytes, for files that are written without being held whole.

A plane is brought to FITS's byte order a little at a time, where astropy holds a copy of it and one
of the whole file. Everything smaller is left to astropy.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from app.stores.fits_files import FITS_BLOCK

Piece = bytes | memoryview
PIECE_BYTES: Final = 1 << 20
WHEN: Final = "as written"
"""astropy's own comment of a checksum would hold the present time."""
_BLANK: Final = "0" * 16
_CARD: Final = 80
_WORD: Final = (1 << 32) - 1
_ZERO: Final = ord("0")
_PUNCTUATION: Final = frozenset(b":;<=>?@[\\]^_`")


def table_pieces(unit: Any) -> Iterator[Piece]:
    """An extension that astropy writes, with its checksums."""
    unit.add_checksum(when=WHEN)
    primary, buffer = fits.PrimaryHDU(), io.BytesIO()
    fits.HDUList([primary, unit]).writeto(buffer, checksum=False)
    yield buffer.getbuffer()[len(primary.header.tostring()) :]


def header_pieces(unit: Any) -> Iterator[Piece]:
    """An HDU without data, with its checksums."""
    unit.add_checksum(when=WHEN)
    yield unit.header.tostring().encode("ascii")


def plane_pieces(name: str, plane: NDArray[Any], header: fits.Header) -> Iterator[Piece]:
    """An image extension of a plane (ny, nx) of numbers of 2 or 4 bytes, with its checksums."""
    told = fits.ImageHDU(plane, header=header, name=name).header
    total = data_sum(plane)
    told["CHECKSUM"] = (_BLANK, WHEN)
    told["DATASUM"] = (str(total), WHEN)
    words = np.frombuffer(told.tostring().encode("ascii"), dtype=">u4")
    told["CHECKSUM"] = encode_checksum(_WORD - _fold(total + int(words.sum(dtype=np.uint64))))
    yield told.tostring().encode("ascii")
    for rows in _bands(plane):
        yield rows.astype(plane.dtype.newbyteorder(">"), order="C").reshape(-1).view(np.uint8).data
    yield bytes(-plane.nbytes % FITS_BLOCK)


def plane_of_cards(name: str, plane: NDArray[Any], cards: bytes) -> Iterator[Piece]:
    """The same of float32 or int32, its further ``cards`` as they stand in a file: for many planes
    with cards in common, which astropy would read and write again for each."""
    ny, nx = plane.shape
    total = data_sum(plane)
    lead = (
        _card("XTENSION", "'IMAGE   '"),
        _card("BITPIX", -32 if plane.dtype.kind == "f" else 32),
        *(_card(key, value) for key, value in (("NAXIS", 2), ("NAXIS1", nx), ("NAXIS2", ny))),
        *(_card(key, value) for key, value in (("PCOUNT", 0), ("GCOUNT", 1))),
        _card("EXTNAME", f"'{name:<8}'"),
        cards,
        _card("DATASUM", f"'{total:<8}'"),
    )
    text = b"".join((*lead, _card("CHECKSUM", f"'{_BLANK}'"), b"END".ljust(_CARD)))
    text = text.ljust(-(-len(text) // FITS_BLOCK) * FITS_BLOCK)
    words = np.frombuffer(text, dtype=">u4")
    checksum = encode_checksum(_WORD - _fold(total + int(words.sum(dtype=np.uint64))))
    blank = _card("CHECKSUM", f"'{_BLANK}'")
    yield text.replace(blank, _card("CHECKSUM", f"'{checksum}'"))
    for rows in _bands(plane):
        yield rows.astype(plane.dtype.newbyteorder(">"), order="C").reshape(-1).view(np.uint8).data
    yield bytes(-plane.nbytes % FITS_BLOCK)


def _card(keyword: str, value: int | str) -> bytes:
    """Texts begin in column 11, numbers end in column 30 (FITS 4.0, section 4.2)."""
    placed = f"{value:<20}" if isinstance(value, str) else f"{value:>20}"
    return f"{keyword:<8}= {placed}".ljust(_CARD).encode("ascii")


def data_sum(plane: NDArray[Any]) -> int:
    """DATASUM of a plane (ny, nx): the ones' complement sum of its 32-bit words as they are in a
    file (FITS 4.0, section 4.4.2.7)."""
    if plane.dtype.itemsize == 4:
        return _fold(sum(_sum(rows.view(np.uint32)) for rows in _whole(plane)))
    halves = np.concatenate([rows.view(np.uint16).reshape(-1) for rows in _whole(plane)])
    return _fold((_sum(halves[::2]) << 16) + _sum(halves[1::2]))


def encode_checksum(value: int) -> str:
    """The sixteen characters whose 32-bit words add up to ``value`` and four zeros (FITS 4.0,
    appendix J.2)."""
    columns = [_encode_byte(byte) for byte in value.to_bytes(4, "big")]
    text = bytes(column[row] for row in range(4) for column in columns)
    return (text[-1:] + text[:-1]).decode("ascii")


def _encode_byte(byte: int) -> list[int]:
    """Four letters or digits that add up to a byte and four times the digit zero."""
    quarter, rest = divmod(byte, 4)
    four = [quarter + rest + _ZERO, *([quarter + _ZERO] * 3)]
    for first in (0, 2):
        while not _PUNCTUATION.isdisjoint(four[first : first + 2]):
            four[first] += 1
            four[first + 1] -= 1
    return four


def _fold(total: int) -> int:
    """A sum in 32-bit ones' complement: what runs over is added below."""
    while total > _WORD:
        total = (total & _WORD) + (total >> 32)
    return total


def _sum(words: NDArray[Any]) -> int:
    return int(words.sum(dtype=np.uint64))


def _whole(plane: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (np.ascontiguousarray(rows) for rows in _bands(plane))


def _bands(plane: NDArray[Any]) -> Iterator[NDArray[Any]]:
    rows = max(1, PIECE_BYTES // max(1, plane.dtype.itemsize * plane.shape[1]))
    return (plane[start : start + rows] for start in range(0, plane.shape[0], rows))
