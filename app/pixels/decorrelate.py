"""Whiten the noise of a difference image (Reiss & Lupton 2016, DMTN-021, eq. 1).

Convolving one image makes neighbouring pixels of ``D = U - K * C`` share its noise. The filter
``psi(k) = sqrt((v_U + v_C k0^2) / (v_U + v_C |K(k)|^2))``, k0 the kernel sum and v the typical
variances, makes the noise white again and leaves fluxes as they are (psi(0) = 1). It follows the
kernel over the image; the ratio of the variances is one for all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import scipy
from numba import njit
from numpy.typing import NDArray

from app.errors import CoverageError, ParameterError
from app.pixels.background import FIT_REJECT
from app.pixels.bands import over_rows, side_by_side
from app.pixels.convolve import TILE_PX, tile_middles
from app.pixels.convolved import ConvolvedImage, PlacedKernels
from app.pixels.detect import gaussian_psf
from app.pixels.image import MaskedImage, has_value, lattice
from app.pixels.kernels import MatchingKernel, box_reach_px, polynomial_terms
from app.pixels.matching import Match
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.psf_field import Profile, fit_field, fit_stamps
from app.pixels.statistics import quantiles
from app.pixels.subtract import Difference, measure_noise, row_sample, scale_rows

Floats = NDArray[np.float64]
Plane = NDArray[np.float32]

HALF_PX: Final = 15
PLACES: Final = 5
"""Filters are made at so many places along each axis."""
EDGE_SHARE: Final = 0.1
"""What the filter may lack without making an EDGE: its wings only share out noise."""
VARIANCE_SAMPLE: Final = 100_000
KEPT_SHARE: Final = 0.998
"""The box that holds this share of |psi| is kept."""


@dataclass(frozen=True, slots=True)
class Whitened:
    """A difference image with white noise.

    ``psi`` is the filter: the PSF is that of the image that was not convolved, convolved with it.
    ``pull_sigma`` and ``variance_factor`` are those of :class:`app.pixels.subtract.Quality`.
    """

    image: MaskedImage
    psi: MatchingKernel
    pull_sigma: float
    variance_factor: float


def whiten(
    difference: Difference,
    science: MaskedImage,
    template: MaskedImage,
    match: Match,
    *,
    rescale_variance: bool = False,
) -> Whitened:
    """``difference``, as made of the images by ``match``, with white noise.

    With ``rescale_variance`` the variance is multiplied by the square of the measured scatter of
    source-free pixels. Raises CoverageError when nothing is left.
    """
    images = (template, science) if match.convolved == "template" else (science, template)
    convolved, other = side_by_side(
        lambda: typical_variance(images[0]), lambda: typical_variance(images[1])
    )
    psi = _whitening_field(match.kernel, other, convolved)

    def shares(start: int, stop: int) -> Plane:
        return _variance_shares(match.kernel, psi, other / convolved, start, stop)

    image = filtered_difference(difference, psi, shares, match.convolved)
    pull, scale = measure_noise(row_sample(image), difference.blank, rescale_variance)
    scale_rows(image.variance, scale)
    return Whitened(_with_width(image, psi), psi, pull, scale)


def filtered_difference(
    difference: Difference,
    kernel: MatchingKernel,
    shares: Callable[[int, int], Plane],
    convolved: str,
) -> MaskedImage:
    """``difference`` convolved with a ``kernel`` of sum 1.

    ``shares`` of some rows (2, nx) are what the variances of the image that was not convolved, and
    of the one that was (``convolved``: template or science), are multiplied by. Raises
    CoverageError when nothing is left.
    """
    factor = np.float32(1.0 / difference.quality.variance_factor)
    plain = difference.image
    image = MaskedImage(
        np.empty_like(plain.flux),
        np.empty_like(plain.variance),
        np.empty_like(plain.mask),
        fwhm_px=plain.fwhm_px,
        zero_point_mag=plain.zero_point_mag,
    )
    filtered = ConvolvedImage(plain, kernel, EDGE_SHARE)

    def rows(start: int, stop: int) -> None:
        part = slice(start, stop)
        done = filtered.rows(start, stop, variance=False)
        image.flux[part], image.mask[part] = done.flux, done.mask
        _share_out(
            done.flux,
            plain.variance[part],
            difference.matched_template.variance[part],
            factor,
            shares(start, stop) if convolved == "template" else shares(start, stop)[::-1],
            image.variance[part],
        )

    over_rows(rows, len(image.flux), band_rows=TILE_PX)
    if not has_value(image.flux):
        raise CoverageError("pixels of the filtered difference", 0, 1)
    return image


@njit(cache=True, nogil=True)
def _share_out(
    flux: Plane, plain: Plane, matched: Plane, factor: np.float32, shares: Plane, variance: Plane
) -> None:
    """The variance of filtered rows: ``shares`` (2, nx) of the science image's and of the matched
    template's; ``plain`` times ``factor`` is the sum of both."""
    limit = np.float32(np.inf)
    for y in range(flux.shape[0]):
        for x in range(flux.shape[1]):
            template = matched[y, x]
            rest = plain[y, x] * factor - template
            total = shares[0, x] * rest + shares[1, x] * template
            variance[y, x] = total if abs(flux[y, x]) < limit else np.float32(np.nan)


def _with_width(image: MaskedImage, psi: MatchingKernel) -> MaskedImage:
    """``image`` with the FWHM that a Gaussian of its own has after the filter."""
    if image.fwhm_px is None:
        return image
    half = len(psi.centre()) // 2
    wide = np.pad(gaussian_psf(image.fwhm_px), half)
    stamp = scipy.signal.fftconvolve(wide, psi.centre(), mode="same")
    try:
        return replace(image, fwhm_px=Profile(stamp, 1.0).shape().fwhm_px)
    except CoverageError:  # too undersampled to have a width
        return image


