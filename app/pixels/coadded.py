"""A finished stack, and some rows of one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import CoverageError
from app.pixels.image import MaskedImage
from app.pixels.warped import Warped

Planes = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]
"""Flux, variance, mask and number of good inputs."""


@dataclass(frozen=True, slots=True)
class CoaddRows:
    """Some rows of a coadd, and of each input how many good pixels there are in them (N,) int64,
    and how many of those were left out."""

    planes: Planes
    good: NDArray[np.int64]
    left_out: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Coadd:
    """A stack and how it came about.

    ``n_image`` (ny, nx) int32 counts the good inputs of each pixel before clipping. ``weights`` and
    ``clipped_fraction`` have one number per input, in their order (weight 0: not used at all).
    """

    image: MaskedImage
    n_image: NDArray[np.int32]
    weights: tuple[float, ...]
    clipped_fraction: tuple[float, ...]


def empty_planes(shape: tuple[int, int]) -> Planes:
    """Planes (ny, nx) to be filled."""
    return (
        np.empty(shape, dtype=np.float32),
        np.empty(shape, dtype=np.float32),
        np.empty(shape, dtype=np.int32),
        np.empty(shape, dtype=np.int32),
    )


def join_rows(shape: tuple[int, int], parts: Iterable[CoaddRows]) -> CoaddRows:
    """All rows of a target of ``shape`` (ny, nx) from parts that follow one another."""
    planes, row = empty_planes(shape), 0
    good = left_out = np.zeros(1, dtype=np.int64)
    for part in parts:
        stop = row + len(part.planes[0])
        for plane, own in zip(planes, part.planes, strict=True):
            plane[row:stop] = own
        good, left_out, row = good + part.good, left_out + part.left_out, stop
    return CoaddRows(planes, good, left_out)


def whole_coadd(inputs: Sequence[Warped], rows: CoaddRows, weights: Sequence[float]) -> Coadd:
    """The coadd whose rows are all there. Raises CoverageError when no pixel has data."""
    flux, variance, mask, n_image = rows.planes
    if not n_image.any():
        raise CoverageError("pixels with a usable input", 0, 1)
    image = MaskedImage(
        flux,
        variance,
        mask,
        fwhm_px=combined_fwhm_px([(i.fwhm_px, w) for i, w in zip(inputs, weights, strict=True)]),
        zero_point_mag=inputs[0].zero_point_mag,
    )
    fractions = rows.left_out / np.maximum(1, rows.good)
    return Coadd(image, n_image, tuple(weights), tuple(fractions.tolist()))


def combined_fwhm_px(parts: Sequence[tuple[float | None, float]]) -> float | None:
    """FWHM of the weighted sum of unit-flux Gaussian PSFs given as (fwhm_px, weight).

    None when one of them is unknown.
    """
    known = [(fwhm, weight) for fwhm, weight in parts if weight > 0 and fwhm is not None]
    if not known or len(known) < sum(weight > 0 for _, weight in parts):
        return None
    fwhm = np.array([f for f, _ in known])
    amplitude = np.array([w for _, w in known]) / fwhm**2
    low, high = float(fwhm.min()), float(fwhm.max())
    for _ in range(60):
        middle = 0.5 * (low + high)
        profile = float((amplitude * np.exp2(-((middle / fwhm) ** 2))).sum())
        low, high = (middle, high) if profile > 0.5 * amplitude.sum() else (low, middle)
    return 0.5 * (low + high)
