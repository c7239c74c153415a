"""Interpolation stencils: Lanczos-3, Lanczos-5 and bilinear, tabulated over the pixel phase.

A table has one row per phase 0, 1/1024, … 1 and one column per tap; tap ``t`` is the pixel
``floor(x) - taps/2 + 1 + t``. Each row sums to 1, so linear interpolation between rows keeps the
sum; the interpolated weights differ from the exact ones by less than 5e-7.
Lanczos: Duchon 1979, J. Appl. Meteorology 18, 1016.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from app.errors import ParameterError

StencilName = Literal["lanczos3", "lanczos5", "bilinear"]
PHASES: Final = 1024


@lru_cache(maxsize=8)
def stencil_table(name: str) -> NDArray[np.float32]:
    """Weights of shape (PHASES + 1, taps), float32, read-only. Raises ParameterError."""
    if name == "bilinear":
        phase = np.arange(PHASES + 1) / PHASES
        table = np.stack([1.0 - phase, phase], axis=1)
    elif name in ("lanczos3", "lanczos5"):
        table = _lanczos(int(name[-1]))
    else:
        raise ParameterError("kernel", f"{name!r} is not one of lanczos3, lanczos5, bilinear")
    weights = np.ascontiguousarray(table, dtype=np.float32)
    weights.flags.writeable = False
    return weights


def _lanczos(order: int) -> NDArray[np.float64]:
    """sinc(x) sinc(x / order) at the taps of every phase, normalised by the sum."""
    phase = np.arange(PHASES + 1)[:, None] / PHASES
    distance = np.arange(1 - order, order + 1)[None, :] - phase
    weights = np.sinc(distance) * np.sinc(distance / order)
    weights[np.abs(distance) >= order] = 0.0
    normalised: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalised
