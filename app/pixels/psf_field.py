"""The point spread function of an image as a function of position.

The form is that of PSFEx (Bertin 2011, ASP Conf. 442, 435; its manual, "The PSF file"): stamps of
the PSF as pixels see it, one for each term of a polynomial in the position. A stamp's samples lie
``sampling`` pixels apart and its middle is the centre of the star.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.errors import CoverageError
from app.pixels.equations import solve_positive
from app.pixels.kernels import polynomial_powers
from app.pixels.psf_moments import adaptive_moments
from app.pixels.stencil import PHASES, stencil_table

Floats = NDArray[np.float64]

SHAPE_TOLERANCE: Final = 1e-6
SHAPE_REACH: Final = 4.0
SPOKES: Final = 32
TAPS: Final = 10
"""Those of Lanczos-5, between the samples of a profile."""
RADIAL_STEPS: Final = 20
"""Steps along a spoke for each sigma, when the half-maximum contour is traced."""


@dataclass(frozen=True, slots=True)
class PsfShape:
    """Adaptive second moments (px²) of a PSF and its full width at half maximum (px).

    ``fwhm_px`` is the diameter of the circle with the area inside the half-maximum contour: that
    of the profile itself, which is less than 2.355 sigma when it has wings.
    """

    ixx: float
    iyy: float
    ixy: float
    fwhm_px: float

    @property
    def sigma_px(self) -> float:
        """Determinant radius, (Ixx Iyy - Ixy²)^1/4: the sigma of a round Gaussian of this area."""
        return float((self.ixx * self.iyy - self.ixy**2) ** 0.25)

    @property
    def ellipticity(self) -> tuple[float, float]:
        """(Ixx - Iyy) / (Ixx + Iyy) and 2 Ixy / (Ixx + Iyy)."""
        trace = self.ixx + self.iyy
        return (self.ixx - self.iyy) / trace, 2.0 * self.ixy / trace


class Psf(Protocol):
    """What is asked of a PSF; :class:`PsfField` and :class:`app.pixels.psf_coadd.CoaddPsf`."""

    def profile(self, x: float, y: float) -> Profile:
        """The PSF at a pixel position (0-based). Raises CoverageError where there is none."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The PSF at one place: ``samples`` (odd, odd), ``sampling`` pixels apart, of unit flux."""

    samples: Floats
    sampling: float

    @property
    def reach_px(self) -> float:
        """How far from the centre the samples go."""
        return float(self.samples.shape[0] // 2 * self.sampling)

    def stamp(self, half_px: int | None = None, *, dx: float = 0.0, dy: float = 0.0) -> Floats:
        """Unit-sum stamp (2 half + 1 square) with the star at (dx, dy) from its middle.

        ``half_px``: as far as the samples go unless given; beyond them the stamp is 0.
        """
        half = math.floor(self.reach_px + 1e-6) if half_px is None else half_px
        v, u = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
        stamp = self.values(u - dx, v - dy)
        normalised: Floats = stamp / stamp.sum()
        return normalised

    def values(self, dx: Floats, dy: Floats) -> Floats:
        """The flux a pixel at these offsets from the centre gets (Lanczos-5 between samples)."""
        middle = self.samples.shape[0] // 2
        out = np.zeros(dx.size)
        table = stencil_table("lanczos5").astype(np.float64)
        x, y = dx.ravel() / self.sampling + middle, dy.ravel() / self.sampling + middle
        _interpolate(self.samples, np.ascontiguousarray(x), np.ascontiguousarray(y), table, out)
        return out.reshape(dx.shape)

    def shape(self) -> PsfShape:
        """Moments and width. Raises CoverageError when the samples show no single peak."""
        middle = self.samples.shape[0] // 2
        first = 0.25 * middle
        wide = np.pad(self.samples, 2 * middle)
        centre = 3.0 * middle
        found = adaptive_moments(wide, centre, centre, first, SHAPE_REACH, SHAPE_TOLERANCE)
        if not np.isfinite(found).all():
            raise CoverageError("a PSF with a width", 0, 1)
        ixx, iyy, ixy = (float(m) * self.sampling**2 for m in found[2:5])
        fwhm = self._fwhm_px(
            float(found[0]) - centre, float(found[1]) - centre, (ixx * iyy) ** 0.25
        )
        return PsfShape(ixx, iyy, ixy, fwhm)

    def _fwhm_px(self, x: float, y: float, sigma_px: float) -> float:
        """From the radius, along spokes from the centre, where the profile falls to half."""
        angle = 2.0 * np.pi * np.arange(SPOKES) / SPOKES
        table = stencil_table("lanczos5").astype(np.float64)
        radius = np.empty(SPOKES)
        centre = (x * self.sampling, y * self.sampling)
        way = np.stack([np.cos(angle), np.sin(angle)])
        _trace_half(self.samples, self.sampling, centre, way, sigma_px, table, radius)
        if np.isnan(radius).any():
            raise CoverageError("a PSF that falls to half its peak", 0, 1)
        return float(2.0 * np.sqrt(np.mean(radius**2)))


@njit(cache=True, nogil=True)
def _interpolate(samples: Floats, x: Floats, y: Floats, table: Floats, out: Floats) -> None:
    """Values at sample coordinates; samples outside count as 0."""
    column = np.empty(TAPS)
    for n in range(x.size):
        out[n] = _value_at(samples, x[n], y[n], table, column)


@njit(cache=True, nogil=True)
def _value_at(samples: Floats, x: float, y: float, table: Floats, column: Floats) -> float:
    """The value at one place; ``column`` (TAPS,) is room for sums."""
    ny, nx = samples.shape
    left, low = int(np.floor(x)), int(np.floor(y))
    along_x = table[int((x - left) * PHASES + 0.5)]
    along_y = table[int((y - low) * PHASES + 0.5)]
    left, low = left - TAPS // 2 + 1, low - TAPS // 2 + 1
    column[:] = 0.0
    inside = left >= 0 and left + TAPS <= nx
    for t in range(max(0, -low), min(TAPS, ny - low)):
        line = samples[low + t]
        if inside:
            for s in range(TAPS):
                column[s] += along_y[t] * line[left + s]
        else:
            for s in range(max(0, -left), min(TAPS, nx - left)):
                column[s] += along_y[t] * line[left + s]
    total = 0.0
    for s in range(TAPS):
        total += along_x[s] * column[s]
    return total


@njit(cache=True, nogil=True)
def _trace_half(
    samples: Floats,
    sampling: float,
    centre: tuple[float, float],
    way: Floats,
    sigma_px: float,
    table: Floats,
    radius: Floats,
) -> None:
    """How far from the ``centre`` (px) values fall to half of what they are there, along each
    ``way`` (2, K); NaN where they do not within 3 sigma."""
    middle, column = samples.shape[0] // 2, np.empty(TAPS)
    for k in range(radius.size):
        radius[k] = np.nan
        half, before = 0.0, 0.0
        for n in range(3 * RADIAL_STEPS):
            at = sigma_px * n / RADIAL_STEPS
            x = (centre[0] + at * way[0, k]) / sampling + middle
            y = (centre[1] + at * way[1, k]) / sampling + middle
            value = _value_at(samples, x, y, table, column)
            half = 0.5 * value if n == 0 else half
            if value < half:
                share = (before - half) / (before - value)
                radius[k] = sigma_px * (n - 1 + share) / RADIAL_STEPS
                break
            before = value


@dataclass(frozen=True, slots=True)
class PsfField:
    """``stamps`` (T, odd, odd): what each of :func:`field_terms` multiplies.

    ``zero`` and ``scale`` (x, y) turn pixels into the polynomial's variables,
    ``(x - zero) / scale``. ``stars``: how many showed it (0 when that is not known).
    """

    stamps: Floats
    degree: int
    zero: tuple[float, float]
    scale: tuple[float, float]
    sampling: float = 1.0
    stars: int = 0

    def profile(self, x: float, y: float) -> Profile:
        """The PSF at a pixel position (0-based)."""
        u, v = (x - self.zero[0]) / self.scale[0], (y - self.zero[1]) / self.scale[1]
        terms = np.array([u**i * v**j for j, i in polynomial_powers(self.degree)])
        samples = (terms @ self.stamps.reshape(len(terms), -1)).reshape(self.stamps.shape[1:])
        return Profile(samples / (samples.sum() * self.sampling**2), self.sampling)


def field_terms(
    degree: int, zero: tuple[float, float], scale: tuple[float, float], x: Floats, y: Floats
) -> Floats:
    """Terms (T, …) in PSFEx's order: 1, u, u², …, v, u v, …, v²."""
    u, v = (x - zero[0]) / scale[0], (y - zero[1]) / scale[1]
    return np.stack([u**i * v**j for j, i in polynomial_powers(degree)])


def fit_field(
    profiles: Floats,
    x: Floats,
    y: Floats,
    *,
    degree: int,
    zero: tuple[float, float],
    scale: tuple[float, float],
    sampling: float,
    stars: int,
) -> PsfField:
    """The field through ``profiles`` (K, odd, odd) seen at K places, by least squares."""
    stamps = fit_stamps(field_terms(degree, zero, scale, x, y), profiles)
    return PsfField(stamps, degree, zero, scale, sampling, stars)


def fit_stamps(terms: Floats, seen: Floats) -> Floats:
    """The T stamps whose sums, with the ``terms`` (T, K) of K places for weights, come nearest to
    the stamps ``seen`` there (K, ny, nx), by least squares."""
    matrix = np.einsum("ik,jk->ij", terms, terms)
    inverse = np.stack([solve_positive(matrix, column) for column in np.eye(len(terms))])
    weights = np.einsum("ij,jk->ik", inverse, terms)
    stamps: Floats = np.einsum("ik,kyx->iyx", weights, seen)
    return stamps
