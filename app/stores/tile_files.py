"""Parts of tile-compressed images (FITS 4.0, section 10): the tiles of a window, and no others.

Their rows of the table and their bytes of the heap are put into a small file in memory, an image of
just those tiles, which astropy decompresses. Where real numbers are dithered, the number of a tile
in its table seeds the dither, so that only tiles of neighbouring rows may share such a file, and
its seed is moved on.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, Final

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from app.stores.fits_files import FITS_BLOCK

Ranges = tuple[tuple[int, int], ...]
"""Half-open, along each axis as numpy orders them: of pixels, or of tiles."""
ReadBytes = Callable[[int, int], bytes]
"""The bytes of a file from a place on (place, length)."""

_KEPT: Final = re.compile(
    r"^(XTENSION|BITPIX|NAXIS[12]?|PCOUNT|GCOUNT|TFIELDS|TTYPE\d+|TFORM\d+|BLANK"
    r"|Z(IMAGE|CMPTYPE|BITPIX|NAXIS\d*|TILE\d+|NAME\d+|VAL\d+|QUANTIZ|DITHER0|BLANK))$"
)
_DESCRIPTOR: Final = re.compile(r"^\d*([PQ])([A-Z])")
_ELEMENT_BYTES: Final = {"B": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8}
_PRIMARY: Final = fits.PrimaryHDU().header.tostring().encode()


@dataclass(frozen=True, slots=True, eq=False)
class TileTable:
    """A compressed image of ``shape`` in tiles of ``tile``: its table begins at ``rows_at`` of the
    file and its heap at ``heap_at``. ``heaps``: column -> bytes of an element in the heap."""

    header: fits.Header
    cards: Mapping[str, bytes]
    shape: tuple[int, ...]
    tile: tuple[int, ...]
    row: np.dtype[Any]
    heaps: tuple[tuple[str, int], ...]
    rows_at: int
    heap_at: int

    @classmethod
    def of(cls, table: Any) -> TileTable:
        """That of an HDU which was opened as a table."""
        header = fits.Header([card for card in table.header.cards if _KEPT.match(card.keyword)])
        axes = range(header["ZNAXIS"], 0, -1)
        shape = tuple(int(header[f"ZNAXIS{axis}"]) for axis in axes)
        tile = tuple(int(header.get(f"ZTILE{a}", shape[-1] if a == 1 else 1)) for a in axes)
        heaps = tuple(
            (column.name, _ELEMENT_BYTES[found[2]])
            for column in table.columns
            if (found := _DESCRIPTOR.match(column.format))
        )
        rows_at = int(table.fileinfo()["datLoc"])
        length = int(header["NAXIS1"]) * int(header["NAXIS2"])
        return cls(
            header,
            {card.keyword: card.image.encode("latin-1") for card in header.cards},
            shape,
            tile,
            table.columns.dtype.newbyteorder(">"),
            heaps,
            rows_at,
            rows_at + int(table.header.get("THEAP", length)),
        )

    def read(self, window: Ranges, read: ReadBytes) -> NDArray[Any]:
        """The stored values of a window."""
        tiles = self.tiles_of(window)
        covered = self.pixels(tiles)
        values = np.empty([stop - start for start, stop in covered], dtype=self.dtype)
        for part in self._parts(tiles):
            place = tuple(
                slice(start - zero, stop - zero)
                for (start, stop), (zero, _) in zip(self.pixels(part), covered, strict=True)
            )
            values[place] = self._decompress(part, read)
        return values[
            tuple(
                slice(start - zero, stop - zero)
                for (start, stop), (zero, _) in zip(window, covered, strict=True)
            )
        ]

    def tiles_of(self, window: Ranges) -> Ranges:
        """The tiles that have pixels of a window."""
        return tuple(
            (start // size, -(-stop // size))
            for (start, stop), size in zip(window, self.tile, strict=True)
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the image's stored values."""
        bitpix = int(self.header["ZBITPIX"])
        return np.dtype(f"{'f' if bitpix < 0 else 'u' if bitpix == 8 else 'i'}{abs(bitpix) // 8}")

    def pixels(self, tiles: Ranges) -> Ranges:
        """What tiles cover."""
        return tuple(
            (first * size, min(last * size, whole))
            for (first, last), size, whole in zip(tiles, self.tile, self.shape, strict=True)
        )

    def _parts(self, tiles: Ranges) -> Iterator[Ranges]:
        """Tiles that may be decompressed together."""
        if not str(self.header.get("ZQUANTIZ", "")).startswith("SUBTRACTIVE"):
            yield tiles
            return
        axis = len(tiles) - 1
        while axis > 0 and tiles[axis] == (0, self._count(axis)):
            axis -= 1
        for index in product(*(range(*span) for span in tiles[:axis])):
            yield (*((each, each + 1) for each in index), *tiles[axis:])

    def _count(self, axis: int) -> int:
        return -(-self.shape[axis] // self.tile[axis])

    def _decompress(self, tiles: Ranges, read: ReadBytes) -> NDArray[Any]:
        numbers = self.numbers(tiles)
        rows = self.rows(numbers, read)
        heap: list[bytes] = []
        filled = 0
        for name, size in self.heaps:
            column = rows[name]
            for place in np.flatnonzero(column[:, 0]).tolist():
                length, start = (int(value) for value in column[place])
                heap.append(read(self.heap_at + start, length * size))
                column[place, 1] = filled
                filled += length * size
        header = self._small_header(tiles, int(numbers[0]), filled)
        table = rows.tobytes() + b"".join(heap)
        content = _PRIMARY + header + table + bytes(-len(table) % FITS_BLOCK)
        with fits.open(io.BytesIO(content), do_not_scale_image_data=True) as found:
            return np.asarray(found[1].data)

    def numbers(self, tiles: Ranges) -> NDArray[np.int64]:
        """Rows of the table, from 0, of tiles."""
        counts = [self._count(axis) for axis in range(len(tiles))]
        steps = [prod(counts[axis + 1 :]) for axis in range(len(tiles))]
        mesh = np.meshgrid(*(np.arange(*span) for span in tiles), indexing="ij")
        each = [axis * step for axis, step in zip(mesh, steps, strict=True)]
        return np.asarray(sum(each), dtype=np.int64).ravel()

    def rows(self, numbers: NDArray[np.int64], read: ReadBytes) -> NDArray[Any]:
        """Those rows of the table."""
        breaks, size = np.flatnonzero(np.diff(numbers) != 1) + 1, self.row.itemsize
        runs = np.split(numbers, breaks)
        text = [read(self.rows_at + size * int(run[0]), size * len(run)) for run in runs]
        return np.frombuffer(bytearray(b"".join(text)), self.row)

    def _small_header(self, tiles: Ranges, first: int, heap_bytes: int) -> bytes:
        """Of the table of some tiles, whose heap follows it at once."""
        told = {"NAXIS2": prod(last - start for start, last in tiles), "PCOUNT": heap_bytes}
        for axis, (start, stop) in enumerate(reversed(self.pixels(tiles)), start=1):
            told[f"ZNAXIS{axis}"] = stop - start
        if "ZDITHER0" in self.cards:
            told["ZDITHER0"] = int(self.header["ZDITHER0"]) + first
        written = {key: f"{key:<8}= {value:>20}".ljust(80).encode() for key, value in told.items()}
        text = b"".join({**self.cards, **written}.values()) + b"END".ljust(80)
        return text.ljust(-(-len(text) // FITS_BLOCK) * FITS_BLOCK)
