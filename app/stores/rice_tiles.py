"""The usual kind of tile-compressed images, read without astropy: Rice codes, of real numbers with
or without dither; a tile whose numbers cannot be made whole is kept as they are, in gzip.

astropy spends a tenth of a millisecond on each tile, and a window of an image in tiles of one row
has hundreds.
"""

from __future__ import annotations

import gzip
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.errors import ImageFormatError
from app.stores.tile_codes import SPLIT_BITS, decode_rice, random_numbers, restore
from app.stores.tile_files import Ranges, ReadBytes, TileTable

_DITHERS: Final = {"": 0, "NO_DITHER": 0, "SUBTRACTIVE_DITHER_1": 1, "SUBTRACTIVE_DITHER_2": 2}
_COLUMNS: Final = frozenset(
    ("COMPRESSED_DATA", "GZIP_COMPRESSED_DATA", "ZSCALE", "ZZERO", "ZBLANK")
)


SPARSE: Final = 2
"""Codes of tiles are read together if no more than so many times their bytes lie between."""


class RiceTiles:
    """Reads windows of a compressed image for which :meth:`suits` is true."""

    def __init__(self, table: TileTable) -> None:
        header = table.header
        settings = {
            header[f"ZNAME{n}"]: int(header[f"ZVAL{n}"])
            for n in range(1, 10)
            if f"ZNAME{n}" in header
        }
        self._table = table
        self._size = settings.get("BYTEPIX", 4)
        self._block = settings.get("BLOCKSIZE", 32)
        self._dither = _DITHERS.get(str(header.get("ZQUANTIZ", "")).strip(), 0)
        self._seed = int(header.get("ZDITHER0", 1)) - 1
        self._blank = header.get("ZBLANK", header.get("BLANK"))
        self._bytes = dict(table.heaps)

    @staticmethod
    def suits(table: TileTable) -> bool:
        """Whether the image is of this kind."""
        return (
            str(table.header.get("ZCMPTYPE", "")).strip() in {"RICE_1", "RICE_ONE"}
            and str(table.header.get("ZQUANTIZ", "")).strip() in _DITHERS
            and set(table.row.names or ()) <= _COLUMNS
        )

    def read(self, window: Ranges, read: ReadBytes) -> NDArray[Any]:
        """The stored values of a window."""
        table = self._table
        tiles = table.tiles_of(window)
        numbers = table.numbers(tiles)
        rows = table.rows(numbers, read)
        read = self._at_once(rows, read)
        values = np.empty([stop - start for start, stop in window], dtype=table.dtype)
        for order, index in enumerate(np.ndindex(*(last - first for first, last in tiles))):
            covered = table.pixels(
                tuple((a + n, a + n + 1) for (a, _), n in zip(tiles, index, strict=True))
            )
            both = tuple(
                (max(a, c), min(b, d)) for (a, b), (c, d) in zip(window, covered, strict=True)
            )
            found = self._tile(rows[order], int(numbers[order]), covered, both[-1][1], read)
            values[_within(both, window)] = found[_within(both, covered)]
        return values

    def _at_once(self, rows: NDArray[Any], read: ReadBytes) -> ReadBytes:
        """A reader of the codes of some rows that has read them all, where they lie together."""
        parts = np.concatenate([rows[name].astype(np.int64) for name in self._bytes])
        sizes = np.repeat(list(self._bytes.values()), len(rows))
        used = parts[:, 0] > 0
        starts, lengths = parts[used, 1], parts[used, 0] * sizes[used]
        if not used.any():
            return read
        span = int((starts + lengths).max() - starts.min())
        if span > SPARSE * int(lengths.sum()):
            return read
        first = self._table.heap_at + int(starts.min())
        content = read(first, span)
        return lambda place, length: content[place - first : place - first + length]

    def _tile(
        self, row: Any, number: int, covered: Ranges, stop: int, read: ReadBytes
    ) -> NDArray[Any]:
        """The pixels of a tile; of one that is a single row, those before ``stop``."""
        shape = [b - a for a, b in covered]
        if prod(shape[:-1]) == 1:
            shape[-1] = stop - covered[-1][0]
        length, start = (int(each) for each in row["COMPRESSED_DATA"])
        if length == 0:
            return self._unquantized(row, read)[: prod(shape)].reshape(shape)
        code = np.frombuffer(
            read(self._table.heap_at + start, length * self._bytes["COMPRESSED_DATA"]), np.uint8
        )
        whole = np.empty(prod(shape), dtype=np.int64)
        if not decode_rice(code, self._size, SPLIT_BITS[self._size], self._block, whole):
            raise ImageFormatError("", "damaged: the code of a tile ends early")
        return self._restored(row, number, whole).reshape(shape)

    def _restored(self, row: Any, number: int, whole: NDArray[np.int64]) -> NDArray[Any]:
        names = self._table.row.names or ()
        if "ZSCALE" not in names:
            return whole
        whole = whole.astype(np.int32).astype(np.int64)
        values = np.empty(len(whole))
        tile, numbers = number + self._seed, random_numbers()
        scale, zero = float(row["ZSCALE"]), float(row["ZZERO"])
        restore(whole, scale, zero, tile, self._dither, numbers, values)
        blank = row["ZBLANK"] if "ZBLANK" in names else self._blank
        if blank is not None:
            values[whole == int(blank)] = np.nan
        return values

    def _unquantized(self, row: Any, read: ReadBytes) -> NDArray[Any]:
        names = self._table.row.names or ()
        length, start = (
            (int(each) for each in row["GZIP_COMPRESSED_DATA"])
            if "GZIP_COMPRESSED_DATA" in names
            else (0, 0)
        )
        if length == 0:
            raise ImageFormatError("", "damaged: a tile without numbers")
        size = self._bytes["GZIP_COMPRESSED_DATA"]
        content = gzip.decompress(read(self._table.heap_at + start, length * size))
        return np.frombuffer(content, self._table.dtype.newbyteorder(">"))


def _within(part: Ranges, whole: Ranges) -> tuple[slice, ...]:
    """A part of what covers ``whole``, as indices into it."""
    return tuple(slice(a - zero, b - zero) for (a, b), (zero, _) in zip(part, whole, strict=True))
