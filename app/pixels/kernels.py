"""Matching kernels: sums of basis elements whose weights vary over the image.

Alard & Lupton 1998, ApJ 503, 325; basis normalisation of Alard 2000, A&AS 144, 363: the first
element has sum 1 and does not vary, all others have sum 0, so the kernel sum, which is the
photometric scale, is one number for the whole image. Elements are Gaussians times polynomials, or
images of kernels (:mod:`app.pixels.delta_basis`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BasisName = Literal["gaussians", "delta"]

FWHM_TO_SIGMA: Final = 1.0 / math.sqrt(8.0 * math.log(2.0))
DEGREES: Final = (4, 2, 2)
LEAST_SIGMA_PX: Final = 0.7
SMALLEST_PX: Final = 21
LARGEST_PX: Final = 35
DEFAULT_SIGMAS_PX: Final = (0.7, 1.5, 3.0)
"""Widths when nothing is known of the two PSFs, or when they are equal."""
REGULARISATION: Final = 5.0
"""Of free pixels, for each star. With the 0.2 of ip_diffim (PsfMatchConfigDF.lambdaValue) kernels
of ordinary pairs carry six times the noise of their image into the difference; 5 leaves a tenth
more than Gaussians do, and does not yet blur kernels that have narrow parts."""


@dataclass(frozen=True, slots=True)
class KernelForm:
    """What a matching kernel is made of.

    ``gaussians``: of these widths and ``degrees`` of their polynomials; by the widths of the two
    PSFs where ``sigmas_px`` is not given. ``delta``: every pixel is free, held by
    ``regularisation``. ``size_px`` (odd): the side of the kernel, by its widths unless given.
    """

    basis: BasisName = "gaussians"
    sigmas_px: tuple[float, ...] | None = None
    degrees: tuple[int, ...] = DEGREES
    size_px: int | None = None
    regularisation: float = REGULARISATION


ALARD_LUPTON: Final = KernelForm()
SNAP_SIZE_PX: Final = 7
SNAP: Final = KernelForm(sigmas_px=(1.0, 2.5), degrees=(4, 2), size_px=SNAP_SIZE_PX)
"""For two exposures of one visit, whose PSFs differ little (SnapPsfMatchConfigAL of ip_diffim)."""


@dataclass(frozen=True, slots=True)
class Basis:
    """Gaussian widths and what follows from them.

    ``filters`` (gaussians x powers, size) are the one-dimensional factors x^p exp(-x^2 / 2 s^2);
    element e of the raw basis is the outer product of ``filters[rows[e]]`` along y and
    ``filters[columns[e]]`` along x; ``mix`` (n, n) turns raw elements into the normalised ones.
    ``gram`` (n, n): sums of products of normalised elements, how white noise mixes in them.
    """

    sigmas_px: tuple[float, ...]
    half_px: int
    filters: Floats
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    mix: Floats
    gram: Floats

    @property
    def count(self) -> int:
        """Number of elements."""
        return len(self.rows)

    def elements(self) -> Floats:
        """The normalised basis (n, size, size)."""
        raw = self.filters[self.rows][:, :, None] * self.filters[self.columns][:, None, :]
        elements: Floats = np.einsum("ij,jyx->iyx", self.mix, raw)
        return elements


@dataclass(frozen=True, slots=True)
class TabulatedBasis:
    """Elements given as images (n, size, size), normalised as those of :class:`Basis` are."""

    table: Floats

    @property
    def count(self) -> int:
        """Number of elements."""
        return len(self.table)

    @property
    def half_px(self) -> int:
        """Half the side."""
        return int(self.table.shape[1]) // 2

    @property
    def mix(self) -> Floats:
        """They are as they are used."""
        return np.eye(self.count)

    @property
    def gram(self) -> Floats:
        """Sums of products of elements (n, n)."""
        products: Floats = np.einsum("iyx,jyx->ij", self.table, self.table)
        return products

    def elements(self) -> Floats:
        """The basis (n, size, size)."""
        return self.table


AnyBasis = Basis | TabulatedBasis


def basis_sigmas_px(narrow_fwhm_px: float | None, broad_fwhm_px: float | None) -> tuple[float, ...]:
    """Gaussian widths for turning one PSF into the other: s/2, s, 2s around the kernel's own s."""
    if narrow_fwhm_px is None or broad_fwhm_px is None:
        return DEFAULT_SIGMAS_PX
    square = (broad_fwhm_px**2 - narrow_fwhm_px**2) * FWHM_TO_SIGMA**2
    if square <= LEAST_SIGMA_PX**2:
        return DEFAULT_SIGMAS_PX
    first = max(LEAST_SIGMA_PX, 0.5 * math.sqrt(square))
    return first, 2.0 * first, 4.0 * first


