"""Match two images: the kernel and background that turn one into the other.

Alard & Lupton 1998 (ApJ 503, 325) with the basis of :mod:`app.pixels.kernels`. Each stamp has one
noise variance; stamps that disagree with the common solution (variable stars, transients, unmarked
defects) lose weight first and are left out then, until the set no longer changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from app.errors import KernelFitError, ParameterError, RecipeError
from app.pixels.background import FIT_REJECT, sky_level
from app.pixels.candidates import Places, find_stamps, tile_places, usable_for_fit
from app.pixels.equations import MODEL_ERROR, Stamps, reduce_stamps, solve_positive
from app.pixels.image import MaskedImage
from app.pixels.kernels import (
    Basis,
    MatchingKernel,
    basis_sigmas_px,
    build_basis,
    polynomial_terms,
)
from app.pixels.psf import measure_fwhm_px
from app.pixels.statistics import robust_sigma

Floats = NDArray[np.float64]
Convolve = Literal["auto", "template", "science"]

LEAST_STAMPS: Final = 3
FEW_STAMPS: Final = 4
"""With fewer than this many times the stamps needed, the whole image is tiled instead."""
WORST_CHI: Final = 1.5
MOST_ROUNDS: Final = 20
SOFT_ROUNDS: Final = 4
PRIOR_SIGMA: Final = 3.0
"""Expected size of the zero-sum weights relative to the kernel sum: holds what data do not."""


@dataclass(frozen=True, slots=True)
class Match:
    """How one image turns into the other.

    ``convolved`` tells which of the two the ``kernel`` is for; ``background`` are polynomial
    coefficients (order ``background_order``, terms of kernels.polynomial_terms) of
    other - kernel * convolved. ``scale`` is science flux per template flux. ``used`` and
    ``rejected`` are stamp middles (x, y); ``stamp_chi`` is the median over the used stamps of
    rms residual / expected noise.
    """

    kernel: MatchingKernel
    background: Floats
    background_order: int
    convolved: Literal["template", "science"]
    scale: float
    used: tuple[tuple[float, float], ...]
    rejected: tuple[tuple[float, float], ...]
    stamp_chi: float
    science_fwhm_px: float | None
    template_fwhm_px: float | None

    def background_level(self) -> NDArray[np.float32]:
        """The fitted background (ny, nx)."""
        ny, nx = self.kernel.shape
        terms_y = np.arange(ny, dtype=np.float64)[:, None]
        terms_x = np.arange(nx, dtype=np.float64)[None, :]
        terms = polynomial_terms(self.background_order, terms_x, terms_y, self.kernel.shape)
        level: NDArray[np.float32] = np.einsum("t,tyx->yx", self.background, terms).astype(
            np.float32
        )
        return level


def match(
    science: MaskedImage,
    template: MaskedImage,
    *,
    spatial_order: int = 0,
    background_order: int = 1,
    convolve: Convolve = "auto",
) -> Match:
    """The kernel that matches ``template`` to ``science`` (or the other way) on one grid.

    ``auto`` convolves the sharper image, the template when the two are equal or unknown. Orders
    are those of the polynomials over the image. Raises KernelFitError when too few stamps agree,
    ParameterError on wrong options, RecipeError when shapes differ.
    """
    _check(science, template, spatial_order, background_order, convolve)
    science_fwhm = science.fwhm_px or measure_fwhm_px(science)
    template_fwhm = template.fwhm_px or measure_fwhm_px(template)
    direction = _direction(convolve, science_fwhm, template_fwhm)
    sharp, broad = (template, science) if direction == "template" else (science, template)
    widths = (template_fwhm, science_fwhm)
    basis = build_basis(basis_sigmas_px(*(widths if direction == "template" else widths[::-1])))
    needed = max(LEAST_STAMPS, (spatial_order + 1) * (spatial_order + 2))
    stamps = _gather(sharp, broad, basis, max(template_fwhm or 0.0, science_fwhm or 0.0), needed)
    fit = _Fit(basis, spatial_order, background_order, science.shape)
    solution, keep, chi = fit.solve_robustly(stamps, needed)
    kernel, background = fit.unpack(solution)
    background[0] += sky_level(broad).mean - kernel.sum * sky_level(sharp).mean
    if not (np.isfinite(kernel.sum) and kernel.sum > 0):
        raise KernelFitError(0, needed)
    places = list(zip(stamps.x.tolist(), stamps.y.tolist(), strict=True))
    return Match(
        kernel,
        background,
        background_order,
        direction,
        kernel.sum if direction == "template" else 1.0 / kernel.sum,
        tuple(p for p, k in zip(places, keep, strict=True) if k),
        tuple(p for p, k in zip(places, keep, strict=True) if not k),
        float(np.median(chi[keep])),
        science_fwhm,
        template_fwhm,
    )


def _check(
    science: MaskedImage, template: MaskedImage, spatial: int, background: int, convolve: str
) -> None:
    if science.shape != template.shape:
        raise RecipeError(f"science {science.shape} and template {template.shape} differ in shape")
    for name, order in (("spatial_order", spatial), ("background_order", background)):
        if not 0 <= order <= 4:
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


def _gather(
    sharp: MaskedImage, broad: MaskedImage, basis: Basis, fwhm_px: float, needed: int
) -> Stamps:
    """Stamps around sources, or tiles of the image when there are too few sources."""
    usable = usable_for_fit(broad, sharp, basis.half_px)
    half = round(1.5 * basis.half_px)
    places = find_stamps(sharp, usable, fwhm_px or 3.5, half)
    if len(places) < FEW_STAMPS * needed:
        tiles = tile_places(sharp, usable, half)
        places = tiles if len(tiles) > len(places) else places
    stamps = _reduced(sharp, broad, usable, basis, places)
    if len(stamps) < needed:
        raise KernelFitError(len(stamps), needed)
    return stamps


def _reduced(
    sharp: MaskedImage,
    broad: MaskedImage,
    usable: NDArray[np.bool_],
    basis: Basis,
    places: Places,
) -> Stamps:
    """The sums of all stamps; sky levels are taken off so that the signal weights are signal."""
    template = _above_sky(sharp, sharp.usable(FIT_REJECT))
    science = _above_sky(broad, usable)
    ratio = _flux_ratio(template, science, usable, places)
    spread = 1.0 / (4.0 * np.pi * basis.sigmas_px[1] ** 2)
    noise = broad.variance + ratio**2 * spread * np.where(
        sharp.usable(FIT_REJECT), sharp.variance, 0.0
    )
    variance = np.where(usable, noise + (MODEL_ERROR * science) ** 2, 0.0).astype(np.float32)
    return reduce_stamps(
        template, science, variance, usable, basis, places.x, places.y, places.half_px
    )


def _above_sky(image: MaskedImage, usable: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Flux above the one sky level of the image; 0 where not usable."""
    level = np.float32(sky_level(image).mean)
    return np.where(usable, image.flux - level, np.float32(0.0)).astype(np.float32)


