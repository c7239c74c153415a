"""Coadds of the same sky brought together: patches of a tract, and tracts on one grid.

Where coadds overlap they are made of the same exposures, so their errors are not independent:
their variances are averaged with the weights of the fluxes and not added in quadrature, which
would promise less noise than there is.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from app.errors import CoverageError, RecipeError
from app.pixels.image import MaskedImage, bits

NO_DATA: Final = bits("NO_DATA")
EDGES: Final = bits("NO_DATA", "EDGE")
"""What is left out of resampled coadds: at their borders some of the stencil's taps are missing."""


class Merger:
    """Running sums over coadds on one lattice of pixels; the coadds need not be kept.

    Flux and variance are sum(w f) / sum(w) and sum(w v) / sum(w) with w = 1 / v; the mask is the
    OR of those that gave a value; where none did the result is NaN and NO_DATA. Pixels with a bit
    of ``reject`` (NO_DATA among them) give none.
    """

    def __init__(self, shape: tuple[int, int], *, reject: int = NO_DATA) -> None:
        self._reject = reject
        self._flux = np.zeros(shape)
        self._variance = np.zeros(shape)
        self._weight = np.zeros(shape)
        self._mask = np.zeros(shape, dtype=np.int32)
        self._lost = np.zeros(shape, dtype=np.int32)
        self._zero_point_mag: float | None = None
        self._widths: list[tuple[float | None, int]] = []

    def add(self, image: MaskedImage, *, origin: tuple[int, int] = (0, 0)) -> int:
        """Add ``image``, whose first pixel is ``origin`` (y, x) here; what lies outside is left.

        Returns how many of its pixels took part. Raises RecipeError when its zero point is not
        that of the others.
        """
        here, there = _overlap(image.shape, self._flux.shape, origin)
        flux, variance, mask = image.flux[there], image.variance[there], image.mask[there]
        with np.errstate(invalid="ignore"):
            good = np.isfinite(flux) & np.isfinite(variance) & (variance > 0)
        good &= (mask & self._reject) == 0
        weight = np.zeros(flux.shape)
        np.divide(1.0, variance, out=weight, where=good)
        self._flux[here] += np.where(good, flux, 0.0) * weight
        self._variance[here] += good  # w v = 1
        self._weight[here] += weight
        self._mask[here] |= np.where(good, mask, 0)
        self._lost[here] |= np.where(good, 0, mask)
        used = int(np.count_nonzero(good))
        if used:
            self._note(image, used)
        return used

    def _note(self, image: MaskedImage, used: int) -> None:
        known = image.zero_point_mag
        if self._widths and known != self._zero_point_mag:
            raise RecipeError(
                f"coadds with the zero points {self._zero_point_mag} and {known} mag "
                "cannot be merged"
            )
        self._zero_point_mag = known
        self._widths.append((image.fwhm_px, used))

    @property
    def filled(self) -> bool:
        """True once a pixel has a value."""
        return bool(self._widths)

    def result(self) -> MaskedImage:
        """The merged image. Raises CoverageError when no pixel has a value."""
        used = self._weight > 0
        if not used.any():
            raise CoverageError("pixels with data in the coadds", 0, 1)
        divisor = np.where(used, self._weight, np.nan)
        return MaskedImage(
            (self._flux / divisor).astype(np.float32),
            (self._variance / divisor).astype(np.float32),
            np.where(used, self._mask, self._lost | NO_DATA).astype(np.int32),
            fwhm_px=_mean_width(self._widths),
            zero_point_mag=self._zero_point_mag,
        )


def _overlap(
    shape: tuple[int, int], target: tuple[int, ...], origin: tuple[int, int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where an image lies in the target, and which part of the image that is."""
    here, there = [], []
    for size, room, start in zip(shape, target, origin, strict=True):
        low, high = max(0, start), max(0, start, min(room, start + size))
        here.append(slice(low, high))
        there.append(slice(low - start, high - start))
    return tuple(here), tuple(there)


def _mean_width(widths: list[tuple[float | None, int]]) -> float | None:
    """FWHM by the number of pixels that each coadd gave; None when one is unknown."""
    known = [(width, count) for width, count in widths if width is not None]
    if len(known) < len(widths):
        return None
    return float(np.average([w for w, _ in known], weights=[count for _, count in known]))