def build_basis(
    sigmas_px: tuple[float, ...], degrees: tuple[int, ...] = DEGREES, size_px: int | None = None
) -> Basis:
    """The basis of these widths; the kernel's side is odd(6 x the largest), within 21 … 35 px,
    unless it is given."""
    automatic = min(max(int(6.0 * sigmas_px[-1]) // 2 * 2 + 1, SMALLEST_PX), LARGEST_PX)
    half = (size_px or automatic) // 2
    u = np.arange(-half, half + 1, dtype=np.float64)
    filters: list[Floats] = []
    rows: list[int] = []
    columns: list[int] = []
    for sigma, degree in zip(sigmas_px, degrees, strict=True):
        base = len(filters)
        profile = np.exp(-0.5 * (u / sigma) ** 2)
        filters.extend((u / sigma) ** power * profile for power in range(degree + 1))
        pairs = [(p, q) for p in range(degree + 1) for q in range(degree + 1 - p)]
        columns.extend(base + p for p, _ in pairs)
        rows.extend(base + q for _, q in pairs)
    table = np.array(filters)
    row_index, column_index = np.array(rows), np.array(columns)
    mix = _normalise(table, row_index, column_index)
    raw = np.einsum("ip,jp->ij", table, table)
    raw = raw[np.ix_(row_index, row_index)] * raw[np.ix_(column_index, column_index)]
    gram = np.einsum("ij,jk,lk->il", mix, raw, mix)
    return Basis(sigmas_px, half, table, row_index, column_index, mix, gram)


def _normalise(filters: Floats, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Floats:
    """Raw to normalised elements: the first to sum 1, the others to sum 0 and unit L2 norm."""
    raw = filters[rows][:, :, None] * filters[columns][:, None, :]
    sums = raw.sum(axis=(1, 2))
    mix = np.eye(len(rows))
    mix[0, 0] = 1.0 / sums[0]
    mix[1:, 0] = -sums[1:] / sums[0]
    zero_sum = np.einsum("ij,jyx->iyx", mix, raw)
    mix[1:] /= np.sqrt((zero_sum[1:] ** 2).sum(axis=(1, 2)))[:, None]
    return mix


def gaussian_profile(fwhm_px: float, *, shift_px: float = 0.0) -> Floats:
    """Unit-sum Gaussian (odd) of three FWHM across, its centre shifted."""
    half = math.ceil(1.5 * fwhm_px) + 1
    u = np.arange(-half, half + 1, dtype=np.float64)
    profile = np.exp(-0.5 * ((u - shift_px) / (fwhm_px * FWHM_TO_SIGMA)) ** 2)
    return np.asarray(profile / profile.sum())


def polynomial_powers(order: int) -> list[tuple[int, int]]:
    """The powers (i, j) of u^i v^j with i + j <= order, in the order coefficients have."""
    return [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]


def polynomial_terms(order: int, x: Floats, y: Floats, shape: tuple[int, int]) -> Floats:
    """u^i v^j with i + j <= order at pixel positions, u and v in [-1, 1]: (terms, *x.shape)."""
    ny, nx = shape
    u = 2.0 * np.asarray(x, dtype=np.float64) / max(nx - 1, 1) - 1.0
    v = 2.0 * np.asarray(y, dtype=np.float64) / max(ny - 1, 1) - 1.0
    return np.stack([u**i * v**j for i, j in polynomial_powers(order)])


@dataclass(frozen=True, slots=True)
class MatchingKernel:
    """The kernel that turns one image's PSF into the other's.

    ``elements`` (n, size, size); ``weights`` (n, terms): polynomial coefficients of each element's
    weight over an image of ``shape``, of ``order``; those of element 0 vary not.
    """

    elements: Floats
    weights: Floats
    order: int
    shape: tuple[int, int]
    _by_term: Floats = field(init=False, repr=False, compare=False)
    """(terms, size, size): what each polynomial term is multiplied by; asked for at every tile."""

    def __post_init__(self) -> None:
        by_term = np.einsum("nt,nyx->tyx", self.weights, self.elements)
        object.__setattr__(self, "_by_term", by_term)

    @property
    def sum(self) -> float:
        """Kernel sum: what a point source's flux is multiplied by."""
        return float(self.weights[0, 0])

    @property
    def varies(self) -> bool:
        """True when the kernel differs from place to place."""
        return self.order > 0

    def at(self, x: Floats, y: Floats) -> Floats:
        """The kernels (P, size, size) at P pixel positions."""
        terms = polynomial_terms(self.order, x, y, self.shape)
        here: Floats = np.einsum("tp,tyx->pyx", terms, self._by_term)
        return here

    def centre(self) -> Floats:
        """The kernel (size, size) at the middle of the image."""
        ny, nx = self.shape
        middle: Floats = self.at(np.array([0.5 * (nx - 1)]), np.array([0.5 * (ny - 1)]))[0]
        return middle

    def reach_px(self, share: float = 0.995) -> int:
        """Half width of the smallest box with ``share`` of the sum of |kernel| at the middle."""
        return box_reach_px(np.abs(self.centre()), share)


def box_reach_px(weight: Floats, share: float) -> int:
    """Half width of the smallest box about the middle of ``weight`` (odd, odd) that has ``share``
    of its sum."""
    half, total = int(weight.shape[0]) // 2, float(weight.sum())
    for reach in range(1, half):
        box = weight[half - reach : half + reach + 1, half - reach : half + reach + 1]
        if box.sum() >= share * total:
            return reach
    return half
