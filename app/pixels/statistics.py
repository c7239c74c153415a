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


@dataclass(frozen=True, slots=True)
class Clipped:
    """Mean and standard deviation of the ``count`` values that clipping kept."""

    mean: float
    sigma: float
    count: int


def robust_sigma(values: ArrayLike) -> float:
    """0.7413 x interquartile range; NaN for an empty sample."""
    sample = np.asarray(values, dtype=np.float64).ravel()
    if sample.size == 0:
        return float("nan")
    low, high = np.percentile(sample, [25.0, 75.0])
    return float(IQR_TO_SIGMA * (high - low))


def clipped_mean(values: ArrayLike, *, sigma: float = 3.0, iterations: int = 3) -> Clipped:
    """Sigma-clipped mean: first around the median with the interquartile scatter, both of at most
    100 000 values, then around the mean.

    NaN (count 0) for an empty sample. A sample of equal values is kept whole.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    if sample.size == 0:
        return Clipped(float("nan"), float("nan"), 0)
    start = thinned(sample, 100_000)
    return Clipped(*_clip(sample, float(np.median(start)), robust_sigma(start), sigma, iterations))


@njit(cache=True, nogil=True)
def _clip(
    sample: NDArray[np.float64], centre: float, scatter: float, sigma: float, iterations: int
) -> tuple[float, float, int]:
    """Mean, standard deviation and count of what iterated clipping around a first centre keeps."""
    low, high, count, mean, deviation = -np.inf, np.inf, sample.size, np.nan, np.nan
    for _ in range(iterations):
        lowest, highest = max(low, centre - sigma * scatter), min(high, centre + sigma * scatter)
        kept, total = _sum_within(sample, lowest, highest)
        if kept == 0:
            break
        done = kept == count
        low, high, count, mean = lowest, highest, kept, total / kept
        deviation = _deviation(sample, low, high, mean, count)
        centre, scatter = mean, deviation
        if done:
            break
    if np.isnan(mean):
        mean = _sum_within(sample, low, high)[1] / count
        deviation = _deviation(sample, low, high, mean, count)
    return mean, deviation, count


@njit(cache=True, nogil=True)
def _sum_within(sample: NDArray[np.float64], low: float, high: float) -> tuple[int, float]:
    """How many values lie within the limits, and their sum."""
    count, total = 0, 0.0
    for value in sample:
        inside = (value >= low) & (value <= high)
        count += inside
        total += value if inside else 0.0
    return count, total


@njit(cache=True, nogil=True)
def _deviation(
    sample: NDArray[np.float64], low: float, high: float, mean: float, count: int
) -> float:
    """Standard deviation of the ``count`` values within the limits."""
    square = 0.0
    for value in sample:
        square += (value - mean) ** 2 if (value >= low) & (value <= high) else 0.0
    return float(np.sqrt(square / count))


def thinned(values: NDArray[_Real], most: int = 1_000_000) -> NDArray[_Real]:
    """Every n-th value, so that no more than ``most`` are left: enough for any robust number."""
    return values[:: max(1, -(-values.size // most))]
