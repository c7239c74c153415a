"""Rows of a stack on disk, between the worker that made them and the one that joins them."""

from __future__ import annotations

import os
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from app.pixels.coadded import CoaddRows
from app.stores.cache_files import write_unflushed

_SUFFIX: Final = ".rows"
_NAMES: Final = ("flux", "variance", "mask", "n_image", "good", "left_out")


class CoaddRowsStore:
    """A folder of rows by key. It may be that of warps: what stays there is then bounded with them.

    Files are not flushed to the disk: their checksums tell those that a power failure damaged.
    """

    def __init__(self, *, folder: Path) -> None:
        self._folder = folder

    def has(self, key: str) -> bool:
        """True when the rows of ``key`` are here."""
        return self._path(key).exists()

    def find(self, key: str) -> CoaddRows | None:
        """The rows of ``key``, or None when they are not here whole."""
        try:
            with np.load(self._path(key)) as told:
                flux, variance, mask, n_image, good, left_out = (told[name] for name in _NAMES)
                return CoaddRows((flux, variance, mask, n_image), good, left_out)
        except (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def add(self, key: str, rows: CoaddRows) -> None:
        """Store rows. Raises StorageFullError; then nothing is left behind."""
        arrays = (*rows.planes, rows.good, rows.left_out)
        told: dict[str, NDArray[Any]] = dict(zip(_NAMES, arrays, strict=True))

        def fill(file: IO[bytes]) -> None:
            np.savez(file, allow_pickle=False, **told)

        os.close(write_unflushed(self._path(key), fill))

    def discard(self, key: str) -> None:
        """Delete the rows of ``key`` if they are here."""
        with suppress(FileNotFoundError):
            self._path(key).unlink()

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{_SUFFIX}"
