"""Match two images: the kernel and background that turn one into the other.

Alard & Lupton 1998 (ApJ 503, 325) with the basis of :mod:`app.pixels.kernels`. Each stamp has one
noise variance; stamps that disagree with the common solution (variable stars, unmarked defects)
lose weight first and are left out then, until the set no longer changes. Pixels where the residual
shows something new are left out too, and the fit is done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.errors import KernelFitError, ParameterError, RecipeError
from app.pixels.background import sky_level
from app.pixels.bands import side_by_side
from app.pixels.candidates import Places, Unfit, find_stamps, given_stamps, tile_places
from app.pixels.delta_basis import build_delta_basis, delta_half_px
from app.pixels.equations import Stamps, reduce_stamps
from app.pixels.fitting import KernelFit
from app.pixels.image import MaskedImage
from app.pixels.kernels import (
    ALARD_LUPTON,
    AnyBasis,
    Basis,
    KernelForm,
    MatchingKernel,
    basis_sigmas_px,
    build_basis,
    polynomial_powers,
    polynomial_terms,
)
from app.pixels.psf import measure_fwhm_px
from app.pixels.stamp_pixels import ChangeFinder, StampPixels, cut_stamps
from app.pixels.statistics import robust_sigma

Floats = NDArray[np.float64]
Plane = NDArray[np.float32]
Convolve = Literal["auto", "template", "science"]
SpatialOrder = int | Literal["auto"]

LEAST_STAMPS: Final = 3
FEW_STAMPS: Final = 4
"""With fewer than this many times the stamps needed, the whole image is tiled instead."""
MOST_CLEANINGS: Final = 3
UNKNOWN_FWHM_PX: Final = 3.5
MOST_ORDER: Final = 2
STAMPS_PER_TERM: Final = 12
"""What an automatic choice of the spatial order asks for: its like, and that order."""
DELTA_ROUNDS: Final = 3
"""So often a basis of free pixels is made anew of the stamps that agreed with the last one."""
LEAST_SIGMAS: Final = 10.0
"""A kernel sum less significant than this says that the two images have nothing in common."""


@dataclass(frozen=True, slots=True)
class Match:
    """How one image turns into the other.

    ``convolved`` tells which of the two the ``kernel`` is for; ``background`` are polynomial
    coefficients (order ``background_order``, terms of kernels.polynomial_terms) of
    other - kernel * convolved. ``scale`` is science flux per template flux. ``used`` and
    ``rejected`` are stamp middles (x, y); ``stamp_chi`` is the median over the used stamps of
    rms residual / expected noise, ``sum_scatter`` the robust scatter of the kernel sums that each
    of them would have of its own. ``unfit`` are those of given candidates that no stamp was cut
    around.
    """

    kernel: MatchingKernel
    background: Floats
    background_order: int
    convolved: Literal["template", "science"]
    scale: float
    used: tuple[tuple[float, float], ...]
    rejected: tuple[tuple[float, float], ...]
    stamp_chi: float
    sum_scatter: float
    science_fwhm_px: float | None
    template_fwhm_px: float | None
    unfit: tuple[Unfit, ...] = ()

    @property
    def sharpens(self) -> bool:
        """Whether the image that is convolved was the broader one, as far as widths are known: the
        kernel then amplifies noise."""
        if self.science_fwhm_px is None or self.template_fwhm_px is None:
            return False
        template_is_broader = self.template_fwhm_px > self.science_fwhm_px
        return template_is_broader is (self.convolved == "template")

    def background_rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """The fitted background of some rows."""
        shape = self.kernel.shape
        return background_plane(self.background, self.background_order, shape, start, stop)


def background_plane(
    coefficients: Floats,
    order: int,
    shape: tuple[int, int],
    start: int = 0,
    stop: int | None = None,
) -> NDArray[np.float32]:
    """Rows ``start`` to ``stop`` (all) of a polynomial over an image of ``shape``, in the terms of
    kernels.polynomial_terms."""
    ny, nx = shape
    powers = np.zeros((order + 1, order + 1))
    for coefficient, (i, j) in zip(coefficients, polynomial_powers(order), strict=True):
        powers[i, j] = coefficient
    level = np.empty(((ny if stop is None else stop) - start, nx), dtype=np.float32)
    _fill_plane(powers, max(nx - 1, 1), max(ny - 1, 1), start, level)
    return level


@njit(cache=True, nogil=True)
def _fill_plane(powers: Floats, last_x: int, last_y: int, first: int, level: Plane) -> None:
    """Rows from ``first`` on of the polynomial whose coefficient of u^i v^j is ``powers[i, j]``."""
    order = len(powers) - 1
    u = 2.0 * np.arange(level.shape[1]) / last_x - 1.0
    along, values = np.empty(order + 1), np.empty_like(u)
    for y in range(len(level)):
        v = 2.0 * (first + y) / last_y - 1.0
        for i in range(order + 1):
            along[i] = powers[i, order]
            for j in range(order - 1, -1, -1):
                along[i] = along[i] * v + powers[i, j]
        values[:] = along[order]
        for i in range(order - 1, -1, -1):
            for x in range(u.size):
                values[x] = values[x] * u[x] + along[i]
        for x in range(u.size):
            level[y, x] = values[x]


def match(
    science: MaskedImage,
    template: MaskedImage,
    *,
    spatial_order: SpatialOrder = 0,
    background_order: int | None = 1,
    convolve: Convolve = "auto",
    form: KernelForm = ALARD_LUPTON,
    candidates: Sequence[tuple[float, float]] | None = None,
    stamps_per_term: int = STAMPS_PER_TERM,
) -> Match:
    """The kernel that matches ``template`` to ``science`` (or the other way) on one grid.

    ``convolve="auto"`` convolves the sharper image, the template when the two are equal or unknown.
    Orders are those of the polynomials over the image; ``spatial_order="auto"`` is the largest up
    to 2 for which there are ``stamps_per_term``, and ``kernel.order`` tells which. With a
    ``background_order`` of None no background is fitted: images are brought to one level by their
    skies. Stamps lie around the ``candidates`` (x, y in pixels) that are fit, or around stars found
    here. Raises KernelFitError when too few stamps agree, ParameterError on wrong options,
    RecipeError when shapes differ.
    """
    _check(science, template, spatial_order, background_order, convolve)
    science_fwhm = science.fwhm_px or measure_fwhm_px(science)
    template_fwhm = template.fwhm_px or measure_fwhm_px(template)
    direction = _direction(convolve, science_fwhm, template_fwhm)
    asked = _Asked(form, spatial_order, candidates, stamps_per_term)
    if direction == "template":
        pair = _pair(template, science, template_fwhm, science_fwhm, asked)
    else:
        pair = _pair(science, template, science_fwhm, template_fwhm, asked)
    solved = _solve(pair, background_order, science.shape)
    kernel, background = solved.kernel, solved.background
    if not (kernel.sum > 0 and solved.significance > LEAST_SIGMAS):
        raise KernelFitError(0, _needed(pair.order))
    background[0] += pair.broad_sky - kernel.sum * pair.sharp_sky
    stamps, keep = solved.stamps, solved.keep
    places = list(zip(stamps.x.tolist(), stamps.y.tolist(), strict=True))
    return Match(
        kernel,
        background,
        background_order or 0,
        direction,
        kernel.sum if direction == "template" else 1.0 / kernel.sum,
        tuple(p for p, k in zip(places, keep, strict=True) if k),
        tuple(p for p, k in zip(places, keep, strict=True) if not k),
        float(np.median(solved.chi[keep])),
        kernel.sum * robust_sigma(solved.scales[keep]),
        science_fwhm,
        template_fwhm,
        pair.unfit,
    )


def _check(
    science: MaskedImage,
    template: MaskedImage,
    spatial: SpatialOrder,
    background: int | None,
    convolve: str,
) -> None:
    if science.shape != template.shape:
        raise RecipeError(f"science {science.shape} and template {template.shape} differ in shape")
    for name, order, word in (
        ("spatial_order", spatial, "auto"),
        ("background_order", background, None),
    ):
        if not (order == word or order in range(5)):
            raise ParameterError(name, f"{order} is not within 0 … 4")
    if convolve not in ("auto", "template", "science"):
        raise ParameterError("convolve", f"{convolve!r} is not one of auto, template, science")


def _direction(
    convolve: Convolve, science_fwhm: float | None, template_fwhm: float | None
) -> Literal["template", "science"]:
    if convolve != "auto":
        return convolve
    if science_fwhm is None or template_fwhm is None:
        return "template"
    return "science" if template_fwhm > science_fwhm else "template"


@dataclass(frozen=True, slots=True)
class _Asked:
    form: KernelForm
    order: SpatialOrder
    candidates: Sequence[tuple[float, float]] | None
    stamps_per_term: int


@dataclass(frozen=True, slots=True)
class _Pair:
    """The stamps of the image to convolve (sharp) and the one it is to look like (broad)."""

    pixels: StampPixels
    sharp_sky: float
    broad_sky: float
    fwhm_px: float
    basis: Basis
    form: KernelForm
    order: int
    unfit: tuple[Unfit, ...]


def _pair(
    sharp: MaskedImage,
    broad: MaskedImage,
    sharp_fwhm: float | None,
    broad_fwhm: float | None,
    asked: _Asked,
) -> _Pair:
    """Stamps of a pair, and the spatial order. Raises KernelFitError with too few stamps."""
    form = asked.form
    sigmas_px = form.sigmas_px or basis_sigmas_px(sharp_fwhm, broad_fwhm)
    basis = build_basis(sigmas_px, form.degrees, form.size_px)
    reach = basis.half_px if form.basis == "gaussians" else delta_half_px(form, basis.half_px)
    fwhm_px = max(sharp_fwhm or 0.0, broad_fwhm or 0.0) or UNKNOWN_FWHM_PX
    needed = _needed(0 if asked.order == "auto" else asked.order)
    places, unfit = _places(sharp, broad, fwhm_px, reach, needed, asked.candidates)
    levels = side_by_side(lambda: sky_level(sharp), lambda: sky_level(broad))
    skies = levels[0].mean, levels[1].mean
    spread = 1.0 / (4.0 * np.pi * basis.sigmas_px[1] ** 2)
    pixels = cut_stamps(sharp, broad, skies, places.x, places.y, places.half_px, reach, spread)
    pixels = pixels.chosen(np.any(pixels.usable, axis=(1, 2)))
    if len(pixels) < needed:
        raise KernelFitError(len(pixels), needed)
    order = asked.order
    if order == "auto":
        order = _supported(pixels, sharp.shape, asked.stamps_per_term)
    return _Pair(pixels, *skies, fwhm_px, basis, form, order, unfit)


def _needed(order: int) -> int:
    """The fewest stamps for a kernel of this spatial order."""
    return max(LEAST_STAMPS, (order + 1) * (order + 2))


def _supported(pixels: StampPixels, shape: tuple[int, int], stamps_per_term: int) -> int:
    """The spatial order for which there are stamps enough, in enough parts of the image."""
    for order in range(MOST_ORDER, 0, -1):
        terms, cells = (order + 1) * (order + 2) // 2, order + 1
        row, column = pixels.y * cells // shape[0], pixels.x * cells // shape[1]
        held = len(np.unique(row * cells + column))
        if len(pixels) >= stamps_per_term * terms and held > terms:
            return order
    return 0


def _places(
    sharp: MaskedImage,
    broad: MaskedImage,
    fwhm_px: float,
    kernel_half_px: int,
    needed: int,
    candidates: Sequence[tuple[float, float]] | None,
) -> tuple[Places, tuple[Unfit, ...]]:
    """Stamps around the candidates, or around sources that both images show, or tiles when there
    are too few of those."""
    half = max(kernel_half_px, round(2.2 * fwhm_px))
    if candidates is not None:
        return given_stamps(sharp, broad, fwhm_px, half, candidates)
    places = find_stamps(sharp, broad, fwhm_px, half)
    if len(places) < FEW_STAMPS * needed:
        tiles = tile_places(sharp, broad, fwhm_px, half)
        places = tiles if len(tiles) > len(places) else places
    return places, ()


@dataclass(frozen=True, slots=True)
class _Solved:
    """A fit: its stamps, which of them it used, and of all the chi and their own kernel sums over
    that of the fit; ``pixels`` without what has changed."""

    kernel: MatchingKernel
    background: Floats
    significance: float
    stamps: Stamps
    keep: NDArray[np.bool_]
    chi: Floats
    scales: Floats
    pixels: StampPixels


def _solve(pair: _Pair, background_order: int | None, shape: tuple[int, int]) -> _Solved:
    """The fit of a pair. Raises KernelFitError."""
    if pair.form.basis == "gaussians":
        return _solve_basis(pair, pair.basis, background_order, shape)
    pixels, keep = pair.pixels, np.ones(len(pair.pixels), dtype=np.bool_)
    half = pixels.reach_px
    for _ in range(DELTA_ROUNDS):
        basis = build_delta_basis(
            pixels.chosen(keep), half, pair.order, shape, pair.form.regularisation
        )
        solved = _solve_basis(pair, basis, background_order, shape)
        pixels, keep = solved.pixels, solved.keep
    return solved


def _solve_basis(
    pair: _Pair, basis: AnyBasis, background_order: int | None, shape: tuple[int, int]
) -> _Solved:
    """Fit, leave out pixels that show something changed, and fit again until there are none."""
    fit = KernelFit(basis, pair.order, background_order, shape)
    pixels, needed = pair.pixels, _needed(pair.order)
    stamps = reduce_stamps(pixels, basis)
    solution, keep = fit.solve_robustly(stamps, needed)
    finder = ChangeFinder(pixels, pair.fwhm_px)
    for _ in range(MOST_CLEANINGS):
        kernel, background = fit.unpack(solution)
        order = background_order or 0
        sky = polynomial_terms(order, stamps.x, stamps.y, shape).T @ background
        changed = finder.changed(pixels, kernel, sky)
        hit = np.any(changed, axis=(1, 2))
        if not hit.any():
            break
        pixels = pixels.without(changed)
        stamps = stamps.replaced(hit, reduce_stamps(pixels.chosen(hit), basis))
        solution, keep = fit.solve_robustly(stamps, needed, keep)
    kernel, background = fit.unpack(solution)
    significance = fit.significance(stamps.chosen(keep), solution)
    chi, scales = fit.judge(stamps, solution)
    return _Solved(kernel, background, significance, stamps, keep, chi, scales, pixels)
