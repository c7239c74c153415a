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
    ``psf_bytes`` the length of what tells the PSF (0: it is unknown).
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
        stored = np.empty(self.facts.psf_bytes, dtype=np.uint8)
        _read_into(self._descriptor, stored, _HEADER_BYTES + 12 * _pixels(self.facts.bounds))
        return psf_from_bytes(stored.tobytes())

    def rows(self, start: int, stop: int) -> MaskedImage:
        """The rows ``start <= y < stop`` in full width, NaN and NO_DATA outside the window."""
        return MaskedImage(
            self._plane(0, np.dtype(np.float32), start, stop, np.nan),
            self._plane(1, np.dtype(np.float32), start, stop, np.nan),
            self._plane(2, np.dtype(np.int32), start, stop, bits("NO_DATA")),
            fwhm_px=self.fwhm_px,
            zero_point_mag=self.zero_point_mag,
        )

    def _plane(
        self, number: int, kind: np.dtype[Any], start: int, stop: int, nothing: float
    ) -> NDArray[Any]:
        y_start, y_stop, x_start, x_stop = self.facts.bounds
        height, width = y_stop - y_start, x_stop - x_start
        first, last = max(start, y_start), min(stop, y_stop)
        stored = np.empty((max(0, last - first), width), dtype=kind)
        if stored.size:
            offset = _HEADER_BYTES + 4 * width * (number * height + first - y_start)
            _read_into(self._descriptor, stored, offset)
        if stored.shape == (stop - start, self.facts.shape[1]):
            return stored
        plane = np.full((stop - start, self.facts.shape[1]), nothing, dtype=kind)
        if stored.size:
            plane[first - start : last - start, x_start:x_stop] = stored
        return plane


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
        coverage: Coverage,
        psf: CoaddPsf | None,
    ) -> StoredWarp:
        """Store the part of a target of ``shape`` that an image reached, and open it.

        Raises StorageFullError; then nothing is left behind.
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
        )
        return StoredWarp(self._write(key, image, told, facts), facts)

    def trim(self) -> None:
        """Delete what was not used for longest, and is not open now, until the rest fits."""
        trim_folder(self._folder, self._max_bytes)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{_SUFFIX}"

    def _write(self, key: str, image: MaskedImage, told: bytes, facts: WarpFacts) -> int:
        planes = [np.ascontiguousarray(p) for p in (image.flux, image.variance, image.mask)]
        planes.append(np.frombuffer(told, dtype=np.uint32))

        def fill(file: IO[bytes]) -> None:
            file.write(_header(facts, planes))
            for plane in planes:
                file.write(plane.reshape(-1).view(np.uint8).data)

        return write_unflushed(self._path(key), fill)


def _header(facts: WarpFacts, planes: list[NDArray[Any]]) -> bytes:
    checksum = 0
    for plane in planes:
        checksum ^= _xor(plane.reshape(-1).view(np.uint32))
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
    left = 3 * _pixels(facts.bounds) + facts.psf_bytes // 4
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
