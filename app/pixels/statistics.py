"""Robust numbers of pixel samples: median, interquartile scatter, clipped mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

_Real = TypeVar("_Real", bound=np.floating[Any])

IQR_TO_SIGMA: Final = 0.7413
"""Standard deviation of a normal sample per interquartile range."""
MOST_VALUES: Final = 1_000_000
"""Enough for any robust number."""
_LANES: Final = 64
"""Sums that run side by side, so that vector instructions make them in the order written here."""


@dataclass(frozen=True, slots=True)
class Clipped:
    """Mean and standard deviation of the ``count`` values that clipping kept."""

    mean: float
    sigma: float
    count: int


def robust_sigma(values: ArrayLike) -> float:
    """0.7413 x interquartile range; NaN for an empty sample."""
    low, high = quantiles(values, 0.25, 0.75)
    return IQR_TO_SIGMA * (high - low)


def centre_and_sigma(values: ArrayLike) -> tuple[float, float]:
    """Median and 0.7413 x interquartile range; NaN for an empty sample."""
    low, middle, high = quantiles(values, 0.25, 0.5, 0.75)
    return middle, IQR_TO_SIGMA * (high - low)


def quantiles(values: ArrayLike, *fractions: float) -> list[float]:
    """What such fractions of the values lie below, interpolated linearly; NaN for an empty sample
    and for one with a NaN.

    ``np.quantile`` takes four times as long: what it looks for together is not vectorised.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    if sample.size == 0 or np.isnan(sample).any():
        return [float("nan")] * len(fractions)
    return [_quantile(sample, fraction) for fraction in fractions]


def _quantile(sample: NDArray[np.float64], fraction: float) -> float:
    place = fraction * (sample.size - 1)
    below = int(place)
    ordered = np.partition(sample, below)
    low, part = ordered[below], place - below
    return float(low if part == 0.0 else low + part * (ordered[below + 1 :].min() - low))


def clipped_mean(values: ArrayLike, *, sigma: float = 3.0, iterations: int = 3) -> Clipped:
    """Sigma-clipped mean: first around the median with the interquartile scatter, both of at most
    100 000 values, then around the mean.

    NaN (count 0) for an empty sample. A sample of equal values is kept whole.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    if sample.size == 0:
        return Clipped(float("nan"), float("nan"), 0)
    return Clipped(*_clip(sample, *centre_and_sigma(thinned(sample, 100_000)), sigma, iterations))


@njit(cache=True, nogil=True)
def _clip(
    sample: NDArray[np.float64], centre: float, scatter: float, sigma: float, iterations: int
) -> tuple[float, float, int]:
    """Mean, standard deviation and count of what iterated clipping around a first centre keeps."""
    low, high, count, mean, deviation = -np.inf, np.inf, sample.size, np.nan, np.nan
    for _ in range(iterations):
        lowest, highest = max(low, centre - sigma * scatter), min(high, centre + sigma * scatter)
        kept, offset, spread = _moments_within(sample, lowest, highest, centre)
        if kept == 0:
            break
        done = kept == count
        low, high, count, mean, deviation = lowest, highest, kept, centre + offset, spread
        centre, scatter = mean, deviation
        if done:
            break
    if np.isnan(mean):
        _, offset, deviation = _moments_within(sample, low, high, centre)
        mean = centre + offset
    return mean, deviation, count


@njit(cache=True, nogil=True)
def _moments_within(
    sample: NDArray[np.float64], low: float, high: float, origin: float
) -> tuple[int, float, float]:
    """How many values lie within the limits, their mean less ``origin``, and their standard
    deviation."""
    counts = np.zeros(_LANES, dtype=np.int64)
    totals, squares = np.zeros(_LANES), np.zeros(_LANES)
    for start in range(0, sample.size, _LANES):
        part = sample[start : start + _LANES]
        for lane in range(part.size):
            inside = (part[lane] >= low) & (part[lane] <= high)
            value = part[lane] - origin if inside else 0.0
            counts[lane] += inside
            totals[lane] += value
            squares[lane] += value * value
    count = int(counts.sum())
    if count == 0:
        return 0, np.nan, np.nan
    mean = totals.sum() / count
    return count, mean, float(np.sqrt(max(0.0, squares.sum() / count - mean * mean)))


def thinned(values: NDArray[_Real], most: int = MOST_VALUES) -> NDArray[_Real]:
    """Every n-th value, so that no more than ``most`` are left."""
    return values[:: max(1, -(-values.size // most))]


def thinned_where(
    plane: NDArray[np.float32], chosen: NDArray[np.bool_], count: int
) -> NDArray[np.float32]:
    """:func:`thinned` of the ``count`` pixels of a plane that are ``chosen``."""
    step = max(1, -(-count // MOST_VALUES))
    sample = np.empty(-(-count // step), dtype=np.float32)
    _pick(plane, chosen, step, sample)
    return sample


@njit(cache=True, nogil=True)
def _pick(
    plane: NDArray[np.float32], chosen: NDArray[np.bool_], step: int, sample: NDArray[np.float32]
) -> None:
    """Every ``step``-th of the chosen pixels, the first among them."""
    found, left = 0, 0
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            if chosen[y, x]:
                if left == 0:
                    sample[found] = plane[y, x]
                    found, left = found + 1, step
                left -= 1
