"""Robust numbers of pixel samples: median, interquartile scatter, clipped mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
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
    centre, scatter = float(np.median(start)), robust_sigma(start)
    for _ in range(iterations):
        kept = sample[np.abs(sample - centre) <= sigma * scatter]
        if kept.size == 0:
            break
        done = kept.size == sample.size
        sample, centre, scatter = kept, float(kept.mean()), float(kept.std())
        if done:
            break
    return Clipped(float(sample.mean()), float(sample.std()), int(sample.size))


def thinned(values: NDArray[_Real], most: int = 1_000_000) -> NDArray[_Real]:
    """Every n-th value, so that no more than ``most`` are left: enough for any robust number."""
    return values[:: max(1, -(-values.size // most))]
