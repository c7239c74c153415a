"""Flux scale and shift between two images whose PSFs are known, from the stars of both.

Each star is measured on both images after the filters of proper subtraction, which give both one
PSF: what a wrong PSF or a neighbour does to the flux is the same on both and leaves their ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.errors import KernelFitError
from app.pixels.background import FIT_REJECT
from app.pixels.candidates import find_sources
from app.pixels.convolve import convolve
from app.pixels.image import MaskedImage
from app.pixels.proper_filters import Filters, Noise, PsfPair
from app.pixels.psf_field import Profile
from app.pixels.statistics import robust_sigma

Floats = NDArray[np.float64]

LEAST_STARS: Final = 3
MOST_STARS: Final = 100
STAR_SIGNIFICANCE: Final = 30.0
ROUNDS: Final = 3
CENTRINGS: Final = 2
CLIP_SIGMA: Final = 4.0
GUESS_FWHM_PX: Final = 4.0


@dataclass(frozen=True, slots=True)
class Registration:
    """How the template's stars lie on those of the science image.

    ``scale``: science flux per template flux, ``scale_error`` its standard error; ``shift_px``
    (x, y): where the template's stars lie less where the science image's do, ``shift_scatter_px``
    that of single stars beyond their noise, for an axis; ``stars``: how many told it.
    """

    scale: float
    scale_error: float
    shift_px: tuple[float, float]
    shift_scatter_px: float
    stars: int


def register(
    science: MaskedImage, template: MaskedImage, psfs: PsfPair, noise: Noise, scale: float
) -> Registration:
    """Scale and shift of two images above their sky, from a first guess of the scale.

    Raises KernelFitError when fewer than three stars are in both.
    """
    boxes = _Boxes(science, template, psfs.half_px)
    found = Registration(scale, 0.0, (0.0, 0.0), 0.0, 0)
    for _ in range(ROUNDS):
        found = boxes.better(psfs.filters(noise, found.scale, found.shift_px), noise, found)
    return found


class _Boxes:
    """Parts of both images around the template's stars, the filters' reach included."""

    def __init__(self, science: MaskedImage, template: MaskedImage, half_px: int) -> None:
        self._half = half_px
        self._science, self._template = science, template
        usable = science.usable(FIT_REJECT) & template.usable(FIT_REJECT)
        peaks = find_sources(template, template.fwhm_px or GUESS_FWHM_PX, STAR_SIGNIFICANCE)
        ny, nx = science.shape
        reach = 2 * half_px
        self._middles: list[tuple[int, int]] = []
        for x, y in zip(peaks.x.tolist(), peaks.y.tolist(), strict=True):
            inside = reach <= x < nx - reach and reach <= y < ny - reach
            if inside and usable[self._box(x, y)].all():
                self._middles.append((x, y))
            if len(self._middles) == MOST_STARS:
                break
        if len(self._middles) < LEAST_STARS:
            raise KernelFitError(len(self._middles), LEAST_STARS)

    def _box(self, x: int, y: int) -> tuple[slice, slice]:
        reach = 2 * self._half
        return slice(y - reach, y + reach + 1), slice(x - reach, x + reach + 1)

    def better(self, filters: Filters, noise: Noise, before: Registration) -> Registration:
        """Scale and shift once more, with the filters of those before."""
        x, y = np.array(self._middles, dtype=np.float64).T
        kept, turned = filters.science.at(x, y), filters.template.at(x, y)
        psf = filters.psf_field()
        found = np.empty((len(x), 3))
        errors = np.empty((len(x), 3))
        for n, (column, row) in enumerate(self._middles):
            box = self._box(column, row)
            stars = (
                self._filtered(self._science.flux[box], kept[n]),
                self._filtered(self._template.flux[box], turned[n]),
            )
            white = (
                noise.science * float((kept[n] ** 2).sum()),
                noise.template * float((turned[n] ** 2).sum()),
            )
            found[n], errors[n] = _compare(psf.profile(column, row), stars, white)
        share, x_shift, y_shift = (_robust_mean(found[:, k], errors[:, k]) for k in range(3))
        return Registration(
            before.scale * (1.0 + share[0]),
            before.scale * share[1],
            (before.shift_px[0] + x_shift[0], before.shift_px[1] + y_shift[0]),
            float(np.hypot(x_shift[2], y_shift[2]) / np.sqrt(2.0)),
            len(x),
        )

    def _filtered(self, part: NDArray[np.float32], kernel: Floats) -> Floats:
        inner = slice(self._half, -self._half)
        return convolve(part, kernel)[inner, inner].astype(np.float64)


def _compare(
    profile: Profile, stars: tuple[Floats, Floats], white: tuple[float, float]
) -> tuple[Floats, Floats]:
    """How one star differs on two images of one PSF, and the errors: the first's flux over the
    second's less 1, and by how much the second lies further along x and y (px).

    ``white``: the variance of their pixels.
    """
    half = stars[0].shape[0] // 2
    dx = dy = 0.0
    for _ in range(CENTRINGS):
        terms = _fit(profile, half, dx, dy) @ (stars[0] + stars[1]).ravel()
        dx, dy = (
            float(np.clip(d + t / terms[0], -1.5, 1.5))
            for d, t in zip((dx, dy), terms[1:3], strict=True)
        )
    weights = _fit(profile, half, dx, dy)
    first, second = (weights @ star.ravel() for star in stars)
    power = (weights**2).sum(axis=1)
    flux = np.array([first[0], second[0]])
    noise = np.sqrt(np.outer(white, power)) / np.abs(flux)[:, None]
    differences = np.array(
        [
            flux[0] / flux[1] - 1.0,
            second[1] / flux[1] - first[1] / flux[0],
            second[2] / flux[1] - first[2] / flux[0],
        ]
    )
    return differences, np.sqrt((noise[:, :3] ** 2).sum(axis=0))


def _fit(profile: Profile, half: int, dx: float, dy: float) -> Floats:
    """What pixels are weighted with (4, pixels) to tell a star's flux, flux times its offset from
    (dx, dy) along x and y, and the level beneath, by least squares."""
    shown = profile.stamp(half, dx=dx, dy=dy)
    by_y, by_x = np.gradient(shown)
    design = np.stack([shown, -by_x, -by_y, np.ones_like(shown)]).reshape(4, -1)
    weights: Floats = np.linalg.solve(design @ design.T, design)
    return weights


def _robust_mean(values: Floats, errors: Floats) -> tuple[float, float, float]:
    """Weighted mean of what agrees, its standard error, and the scatter beyond the errors."""
    middle = float(np.median(values))
    beyond = float(np.sqrt(max(0.0, robust_sigma(values) ** 2 - float(np.median(errors**2)))))
    spread = np.hypot(errors, beyond)
    weights = np.where(np.abs(values - middle) <= CLIP_SIGMA * spread, spread**-2.0, 0.0)
    total = float(weights.sum())
    if total == 0.0:
        return middle, float(np.median(errors)), beyond
    return float((weights * values).sum() / total), total**-0.5, beyond
