"""Parts of images as they are stored: the bytes of a window, read without the rest of the file.

How a file is laid out is found once, and kept for as long as the file is the same. The values are
those of the file, big-endian and not yet scaled, with the header that says how.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
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
from app.stores.fits_files import format_faults, is_tiled, open_fits

Window = tuple[tuple[int, int], ...]
"""Half-open ranges of pixels along each axis, as numpy orders them."""

Identity = tuple[int, int, int]
"""Of a file: inode, length and time of the last change."""

BAND_BYTES: Final = 1 << 20
"""What is read at a time."""
REMEMBERED: Final = 512
_DTYPES: Final = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_COMPRESSED: Final = (".gz", ".bz2")


@dataclass(frozen=True, slots=True, eq=False)
class StoredUnit:
    """An HDU: its header (of a tile-compressed image that of the image) and the shape of its
    pixels, () without any. ``offset``: where they begin in the file, None where they lie
    compressed.
    """

    path: Path
    hdu: int
    identity: Identity
    header: fits.Header
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int | None
    axes: CubeAxes


class PlaneFiles:
    """Reads HDUs of files. Relative paths lie below ``data_dir``."""

    def __init__(self, *, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._described = lru_cache(maxsize=REMEMBERED)(_describe)

    def find(self, path: str, hdu: int) -> StoredUnit:
        """What is known of an HDU. Raises ImageFormatError."""
        where = self._data_dir / path
        with format_faults(where.name):
            return self._described(where, hdu, identity_of(where.stat()))

    @staticmethod
    def read(unit: StoredUnit, window: Window) -> Iterator[bytes]:
        """The values of a window in the order of the file, about :data:`BAND_BYTES` at a time.

        Raises ImageFormatError, also for a file that is cut short or was replaced meanwhile.
        """
        with format_faults(unit.path.name):
            if unit.offset is None:
                yield from _read_tiles(unit, window)
            else:
                yield from _read_plain(unit, unit.offset, window)


def identity_of(facts: os.stat_result) -> Identity:
    """What tells a file from the one that replaces it."""
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _describe(path: Path, hdu: int, identity: Identity) -> StoredUnit:
    with open_fits(path) as hdulist:
        unit = _unit_of(hdulist, hdu)
        header = unit.header.copy()
        shape = tuple(int(size) for size in unit.shape) if unit.is_image else ()
        offset = None
        if not is_tiled(unit) and not path.name.endswith(_COMPRESSED):
            offset = int(unit.fileinfo()["datLoc"])
    stored = np.dtype(_DTYPES[int(header["BITPIX"])])
    axes = CubeAxes.of(header, shape) if len(shape) > 2 else CubeAxes()
    return StoredUnit(path, hdu, identity, header, shape, stored, offset, axes)


def _unit_of(hdulist: Any, hdu: int) -> Any:
    try:
        return hdulist[hdu]
    except IndexError:
        raise ImageFormatError("", f"truncated: HDU {hdu} is missing") from None


def _read_plain(unit: StoredUnit, offset: int, window: Window) -> Iterator[bytes]:
    descriptor = os.open(unit.path, os.O_RDONLY)
    try:
        _require_same(unit, os.fstat(descriptor))
        for places, length in _runs(unit, offset, window):
            yield b"".join([_read(descriptor, place, length) for place in places])
    finally:
        os.close(descriptor)


def _require_same(unit: StoredUnit, facts: os.stat_result) -> None:
    if identity_of(facts) != unit.identity:
        raise ImageFormatError("", "it was replaced while it was read; ask again")


def _read(descriptor: int, place: int, length: int) -> bytes:
    got = os.pread(descriptor, length, place)
    if len(got) != length:
        raise ImageFormatError("", "truncated: the pixels end early")
    return got


def _runs(unit: StoredUnit, offset: int, window: Window) -> Iterator[tuple[Sequence[int], int]]:
    """Where bytes lie one after the other, and how many: several such runs of one length each time,
    or a piece of one."""
    steps = [unit.dtype.itemsize * prod(unit.shape[axis + 1 :]) for axis in range(len(unit.shape))]
    last = len(window) - 1
    while last > 0 and window[last] == (0, unit.shape[last]):
        last -= 1
    length = steps[last] * (window[last][1] - window[last][0])
    start = offset + steps[last] * window[last][0]
    if last == 0:
        yield from _pieces((start,), length)
        return
    step, at_once = steps[last - 1], max(1, BAND_BYTES // length)
    first, stop = window[last - 1]
    for index in product(*(range(*span) for span in window[: last - 1])):
        base = start + sum(size * place for size, place in zip(steps, index, strict=False))
        for row in range(first, stop, at_once):
            end = min(row + at_once, stop)
            yield from _pieces(range(base + step * row, base + step * end, step), length)


def _pieces(places: Sequence[int], length: int) -> Iterator[tuple[Sequence[int], int]]:
    """Long runs in pieces."""
    if length <= BAND_BYTES:
        yield places, length
        return
    for place in places:
        for done in range(0, length, BAND_BYTES):
            yield (place + done,), min(BAND_BYTES, length - done)


def _read_tiles(unit: StoredUnit, window: Window) -> Iterator[bytes]:
    """From tiles or a file that is compressed as a whole."""
    _require_same(unit, unit.path.stat())
    inner = unit.dtype.itemsize * prod(stop - start for start, stop in window[1:])
    with fits.open(
        unit.path, memmap=False, lazy_load_hdus=True, do_not_scale_image_data=True
    ) as found:
        section = found[unit.hdu].section
        for start, stop in _bands(found[unit.hdu], window[0], inner):
            part = section[(slice(start, stop), *(slice(*span) for span in window[1:]))]
            yield np.ascontiguousarray(part, dtype=unit.dtype).tobytes()


def _bands(hdu: Any, span: tuple[int, int], inner: int) -> Iterator[tuple[int, int]]:
    """Parts of a span of the first axis that hold whole tiles: none is decompressed twice."""
    tile = hdu.tile_shape[0] if is_tiled(hdu) else 1
    step = tile * max(1, BAND_BYTES // max(1, tile * inner))
    start, stop = span
    while start < stop:
        end = min(stop, (start // tile) * tile + step)
        yield start, end
        start = end
