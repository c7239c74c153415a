"""Parts of images as they are stored: the bytes of a window, read without the rest of the file.

How a file is laid out is found once, and kept for as long as the file is the same. The values are
those of the file, big-endian and not yet scaled, with the header that says how.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from astropy.io import fits

from app.errors import ImageFormatError
from app.pixels.cube_axes import CubeAxes
from app.stores.fits_files import PACKED_SUFFIXES, format_faults, is_tiled, require_readable_tiles
from app.stores.image_files import Identity, ImageFiles, OpenFile
from app.stores.remote.addresses import name_of
from app.stores.remote.files import RemoteFiles
from app.stores.rice_tiles import RiceTiles
from app.stores.row_reader import FEW, read_rows
from app.stores.tile_files import TileTable

Window = tuple[tuple[int, int], ...]
"""Half-open ranges of pixels along each axis, as numpy orders them."""

BAND_BYTES: Final = 1 << 20
"""What is read at a time."""
AHEAD_BYTES: Final = 8 * BAND_BYTES
"""What is asked for at a time of files that lie elsewhere."""
TILES_BYTES: Final = 1 << 16
"""And of codes of tiles, which are short and lie one after the other."""
REMEMBERED: Final = 512
_DTYPES: Final = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


@dataclass(frozen=True, slots=True, eq=False)
class StoredUnit:
    """An HDU: its header (of a tile-compressed image that of the image) and the shape of its
    pixels, () without any. ``offset``: where they begin in the file; ``tiles``: where they lie
    compressed. A file that is compressed as a whole tells neither.
    """

    path: str
    hdu: int
    identity: Identity
    header: fits.Header
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int | None
    tiles: TileTable | None
    axes: CubeAxes

    @property
    def name(self) -> str:
        """Of its file."""
        return name_of(self.path)


class PlaneFiles:
    """Reads HDUs of files. Relative paths lie below ``data_dir``, addresses at ``remote``."""

    def __init__(self, *, data_dir: Path, remote: RemoteFiles | None = None) -> None:
        self._files = ImageFiles(data_dir, remote)
        self._described = lru_cache(maxsize=REMEMBERED)(self._describe)

    def find(self, path: str, hdu: int) -> StoredUnit:
        """What is known of an HDU. Raises ImageFormatError, RemoteUnavailableError."""
        with format_faults(name_of(path)):
            return self._described(path, hdu, self._files.identity(path))

    def read(self, unit: StoredUnit, window: Window) -> Iterator[bytes]:
        """The values of a window in the order of the file, about :data:`BAND_BYTES` at a time.

        Raises ImageFormatError, also for a file that is cut short or was replaced meanwhile, and
        RemoteUnavailableError.
        """
        with format_faults(unit.name):
            if unit.offset is not None:
                yield from self._read_plain(unit, unit.offset, window)
            elif unit.tiles is not None:
                yield from self._read_tiles(unit, unit.tiles, window)
            else:
                yield from self._read_squeezed(unit, window)

    def open_fits(self, unit: StoredUnit) -> AbstractContextManager[Any]:
        """The file of an HDU, for what its planes do not hold."""
        return self._files.open_fits(unit.path)

    def _describe(self, path: str, hdu: int, identity: Identity) -> StoredUnit:
        with self._files.open_fits(path) as hdulist:
            unit = _unit_of(hdulist, hdu)
            header = unit.header.copy()
            shape = tuple(int(size) for size in unit.shape) if unit.is_image else ()
            tiled, squeezed = is_tiled(unit), path.endswith(PACKED_SUFFIXES)
            if tiled:
                require_readable_tiles(unit)
            offset = None if tiled or squeezed else int(unit.fileinfo()["datLoc"])
        stored = np.dtype(_DTYPES[int(header["BITPIX"])])
        axes = CubeAxes.of(header, shape) if len(shape) > 2 else CubeAxes()
        tiles = self._tile_table(path, hdu) if tiled and not squeezed else None
        return StoredUnit(path, hdu, identity, header, shape, stored, offset, tiles, axes)

    def _tile_table(self, path: str, hdu: int) -> TileTable:
        with self._files.open_fits(path, disable_image_compression=True) as found:
            return TileTable.of(found[hdu])

    @contextmanager
    def _opened(self, unit: StoredUnit) -> Iterator[OpenFile]:
        """Its file, if that is still the same."""
        with self._files.open(unit.path) as opened:
            _require_same(unit, opened.identity)
            yield opened

    def _read_plain(self, unit: StoredUnit, offset: int, window: Window) -> Iterator[bytes]:
        with self._opened(unit) as opened:
            for runs in _at_once(_runs(unit, offset, window)):
                opened.need((at, at + length) for places, length in runs for at in places)
                for places, length in runs:
                    if len(places) > FEW:
                        yield _read_many(opened.descriptor, places, length)
                    else:
                        some = [_read(opened.descriptor, place, length) for place in places]
                        yield b"".join(some)

    def _read_tiles(self, unit: StoredUnit, tiles: TileTable, window: Window) -> Iterator[bytes]:
        reader = RiceTiles(tiles) if RiceTiles.suits(tiles) else tiles
        with self._opened(unit) as opened:

            def read(place: int, length: int) -> bytes:
                opened.need([(place, place + max(length, TILES_BYTES))])
                return _read(opened.descriptor, place, length)

            for part in _bands(unit, window, tiles.tile[0]):
                values = reader.read(part, read)
                yield np.ascontiguousarray(values, dtype=unit.dtype).tobytes()

    def _read_squeezed(self, unit: StoredUnit, window: Window) -> Iterator[bytes]:
        """From a file that is compressed as a whole: all before the window is decompressed too."""
        _require_same(unit, self._files.identity(unit.path))
        with self._files.open_fits(unit.path, do_not_scale_image_data=True) as found:
            for part in _bands(unit, window, 1):
                values = found[unit.hdu].section[tuple(slice(*span) for span in part)]
                yield np.ascontiguousarray(values, dtype=unit.dtype).tobytes()


def _unit_of(hdulist: Any, hdu: int) -> Any:
    try:
        return hdulist[hdu]
    except IndexError:
        raise ImageFormatError("", f"truncated: HDU {hdu} is missing") from None


def _require_same(unit: StoredUnit, identity: Identity) -> None:
    if identity != unit.identity:
        raise ImageFormatError("", "it was replaced while it was read; ask again")


def _read_many(descriptor: int, places: range, length: int) -> bytes:
    rows = np.empty((len(places), length), dtype=np.uint8)
    if read_rows(descriptor, places.start, places.step, rows) != len(places):
        raise ImageFormatError("", "truncated: the pixels end early")
    return rows.tobytes()


def _read(descriptor: int, place: int, length: int) -> bytes:
    got = os.pread(descriptor, length, place)
    if len(got) != length:
        raise ImageFormatError("", "truncated: the pixels end early")
    return got


def _runs(unit: StoredUnit, offset: int, window: Window) -> Iterator[tuple[range, int]]:
    """Where bytes lie one after the other, and how many: several such runs of one length each time,
    or a piece of one."""
    steps = [unit.dtype.itemsize * prod(unit.shape[axis + 1 :]) for axis in range(len(unit.shape))]
    last = len(window) - 1
    while last > 0 and window[last] == (0, unit.shape[last]):
        last -= 1
    length = steps[last] * (window[last][1] - window[last][0])
    start = offset + steps[last] * window[last][0]
    if last == 0:
        yield from _pieces(range(start, start + 1), length)
        return
    step, at_once = steps[last - 1], max(1, BAND_BYTES // length)
    first, stop = window[last - 1]
    for index in product(*(range(*span) for span in window[: last - 1])):
        base = start + sum(size * place for size, place in zip(steps, index, strict=False))
        for row in range(first, stop, at_once):
            end = min(row + at_once, stop)
            yield from _pieces(range(base + step * row, base + step * end, step), length)


def _at_once(runs: Iterator[tuple[range, int]]) -> Iterator[list[tuple[range, int]]]:
    """Runs of about :data:`AHEAD_BYTES` together."""
    some: list[tuple[range, int]] = []
    left = AHEAD_BYTES
    for places, length in runs:
        some.append((places, length))
        left -= len(places) * length
        if left <= 0:
            yield some
            some, left = [], AHEAD_BYTES
    if some:
        yield some


def _pieces(places: range, length: int) -> Iterator[tuple[range, int]]:
    """Long runs in pieces."""
    if length <= BAND_BYTES:
        yield places, length
        return
    for place in places:
        for done in range(0, length, BAND_BYTES):
            start = place + done
            yield range(start, start + 1), min(BAND_BYTES, length - done)


def _bands(unit: StoredUnit, window: Window, tile: int) -> Iterator[Window]:
    """Parts of a window along the first axis, of whole tiles: none is decompressed twice."""
    inner = unit.dtype.itemsize * prod(unit.shape[1:])
    step = tile * max(1, 4 * BAND_BYTES // max(1, tile * inner))
    start, stop = window[0]
    while start < stop:
        end = min(stop, (start // tile) * tile + step)
        yield (start, end), *window[1:]
        start = end