def _flux_ratio(
    template: NDArray[np.float32],
    science: NDArray[np.float32],
    usable: NDArray[np.bool_],
    places: Places,
) -> float:
    """Median over the stamps of science flux per template flux (rough: it weighs noise only)."""
    ratios = []
    for x, y in zip(places.x.tolist(), places.y.tolist(), strict=True):
        box = np.s_[max(0, y - 5) : y + 6, max(0, x - 5) : x + 6]
        bright = float(template[box][usable[box]].sum())
        if bright > 0:
            ratios.append(float(science[box][usable[box]].sum()) / bright)
    return float(np.median(ratios)) if ratios else 1.0


@dataclass(frozen=True, slots=True)
class _Fit:
    """Unknowns: weight of element 0; polynomials of the other elements; background polynomial."""

    basis: Basis
    spatial_order: int
    background_order: int
    shape: tuple[int, int]

    def solve_robustly(
        self, stamps: Stamps, needed: int
    ) -> tuple[Floats, NDArray[np.bool_], Floats]:
        """(unknowns, used stamps, chi of every stamp). Raises KernelFitError."""
        trust = np.ones(len(stamps))
        solution = self.solve(stamps, trust)
        for _ in range(SOFT_ROUNDS):
            chi, _ = self.judge(stamps, solution)
            trust = 1.0 / np.maximum(1.0, chi / max(1.0, float(np.median(chi)))) ** 4
            solution = self.solve(stamps, trust)
        keep = np.ones(len(stamps), dtype=np.bool_)
        for _ in range(MOST_ROUNDS):
            chi, scale = self.judge(stamps, solution)
            agreeing = _agreeing(chi, scale, keep)
            if agreeing.sum() < needed:
                raise KernelFitError(int(agreeing.sum()), needed)
            done = bool((agreeing == keep).all())
            keep = agreeing
            solution = self.solve(stamps, keep.astype(np.float64))
            if done:
                break
        return solution, keep, self.judge(stamps, solution)[0]

    def solve(self, stamps: Stamps, trust: Floats) -> Floats:
        """Least squares over stamps weighted by ``trust``."""
        n, spatial = self.basis.count, self._terms(stamps, self.spatial_order)
        sky = self._terms(stamps, self.background_order)
        q, r = stamps.products * trust[:, None, None], stamps.responses * trust[:, None]
        k, b = spatial.shape[1], sky.shape[1]
        inner, size = (n - 1) * k, 1 + (n - 1) * k + b
        matrix, right = np.zeros((size, size)), np.zeros(size)
        kernel, back = slice(1, 1 + inner), slice(1 + inner, size)
        matrix[0, 0] = q[:, 0, 0].sum()
        matrix[0, kernel] = np.einsum("ki,ka->ia", q[:, 0, 1:n], spatial).ravel()
        matrix[0, back] = np.einsum("k,ka->a", q[:, 0, n], sky)
        block = np.einsum("kij,ka,kb->iajb", q[:, 1:n, 1:n], spatial, spatial)
        matrix[kernel, kernel] = block.reshape(inner, inner)
        cross = np.einsum("ki,ka,kb->iab", q[:, 1:n, n], spatial, sky)
        matrix[kernel, back] = cross.reshape(inner, b)
        matrix[back, back] = np.einsum("k,ka,kb->ab", q[:, n, n], sky, sky)
        right[0] = r[:, 0].sum()
        right[kernel] = np.einsum("ki,ka->ia", r[:, 1:n], spatial).ravel()
        right[back] = np.einsum("k,ka->a", r[:, n], sky)
        upper = np.triu(matrix)
        matrix = upper + np.triu(upper, 1).T
        scale = right[0] / matrix[0, 0] if matrix[0, 0] > 0 else 1.0
        matrix[np.arange(1, 1 + inner), np.arange(1, 1 + inner)] += 1.0 / (PRIOR_SIGMA * scale) ** 2
        return np.asarray(solve_positive(matrix, right))

    def judge(self, stamps: Stamps, solution: Floats) -> tuple[Floats, Floats]:
        """Per stamp: rms residual / expected noise; flux scale of its own relative to the fit's."""
        kernel, background = self.unpack(solution)
        weights = self._terms(stamps, self.spatial_order) @ kernel.weights.T
        sky = self._terms(stamps, self.background_order) @ background
        here = np.concatenate([weights, sky[:, None]], axis=1)
        fitted = np.einsum("ki,kij->kj", here, stamps.products)
        left = stamps.power - 2.0 * (here * stamps.responses).sum(1) + (here * fitted).sum(1)
        chi = np.sqrt(np.maximum(left, 0.0) / np.maximum(stamps.expected, 1e-300))
        model = np.einsum("ki,kij->kj", weights, stamps.products[:, :-1, :])
        flux = (weights * stamps.responses[:, :-1]).sum(1) - sky * model[:, -1]
        scale = flux / np.maximum((weights * model[:, :-1]).sum(1), 1e-300)
        return chi, scale

    def unpack(self, solution: Floats) -> tuple[MatchingKernel, Floats]:
        """Kernel and background coefficients from the unknowns."""
        n = self.basis.count
        terms = (self.spatial_order + 1) * (self.spatial_order + 2) // 2
        weights = np.zeros((n, terms))
        weights[0, 0] = solution[0]
        weights[1:] = solution[1 : 1 + (n - 1) * terms].reshape(n - 1, terms)
        kernel = MatchingKernel(self.basis.elements(), weights, self.spatial_order, self.shape)
        return kernel, solution[1 + (n - 1) * terms :]

    def _terms(self, stamps: Stamps, order: int) -> Floats:
        return np.ascontiguousarray(polynomial_terms(order, stamps.x, stamps.y, self.shape).T)


def _agreeing(chi: Floats, scale: Floats, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Stamps whose residual and flux scale are like those of the stamps kept so far."""
    middle, spread = float(np.median(chi[keep])), robust_sigma(chi[keep])
    quiet = chi <= max(WORST_CHI, middle + 4.0 * spread)
    same = float(np.median(scale[keep]))
    close = np.abs(scale - same) <= max(4.0 * robust_sigma(scale[keep]), 0.03)
    agreeing: NDArray[np.bool_] = quiet & close
    return agreeing
