"""Exposures on a target grid, kept on disk while a stack is made of them and for the next one."""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from app.pixels.coverage import Coverage
from app.pixels.image import MaskedImage, bits
from app.pixels.mask_runs import MaskRuns
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.warp import Window
from app.pixels.warped import Bounds
from app.stores.cache_files import lock_shared, trim_folder, write_unflushed
from app.stores.psf_files import psf_from_bytes, psf_to_bytes

_SUFFIX: Final = ".warp"
_HEADER_BYTES: Final = 1 << 15
"""Room for a region of a thousand vertices."""
_PIECE_WORDS: Final = 1 << 17


@dataclass(frozen=True, slots=True, kw_only=True)
class WarpFacts:
    """What is known of a stored warp beside its pixels.

    ``weight`` is 1 / clipped mean of the variance, ``sky`` and ``scale`` are what was taken off
    and what flux was then multiplied by, ``position_error_px`` the largest error of the positions,
    ``psf_bytes`` the length of what tells the PSF (0: it is unknown), ``mask_runs`` the number of
    runs of the mask.
    """

    shape: tuple[int, int]
    bounds: Bounds
    weight: float
    sky: float
    scale: float
    position_error_px: float
    fwhm_px: float | None
    zero_point_mag: float | None
    coverage: Coverage
    psf_bytes: int
    mask_runs: int