def typical_variance(image: MaskedImage) -> float:
    """Median variance of the usable pixels. Raises CoverageError without one."""
    part = lattice(image, VARIANCE_SAMPLE)
    variances = part.variance[part.usable(FIT_REJECT)]
    if variances.size == 0:
        raise CoverageError("pixels with a variance", 0, 1)
    return quantiles(variances, 0.5)[0]


def _whitening_field(
    kernel: MatchingKernel, other_variance: float, convolved_variance: float
) -> MatchingKernel:
    """The filter as it follows the kernel over the image."""
    x, y = filter_places(kernel)
    filters = np.stack(
        [whitening_filter(each, other_variance, convolved_variance) for each in kernel.at(x, y)]
    )
    return filter_field(filters, x, y, kernel)


def filter_places(kernel: MatchingKernel) -> tuple[Floats, Floats]:
    """x and y of the places at which filters that follow ``kernel`` are made."""
    ny, nx = kernel.shape
    count = PLACES if kernel.varies else 1
    along_y, along_x = ((np.arange(count) + 0.5) * size / count - 0.5 for size in (ny, nx))
    y, x = (each.ravel() for each in np.meshgrid(along_y, along_x, indexing="ij"))
    return x, y


def filter_field(filters: Floats, x: Floats, y: Floats, kernel: MatchingKernel) -> MatchingKernel:
    """``filters`` of places (n, odd, odd), cut to what matters, and polynomials between them as
    ``kernel`` has them."""
    half = filters.shape[1] // 2
    reach = box_reach_px(np.abs(filters).mean(axis=0), KEPT_SHARE)
    inner = slice(half - reach, half + reach + 1)
    cut = filters[:, inner, inner]
    cut /= cut.sum(axis=(1, 2), keepdims=True)
    stamps = fit_stamps(polynomial_terms(kernel.order, x, y, kernel.shape), cut)
    return MatchingKernel(stamps, np.eye(len(stamps)), kernel.order, kernel.shape)


def whitening_filter(
    kernel: Floats, other_variance: float, convolved_variance: float, *, half_px: int = HALF_PX
) -> Floats:
    """psi as an image (2 half + 1 square), of sum 1.

    ``kernel`` is the matching kernel, ``convolved_variance`` that of the image it convolves, before
    convolution. Raises ParameterError unless the variances are positive.
    """
    for name, value in (("other", other_variance), ("convolved", convolved_variance)):
        if not (np.isfinite(value) and value > 0):
            raise ParameterError(f"{name}_variance", f"{value} is not a positive number")
    size = scipy.fft.next_fast_len(2 * max(kernel.shape[0], 2 * half_px + 1))
    power = np.abs(scipy.fft.rfft2(kernel, s=(size, size))) ** 2
    total = float(kernel.sum()) ** 2
    ratio = (other_variance + convolved_variance * total) / (
        other_variance + convolved_variance * power
    )
    psi = np.roll(scipy.fft.irfft2(np.sqrt(ratio), s=(size, size)), (half_px, half_px), axis=(0, 1))
    cut: Floats = psi[: 2 * half_px + 1, : 2 * half_px + 1]
    return cut / float(cut.sum())


def _variance_shares(
    kernel: MatchingKernel, psi: MatchingKernel, ratio: float, start: int, stop: int
) -> Plane:
    """(2, nx): what the variances of the image that was not convolved, and of the convolved one
    after convolution, are multiplied by in a whitened pixel.

    The first is sum(psi^2); with Parseval the second is sum((psi K)^2) / sum(K^2) =
    (k0^2 + ratio (1 - sum(psi^2))) / sum(K^2), ``ratio`` that of the variances before.
    """
    x = tile_middles(kernel.shape[1])
    y = np.full_like(x, 0.5 * (start + stop - 1))
    own = (psi.at(x, y) ** 2).sum(axis=(1, 2))
    kernels = kernel.at(x, y)
    both = kernels.sum(axis=(1, 2)) ** 2 + ratio * (1.0 - own)
    shares = np.stack([own, both / (kernels**2).sum(axis=(1, 2))])
    return np.repeat(shares, TILE_PX, axis=1)[:, : kernel.shape[1]].astype(np.float32)


def filtered_psf(psf: CoaddPsf, psi: PlacedKernels, corner: tuple[int, int]) -> CoaddPsf | None:
    """``psf`` (sampled at pixels) of an image after a filter; None where no input reaches it.

    ``corner`` (x, y): where the image's first pixel lies in that of the filter.
    """
    parts = []
    for each in psf.components:
        x, y = CoaddPsf((each,), psf.shape).places()
        if len(x) == 0:
            continue
        profiles = [
            scipy.signal.fftconvolve(each.field.profile(*place).samples, filter_here)
            for *place, filter_here in zip(
                x.tolist(), y.tolist(), psi.at(x + corner[0], y + corner[1]), strict=True
            )
        ]
        terms = (each.field.degree + 1) * (each.field.degree + 2) // 2
        field = fit_field(
            np.stack(profiles),
            x,
            y,
            degree=each.field.degree if len(x) > terms else 0,
            zero=each.field.zero,
            scale=each.field.scale,
            sampling=each.field.sampling,
            stars=each.field.stars,
        )
        parts.append(replace(each, field=field))
    return CoaddPsf(tuple(parts), psf.shape) if parts else None
