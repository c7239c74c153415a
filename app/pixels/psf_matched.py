"""Exposures brought to one PSF, place by place, for stacks whose PSF is to be known exactly.

Kernels (:mod:`app.pixels.model_psf`) are made from an exposure's own PSF at places spread over it;
between them they vary as a polynomial of the place, and are held over tiles of pixels. No kernel is
to sharpen: the model is broader than every PSF along its longest axis, wherever it is broadest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from app.errors import CoverageError
from app.pixels.convolve import LEAST_COVERAGE, convolve_strip, or_window, tile_middles
from app.pixels.detect import gaussian_psf
from app.pixels.image import MaskedImage, bits
from app.pixels.kernels import MatchingKernel, box_reach_px, polynomial_terms
from app.pixels.model_psf import MARGIN, ModelPsf, matching_stamp
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.psf_field import Profile, PsfShape, fit_stamps
from app.pixels.warped import Bounds, PixelSet, Warped

Plane = NDArray[np.float32]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Known = Literal["psf", "fwhm"]
"""What a kernel is made from: a measured PSF, or a Gaussian of a known width."""

ORDER: Final = 2
"""Of the polynomials by which kernels vary."""
PLACES_PER_TERM: Final = 2
STRIP_ROWS: Final = 16
"""A kernel is held constant over so many rows of a tile's columns: where it changes at once, stars
lose or gain some light."""
NOISE_SHARE: Final = 0.999
"""The squared kernel, which is the more compact one, is cut to the box with this much of it."""
EXACT: Final = 0.02
"""Pixels whose kernels lack a larger share than this have no exact PSF."""
NO_DATA: Final = bits("NO_DATA")
INEXACT_PSF: Final = bits("INEXACT_PSF")


@dataclass(frozen=True, slots=True)
class SampledPsf:
    """The PSF of an exposure at K places: ``x``, ``y`` (K,) and a profile each.

    ``widest_px``: the FWHM along the longest axis where that is largest.
    """

    x: Floats
    y: Floats
    profiles: tuple[Profile, ...]
    widest_px: float
    known: Known


@dataclass(frozen=True, slots=True)
class MatchedTo:
    """How inputs come to one PSF: the ``model``, and for each input the kernel that leads to it and
    what that was made from."""

    model: ModelPsf
    kernels: tuple[MatchingKernel, ...]
    known: tuple[Known, ...]


def sample_psf(psf: CoaddPsf | None, fwhm_px: float | None) -> SampledPsf | None:
    """``psf`` where it holds; else a Gaussian of ``fwhm_px``; None when nothing is known."""
    if psf is not None:
        x, y = psf.places()
        profiles = tuple(psf.profile(*place) for place in zip(x.tolist(), y.tolist(), strict=True))
        try:
            widest = max((_longest_px(each.shape()) for each in profiles), default=None)
        except CoverageError:  # a PSF that came with a file may show no peak
            widest = None
        if widest is not None:
            return SampledPsf(x, y, profiles, widest, "psf")
    if fwhm_px is None:
        return None
    nowhere = np.zeros(1)
    return SampledPsf(nowhere, nowhere, (Profile(gaussian_psf(fwhm_px), 1.0),), fwhm_px, "fwhm")


def _longest_px(shape: PsfShape) -> float:
    """FWHM along the longest axis."""
    trace, e = shape.ixx + shape.iyy, np.hypot(*shape.ellipticity)
    return float(shape.fwhm_px * np.sqrt(0.5 * trace * (1.0 + e)) / shape.sigma_px)


def automatic_fwhm_px(inputs: Sequence[Warped], psfs: Sequence[SampledPsf]) -> float:
    """MARGIN times the FWHM of the broadest input, or what its broadest place needs."""
    typical = [each.fwhm_px for each in inputs if each.fwhm_px is not None]
    return max(MARGIN * max(typical), *(each.widest_px for each in psfs))


def match_psfs(psfs: Sequence[SampledPsf], model: ModelPsf, shape: tuple[int, int]) -> MatchedTo:
    """The kernels that bring ``psfs``, on a target of ``shape`` (ny, nx), to ``model``."""
    return MatchedTo(
        model,
        tuple(_kernel(each, model, shape) for each in psfs),
        tuple(each.known for each in psfs),
    )


def _kernel(psf: SampledPsf, model: ModelPsf, shape: tuple[int, int]) -> MatchingKernel:
    half = model.reach_px
    seen = np.stack([matching_stamp(each.stamp(half), model, half) for each in psf.profiles])
    orders = range(ORDER, 0, -1)
    fit = (k for k in orders if PLACES_PER_TERM * (k + 1) * (k + 2) // 2 <= len(seen))
    order = next(fit, 0)
    stamps = fit_stamps(polynomial_terms(order, psf.x, psf.y, shape), seen)
    return MatchingKernel(stamps, np.eye(len(stamps)), order, shape)


@dataclass(frozen=True, slots=True)
class PsfMatched:
    """A :class:`app.pixels.warped.Warped` whose rows are convolved with ``kernel`` on the way.

    Pixels without a usable value, and those of ``excluded``, lend nothing and the rest is
    renormalised, with INEXACT_PSF; where they had half of the kernel or more there is no data, nor
    at unusable pixels themselves. Variance is propagated with the squared kernel (noise that
    neighbours share after warping is not followed). Mask bits spread, from pixels that lend, over
    the box that holds 99.5 % of the kernel.
    """

    origin: Warped
    kernel: MatchingKernel
    fwhm_px: float
    excluded: PixelSet | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.origin.shape

    @property
    def bounds(self) -> Bounds:
        """Those of the origin."""
        return self.origin.bounds

    @property
    def zero_point_mag(self) -> float | None:
        """That of the origin."""
        return self.origin.zero_point_mag

    @property
    def weight(self) -> float:
        """That of the origin over the power of the kernel in the middle."""
        return float(self.origin.weight / (self.kernel.centre() ** 2).sum())

    def rows(self, start: int, stop: int) -> MaskedImage:
        """Rows of the convolved exposure."""
        half, ny = self._half_px, self.shape[0]
        cut = half - box_reach_px(self.kernel.centre() ** 2, NOISE_SHARE)
        inner = slice(cut, 2 * half + 1 - cut)
        first, last = max(0, start - half), min(ny, stop + half)
        image = self.origin.rows(first, last)
        good, lends = self._lending(image, first, last)
        frame = ((half - (start - first), half - (last - stop)), (0, 0))
        flux, noise, present = (
            np.pad(np.where(lends, plane, np.float32(0)), frame)
            for plane in (image.flux, image.variance, np.float32(1))
        )
        done = MaskedImage(
            np.empty((stop - start, self.shape[1]), np.float32),
            np.empty((stop - start, self.shape[1]), np.float32),
            self._spread(image.mask, lends, frame),
            fwhm_px=self.fwhm_px,
            zero_point_mag=self.zero_point_mag,
        )
        own = slice(start - first, stop - first)
        done.mask[:] |= image.mask[own]
        for y in self._strips(start, stop):
            kernels, source = self._kernels(y.start), slice(y.start - start, y.stop - start)
            around = slice(source.start, source.stop + 2 * half)
            near = slice(around.start + cut, around.stop - cut)
            squared = kernels[:, inner, inner] ** 2
            share = convolve_strip(present[around], kernels, present=True)
            held = good[own][source] & (share >= LEAST_COVERAGE)
            divisor = np.where(held, share, np.float32(np.nan))
            done.flux[source] = convolve_strip(flux[around], kernels) / divisor
            done.variance[source] = convolve_strip(noise[near], squared) / divisor**2
            done.mask[source] |= np.where(held, 0, NO_DATA).astype(np.int32)
            inexact = np.abs(share - 1.0) > EXACT
            done.mask[source] |= np.where(inexact, INEXACT_PSF, 0).astype(np.int32)
        return done

    @property
    def _half_px(self) -> int:
        return int(self.kernel.elements.shape[1]) // 2

    def _lending(self, image: MaskedImage, first: int, last: int) -> tuple[Bools, Bools]:
        """Which pixels are usable, and which of them lend to others."""
        good = image.usable()
        if self.excluded is None:
            return good, good
        return good, good & ~self.excluded.rows(first, last, self.shape[1])

    def _spread(
        self, mask: NDArray[np.int32], lends: Bools, frame: tuple[tuple[int, int], tuple[int, int]]
    ) -> NDArray[np.int32]:
        half = self._half_px
        wide = or_window(np.pad(np.where(lends, mask, 0), frame), self.kernel.reach_px())
        return wide[half : len(wide) - half]

    @staticmethod
    def _strips(start: int, stop: int) -> list[slice]:
        """Rows of one kernel for each tile, which begin where they do in the whole image."""
        edges = [start, *range((start // STRIP_ROWS + 1) * STRIP_ROWS, stop, STRIP_ROWS), stop]
        return [slice(*pair) for pair in pairwise(edges)]

    def _kernels(self, y: int) -> Floats:
        """The kernels of all tiles of columns in the strip that holds row ``y``."""
        if not self.kernel.varies:
            return self.kernel.centre()[None]
        x = tile_middles(self.shape[1])
        middle = y // STRIP_ROWS * STRIP_ROWS + 0.5 * (STRIP_ROWS - 1)
        return self.kernel.at(x, np.full_like(x, middle))