class StoredWarp:
    """A :class:`app.pixels.warped.Warped` whose bands are read when they are asked for.

    Reads, not memory maps: mapped pages would count as this process's memory. While it is open
    its file is not trimmed away, and stays readable whoever else deletes it.
    """

    def __init__(self, descriptor: int, facts: WarpFacts) -> None:
        self._descriptor = descriptor
        self.facts = facts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the target."""
        return self.facts.shape

    @property
    def bounds(self) -> Bounds:
        """The window that is stored."""
        return self.facts.bounds

    @property
    def fwhm_px(self) -> float | None:
        """FWHM of the PSF in target pixels."""
        return self.facts.fwhm_px

    @property
    def zero_point_mag(self) -> float | None:
        """AB magnitude of flux 1."""
        return self.facts.zero_point_mag

    @property
    def weight(self) -> float:
        """1 / clipped mean of the variance."""
        return self.facts.weight

    def psf(self) -> CoaddPsf | None:
        """The PSF on the target's pixels, None when it is unknown."""
        if not self.facts.psf_bytes:
            return None
        offset = _HEADER_BYTES + 8 * _pixels(self.facts.bounds)
        return psf_from_bytes(self._words(offset, self.facts.psf_bytes // 4).tobytes())

    def mask_runs(self, start: int, stop: int) -> MaskRuns:
        """Those of the rows ``start <= y < stop`` of the target, which lie within the bounds."""
        y_start, y_stop, _, _ = self.facts.bounds
        rows = y_stop - y_start + 1
        offset = _HEADER_BYTES + 8 * _pixels(self.facts.bounds) + self.facts.psf_bytes
        first = self._words(offset + 4 * (start - y_start), stop - start + 1)
        runs = int(first[-1] - first[0])
        stops = offset + 4 * (rows + int(first[0]))
        values = stops + 4 * self.facts.mask_runs
        return MaskRuns(first - first[0], self._words(stops, runs), self._words(values, runs))

    def rows(self, start: int, stop: int) -> MaskedImage:
        """The rows ``start <= y < stop`` in full width, NaN and NO_DATA outside the window."""
        return MaskedImage(
            self._plane(0, start, stop),
            self._plane(1, start, stop),
            self._mask(start, stop),
            fwhm_px=self.fwhm_px,
            zero_point_mag=self.zero_point_mag,
        )

    def _plane(self, number: int, start: int, stop: int) -> NDArray[np.float32]:
        y_start, y_stop, x_start, x_stop = self.facts.bounds
        height, width = y_stop - y_start, x_stop - x_start
        first, last = self._within(start, stop)
        stored = np.empty((last - first, width), dtype=np.float32)
        if stored.size:
            offset = _HEADER_BYTES + 4 * width * (number * height + first - y_start)
            _read_into(self._descriptor, stored, offset)
        if stored.shape == (stop - start, self.facts.shape[1]):
            return stored
        plane = np.full((stop - start, self.facts.shape[1]), np.nan, dtype=np.float32)
        if stored.size:
            plane[first - start : last - start, x_start:x_stop] = stored
        return plane

    def _mask(self, start: int, stop: int) -> NDArray[np.int32]:
        _, _, x_start, x_stop = self.facts.bounds
        shape = (stop - start, self.facts.shape[1])
        first, last = self._within(start, stop)
        if (last - first, x_stop - x_start) == shape:
            plane = np.empty(shape, dtype=np.int32)
        else:
            plane = np.full(shape, bits("NO_DATA"), dtype=np.int32)
        if first < last:
            part = plane[first - start : last - start, x_start:x_stop]
            self.mask_runs(first, last).fill(part)
        return plane

    def _within(self, start: int, stop: int) -> tuple[int, int]:
        """Those of some rows that the window has, half-open."""
        y_start, y_stop, _, _ = self.facts.bounds
        first = max(start, y_start)
        return first, max(first, min(stop, y_stop))

    def _words(self, offset: int, count: int) -> NDArray[np.int32]:
        words = np.empty(count, dtype=np.int32)
        _read_into(self._descriptor, words, offset)
        return words


class WarpStore:
    """A folder of warps by key; what was used last stays, ``max_bytes`` in all.

    Several processes may share a folder. Files are not flushed to the disk: one that a power
    failure damaged is recognised by its checksum and made anew.
    """

    def __init__(self, *, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def find(self, key: str, *, verify: bool = True) -> StoredWarp | None:
        """The warp of ``key``, or None when it is not here whole.

        Without ``verify`` pixels that a power failure damaged are not noticed.
        """
        path = self._path(key)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        lock_shared(descriptor)
        try:
            facts = _read_facts(descriptor, verify=verify)
        except (ValueError, KeyError, TypeError, OSError):
            os.close(descriptor)
            path.unlink(missing_ok=True)
            return None
        with suppress(OSError):
            os.utime(path)
        return StoredWarp(descriptor, facts)

    def add(
        self,
        key: str,
        window: Window,
        shape: tuple[int, int],
        *,
        weight: float,
        sky: float,
        scale: float,
        runs: MaskRuns,
        coverage: Coverage,
        psf: CoaddPsf | None,
    ) -> StoredWarp:
        """Store the part of a target of ``shape`` that an image reached, and open it.

        ``runs`` are those of the window's image, and what is kept of its mask. Raises
        StorageFullError; then nothing is left behind.
        """
        image, told = window.image, b"" if psf is None else psf_to_bytes(psf)
        facts = WarpFacts(
            shape=shape,
            bounds=window.bounds,
            weight=weight,
            sky=sky,
            scale=scale,
            position_error_px=window.position_error_px,
            fwhm_px=image.fwhm_px,
            zero_point_mag=image.zero_point_mag,
            coverage=coverage,
            psf_bytes=len(told),
            mask_runs=runs.stop.size,
        )
        content = [
            *(np.ascontiguousarray(plane) for plane in (image.flux, image.variance)),
            np.frombuffer(told, dtype=np.uint32),
            *(runs.first, runs.stop, runs.value),
        ]
        return StoredWarp(self._write(key, content, facts), facts)

    def trim(self) -> None:
        """Delete what was not used for longest, and is not open now, until the rest fits."""
        trim_folder(self._folder, self._max_bytes)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{_SUFFIX}"

    def _write(self, key: str, content: list[NDArray[Any]], facts: WarpFacts) -> int:
        def fill(file: IO[bytes]) -> None:
            file.write(_header(facts, content))
            for part in content:
                file.write(part.reshape(-1).view(np.uint8).data)

        return write_unflushed(self._path(key), fill)


def _header(facts: WarpFacts, content: list[NDArray[Any]]) -> bytes:
    checksum = 0
    for part in content:
        checksum ^= _xor(part.reshape(-1).view(np.uint32))
    text = json.dumps({**asdict(facts), "checksum": checksum})
    return text.encode().ljust(_HEADER_BYTES)


def _pixels(bounds: Bounds) -> int:
    y_start, y_stop, x_start, x_stop = bounds
    return (y_stop - y_start) * (x_stop - x_start)


def _xor(words: NDArray[np.uint32]) -> int:
    return int(np.bitwise_xor.reduce(words))


def _read_facts(descriptor: int, *, verify: bool) -> WarpFacts:
    """Facts of a whole file. Raises ValueError and others for a damaged one."""
    words = json.loads(os.pread(descriptor, _HEADER_BYTES, 0))
    checksum = words.pop("checksum")
    words["shape"], words["bounds"] = tuple(words["shape"]), tuple(words["bounds"])
    covered = words.pop("coverage")
    covered["bounds"] = tuple(covered["bounds"])
    facts = WarpFacts(**words, coverage=Coverage(**covered))
    if not verify:
        return facts
    rows = facts.bounds[1] - facts.bounds[0] + 1
    left = 2 * _pixels(facts.bounds) + facts.psf_bytes // 4 + rows + 2 * facts.mask_runs
    offset = _HEADER_BYTES
    piece = np.empty(_PIECE_WORDS, dtype=np.uint32)
    while left > 0:
        part = piece[: min(left, _PIECE_WORDS)]
        _read_into(descriptor, part, offset)
        checksum ^= _xor(part)
        left -= part.size
        offset += part.nbytes
    if checksum:
        raise ValueError("damaged")
    return facts


def _read_into(descriptor: int, array: NDArray[Any], offset: int) -> None:
    """Fill an array from a file. Raises OSError when the file ends early."""
    view = array.reshape(-1).view(np.uint8).data
    while view:
        count = os.preadv(descriptor, [view], offset)
        if count <= 0:
            raise OSError(errno.EIO, "a stored warp ends early")
        view, offset = view[count:], offset + count
