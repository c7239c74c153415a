"""Match two images: the kernel and background that turn one into the other.

Alard & Lupton 1998 (ApJ 503, 325) with the basis of :mod:`app.pixels.kernels`. Each stamp has one
noise variance; stamps that disagree with the common solution (variable stars, unmarked defects)
lose weight first and are left out then, until the set no longer changes. Pixels where the residual
shows something new are left out too, and the fit is done again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from app.errors import KernelFitError, ParameterError, RecipeError
from app.pixels.background import FIT_REJECT, sky_level
from app.pixels.candidates import (
    Places,
    find_stamps,
    show_sources,
    tile_places,
    usable_for_fit,
)
from app.pixels.convolve import convolve as convolve_plane
from app.pixels.detect import smooth
from app.pixels.equations import MODEL_ERROR, Stamps, reduce_stamps
from app.pixels.fitting import KernelFit
from app.pixels.image import MaskedImage
from app.pixels.kernels import (
    Basis,
    MatchingKernel,
    basis_sigmas_px,
    build_basis,
    polynomial_powers,
)
from app.pixels.psf import measure_fwhm_px
from app.pixels.statistics import robust_sigma, thinned

Floats = NDArray[np.float64]
Plane = NDArray[np.float32]
Convolve = Literal["auto", "template", "science"]

LEAST_STAMPS: Final = 3
FEW_STAMPS: Final = 4
"""With fewer than this many times the stamps needed, the whole image is tiled instead."""
MOST_CLEANINGS: Final = 3
UNKNOWN_FWHM_PX: Final = 3.5
LEAST_SIGMAS: Final = 10.0
"""A kernel sum less significant than this says that the two images have nothing in common."""


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
        return background_plane(self.background, self.background_order, self.kernel.shape)


def background_plane(
    coefficients: Floats, order: int, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """A polynomial over the image, in the terms of kernels.polynomial_terms."""
    ny, nx = shape
    u = 2.0 * np.arange(nx) / max(nx - 1, 1) - 1.0
    v = 2.0 * np.arange(ny) / max(ny - 1, 1) - 1.0
    across = np.stack([u**i for i in range(order + 1)])
    down = np.zeros((order + 1, ny))
    for coefficient, (i, j) in zip(coefficients, polynomial_powers(order), strict=True):
        down[i] += coefficient * v**j
    level = np.empty(shape, dtype=np.float32)
    for y in range(ny):
        level[y] = sum(down[i, y] * across[i] for i in range(order + 1))
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
    needed = max(LEAST_STAMPS, (spatial_order + 1) * (spatial_order + 2))
    if direction == "template":
        pair = _pair(template, science, template_fwhm, science_fwhm, needed)
    else:
        pair = _pair(science, template, science_fwhm, template_fwhm, needed)
    fit = KernelFit(pair.basis, spatial_order, background_order, science.shape)
    stamps, solution, keep, chi = _solve(pair, fit, needed)
    kernel, background = fit.unpack(solution)
    if not (kernel.sum > 0 and fit.significance(stamps.chosen(keep), solution) > LEAST_SIGMAS):
        raise KernelFitError(0, needed)
    background[0] += pair.broad_sky - kernel.sum * pair.sharp_sky
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


@dataclass(frozen=True, slots=True)
class _Pair:
    """The image to convolve (``sharp``) and the one it is to look like (``broad``), above sky.

    ``usable`` pixels of broad have the whole kernel's footprint of sharp; ``variance`` is that of
    the residual, the model's own error included. Planes are 0 where not usable.
    """

    sharp: Plane
    broad: Plane
    variance: Plane
    sharp_variance: Plane
    usable: NDArray[np.bool_]
    sharp_sky: float
    broad_sky: float
    fwhm_px: float
    basis: Basis
    places: Places


def _pair(
    sharp: MaskedImage,
    broad: MaskedImage,
    sharp_fwhm: float | None,
    broad_fwhm: float | None,
    needed: int,
) -> _Pair:
    """Planes and stamp places of a pair. Raises KernelFitError with too few places."""
    basis = build_basis(basis_sigmas_px(sharp_fwhm, broad_fwhm))
    fwhm_px = max(sharp_fwhm or 0.0, broad_fwhm or 0.0) or UNKNOWN_FWHM_PX
    usable = usable_for_fit(broad, sharp, basis.half_px)
    places = _places(sharp, broad, usable, fwhm_px, basis.half_px, needed)
    if len(places) < needed:
        raise KernelFitError(len(places), needed)
    sharp_good = sharp.usable(FIT_REJECT)
    sharp_sky, broad_sky = sky_level(sharp).mean, sky_level(broad).mean
    above_sharp = np.where(sharp_good, sharp.flux - np.float32(sharp_sky), np.float32(0.0))
    above_broad = np.where(usable, broad.flux - np.float32(broad_sky), np.float32(0.0))
    ratio = _flux_ratio(above_sharp, above_broad, usable, places)
    spread = 1.0 / (4.0 * np.pi * basis.sigmas_px[1] ** 2)
    sharp_variance = np.where(sharp_good, sharp.variance, np.float32(0.0))
    noise = broad.variance + ratio**2 * spread * sharp_variance
    variance = np.where(usable, noise + (MODEL_ERROR * above_broad) ** 2, 0.0)
    return _Pair(
        above_sharp.astype(np.float32),
        above_broad.astype(np.float32),
        variance.astype(np.float32),
        sharp_variance.astype(np.float32),
        usable,
        sharp_sky,
        broad_sky,
        fwhm_px,
        basis,
        places,
    )


def _places(
    sharp: MaskedImage,
    broad: MaskedImage,
    usable: NDArray[np.bool_],
    fwhm_px: float,
    kernel_half_px: int,
    needed: int,
) -> Places:
    """Stamps around sources that both images show, or tiles when there are too few of those."""
    half = max(kernel_half_px, round(2.2 * fwhm_px))
    seen = usable & show_sources(broad, fwhm_px)
    places = find_stamps(sharp, usable, seen, fwhm_px, half)
    if len(places) < FEW_STAMPS * needed:
        tiles = tile_places(sharp, seen, half)
        places = tiles if len(tiles) > len(places) else places
    return places


def _solve(
    pair: _Pair, fit: KernelFit, needed: int
) -> tuple[Stamps, Floats, NDArray[np.bool_], Floats]:
    """Fit, leave out pixels that show something changed, and fit again until there are none."""
    usable = pair.usable
    stamps = _reduced(pair, usable, pair.places.x, pair.places.y)
    noise = np.sqrt(smooth(pair.variance, pair.fwhm_px, squared=True))
    for cleaning in range(MOST_CLEANINGS + 1):
        if len(stamps) < needed:
            raise KernelFitError(len(stamps), needed)
        solution, keep, chi = fit.solve_robustly(stamps, needed)
        changed = _changed(pair, fit, solution, noise) & usable
        hit = _touched(changed, stamps, pair.places.half_px)
        if cleaning == MOST_CLEANINGS or not hit.any():
            break
        usable = usable & ~changed
        again = stamps.chosen(hit)
        fresh = _reduced(pair, usable, again.x.astype(np.int64), again.y.astype(np.int64))
        stamps = stamps.chosen(~hit).joined(fresh)
    return stamps, solution, keep, chi


def _reduced(
    pair: _Pair, usable: NDArray[np.bool_], x: NDArray[np.int64], y: NDArray[np.int64]
) -> Stamps:
    planes = (pair.sharp, pair.broad, pair.variance, pair.sharp_variance, usable)
    return reduce_stamps(*planes, pair.basis, x, y, pair.places.half_px)


def _touched(changed: NDArray[np.bool_], stamps: Stamps, half_px: int) -> NDArray[np.bool_]:
    """Which stamps hold a changed pixel."""
    boxes = zip(stamps.x.astype(int).tolist(), stamps.y.astype(int).tolist(), strict=True)
    found = [
        bool(
            changed[
                max(0, y - half_px) : y + half_px + 1, max(0, x - half_px) : x + half_px + 1
            ].any()
        )
        for x, y in boxes
    ]
    return np.array(found, dtype=np.bool_)


def _changed(pair: _Pair, fit: KernelFit, solution: Floats, noise: Plane) -> NDArray[np.bool_]:
    """Pixels around what a fit leaves unexplained: 5 sigma and a tenth of the model's own flux.

    A transient or variable star in or near a stamp would else pull the kernel; what an imperfect
    kernel leaves of a bright star is less than a tenth.
    """
    kernel, background = fit.unpack(solution)
    model = convolve_plane(pair.sharp, kernel.at if kernel.varies else kernel.centre())
    level = background_plane(background, fit.background_order, fit.shape)
    left = np.where(pair.usable, pair.broad - model - level, np.float32(0.0))
    flux = smooth(left.astype(np.float32), pair.fwhm_px)
    seen = pair.usable & (noise > 0)
    pull = np.where(seen, flux / np.where(seen, noise, 1.0), 0.0)
    limit = 5.0 * max(1.0, robust_sigma(thinned(pull[seen])))
    share = 0.1 * np.abs(smooth(np.where(pair.usable, model, np.float32(0.0)), pair.fwhm_px))
    found = (np.abs(pull) > limit) & (np.abs(flux) > share)
    size = 2 * round(1.2 * pair.fwhm_px) + 1
    changed: NDArray[np.bool_] = maximum_filter(found, size=size)
    return changed


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
