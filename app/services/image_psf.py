"""The PSF of an image: what its file brings, else what its stars show, measured once."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Final, Literal

from app.errors import LimitError
from app.pixels.grid import Grid
from app.pixels.psf_coadd import CoaddPsf
from app.recipes.recipe import ImageRef
from app.stores.file_cache import FileCache
from app.stores.images import ImageStore
from app.stores.psf_files import psf_from_bytes, psf_to_bytes
from app.workers.inputs import read_image, shown_psf, stored_psf

MEASURED_PIXELS: Final = 2**25
"""The largest image whose PSF is measured when it is asked for: its planes take half a gigabyte."""
MEASURED_VERSION: Final = 1
"""Raised whenever the same image would show another PSF."""
IN_MEMORY: Final = 64

Origin = Literal["file", "measured"]


class ImagePsfs:
    """Finds PSFs of images. Measured ones are kept in ``cache``."""

    def __init__(
        self, *, images: ImageStore, cache: FileCache, max_pixels: int = MEASURED_PIXELS
    ) -> None:
        self._images = images
        self._cache = cache
        self._max_pixels = max_pixels
        self._measured = lru_cache(maxsize=IN_MEMORY)(self._find_measured)

    def find(self, ref: ImageRef) -> tuple[CoaddPsf, Origin] | None:
        """The PSF and where it comes from; None when the image brings none and shows no stars.

        Raises LimitError when it would have to be measured and the image is too large for that,
        ImageFormatError when the file cannot be read.
        """
        stored = stored_psf(self._images, ref)
        if stored is not None:
            return stored, "file"
        measured = self._measured(ref)
        return None if measured is None else (measured, "measured")

    def _find_measured(self, ref: ImageRef) -> CoaddPsf | None:
        content = self._cache.get(
            f"{MEASURED_VERSION}\n{ref.to_text()}", lambda: self._measure(ref)
        )
        return psf_from_bytes(content) if content else None

    def _measure(self, ref: ImageRef) -> bytes:
        """Nothing for an image that shows no stars."""
        pixels = prod(Grid.from_text(ref.grid).shape)
        if pixels > self._max_pixels:
            what = (
                f"pixels of an image whose PSF is measured (the file of {ref.dataset_id} has none)"
            )
            raise LimitError(what, pixels, self._max_pixels)
        shown = shown_psf(read_image(self._images, ref))
        return b"" if shown is None else psf_to_bytes(shown)
