"""Sources of a difference image: found on its score, told from dipoles, measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import hypot
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.pixels.dia_dipole import MOST_SEPARATION_SIGMA, Dipole, fit_dipole, may_be_dipole
from app.pixels.dia_footprints import (
    NEGATIVE,
    POSITIVE,
    Footprint,
    Footprints,
    Peak,
    find_footprints,
)
from app.pixels.dia_images import DiaImages, Layer, cut_stamp
from app.pixels.dia_measure import (
    APERTURE_FWHM,
    Aperture,
    Moments,
    aperture,
    flags_of,
    has_bright_neighbour,
    reliability,
    shape,
)
from app.pixels.dia_psf_fit import PsfFit, fit_psf, forced_psf
from app.pixels.dia_score import Score, score_image
from app.pixels.image import MaskedImage, bits

THRESHOLD: Final = 5.0
GROW_SIGMA: Final = 2.4
MERGE_PX: Final = 2
SIDE_LOBE: Final = 0.2
"""A peak beside a stronger one of the other sign that has less than this part of its score is a
trough that convolution left, not a source."""
DETECTIONS: Final = bits("DETECTED", "DETECTED_NEGATIVE")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiaSource:
    """One source. Fluxes are in the unit of the images, places in their pixels (0-based).

    ``score``: its signed significance where it was found; ``fit``: PSF flux and place on the
    difference (of a dipole the middle between its lobes); ``science`` and ``template``: the PSF
    fluxes of these images there; ``footprint_px``: area of its footprint; ``flags``: names in
    :data:`app.pixels.dia_measure.FLAGS`; ``dipole``: the fit of two lobes where it applies.
    """

    score: float
    fit: PsfFit
    science: PsfFit
    template: PsfFit
    aperture: Aperture
    aperture_px: float
    moments: Moments
    footprint_px: int
    flags: frozenset[str]
    reliability: float
    dipole: Dipole | None

    @property
    def is_negative(self) -> bool:
        """Whether it is fainter on the science image."""
        return self.score < 0


@dataclass(frozen=True, slots=True)
class DiaSources:
    """``sources`` by y, then x; ``mask`` of the difference with what was detected on it;
    ``score_scatter``: see :class:`app.pixels.dia_score.Score`."""

    sources: tuple[DiaSource, ...]
    mask: NDArray[np.int32]
    score_scatter: float


def find_dia_sources(
    images: DiaImages, *, threshold: float = THRESHOLD, score: NDArray[np.float32] | None = None
) -> DiaSources:
    """Find and measure the sources of both signs whose score is beyond ``threshold`` sigma.

    The score is that of the difference, or the plane of significances that is given.

    Raises CoverageError when too few pixels of the difference are usable.
    """
    layer = images.difference
    first = score_image(layer) if score is None else Score(score, 1.0)
    score_scatter, footprints = _detect(layer, threshold, first)
    sources = [
        source
        for footprint in footprints.found
        for source in _sources(images, footprint, score_scatter)
    ]
    sources.sort(key=lambda each: (each.fit.y, each.fit.x))
    return DiaSources(tuple(sources), _detected(layer.image, footprints), score_scatter)


def _detect(layer: Layer, threshold: float, score: Score) -> tuple[float, Footprints]:
    """What stands out of the score with a scatter of 1 beside the sources, and its scatter before
    that."""
    grow_px = GROW_SIGMA * layer.sigma_px
    crowded = find_footprints(score.values, threshold, grow_px, MERGE_PX)
    score = score.rescaled(crowded.signs == 0)
    return score.scatter, find_footprints(score.values, threshold, grow_px, MERGE_PX)


def _detected(image: MaskedImage, footprints: Footprints) -> NDArray[np.int32]:
    found = np.where(footprints.signs & POSITIVE, bits("DETECTED"), 0)
    found |= np.where(footprints.signs & NEGATIVE, bits("DETECTED_NEGATIVE"), 0)
    mask: NDArray[np.int32] = ((image.mask & ~DETECTIONS) | found).astype(np.int32)
    return mask


def _sources(images: DiaImages, footprint: Footprint, scatter: float) -> Iterator[DiaSource]:
    """One for each peak; one for all when they are a dipole."""
    layer, area = images.difference, footprint.area
    positive, negative = footprint.strongest(1), footprint.strongest(-1)
    if positive and negative and may_be_dipole(layer, area, positive, negative):
        dipole = fit_dipole(images, positive, negative, scatter)
        if dipole is not None and dipole.is_one:
            yield _measured(images, footprint.peaks[0], area, scatter, dipole)
            return
    for peak in footprint.peaks:
        if not _is_side_lobe(layer, peak, footprint.peaks[0]):
            yield _measured(images, peak, area, scatter, None)


def _is_side_lobe(layer: Layer, peak: Peak, strongest: Peak) -> bool:
    near = (
        hypot(peak.x - strongest.x, peak.y - strongest.y) < MOST_SEPARATION_SIGMA * layer.sigma_px
    )
    return (
        near
        and peak.score * strongest.score < 0
        and (abs(peak.score) < SIDE_LOBE * abs(strongest.score))
    )


def _measured(
    images: DiaImages, peak: Peak, area: int, scatter: float, dipole: Dipole | None
) -> DiaSource:
    layer = images.difference
    fit = _fitted(layer, peak, scatter, dipole)
    science, template = (_forced(each, fit, scatter) for each in (images.science, images.template))
    stamp = cut_stamp(layer, round(fit.x), round(fit.y), layer.half_px)
    model = fit.flux * layer.profile(fit.x, fit.y).values(*stamp.offsets(fit.x, fit.y))
    radius_px = APERTURE_FWHM * layer.fwhm_px
    moments = shape(layer, fit)
    flags = set(flags_of(stamp))
    if not fit.converged:
        flags.add("centroid_flag")
    if not np.isfinite(moments.ixx):
        flags.add("shape_flag")
    if has_bright_neighbour((images.science, images.template), fit):
        flags.add("bright_neighbour_flag")
    return DiaSource(
        score=peak.score,
        fit=fit,
        science=science,
        template=template,
        aperture=aperture(stamp, fit, model, radius_px, scatter),
        aperture_px=radius_px,
        moments=moments,
        footprint_px=area,
        flags=frozenset(flags),
        reliability=reliability(fit, frozenset(flags), template.flux, dipole is not None),
        dipole=dipole,
    )


def _fitted(layer: Layer, peak: Peak, scatter: float, dipole: Dipole | None) -> PsfFit:
    profile = layer.profile(peak.x, peak.y)
    if dipole is None:
        stamp = cut_stamp(layer, peak.x, peak.y, layer.half_px)
        return fit_psf(stamp, profile, layer.fwhm_px, scatter)
    x, y = dipole.centre
    return forced_psf(cut_stamp(layer, round(x), round(y), layer.half_px), profile, x, y, scatter)


def _forced(layer: Layer, fit: PsfFit, scatter: float) -> PsfFit:
    """Pixels of the images under a difference have their own noise, not its ``scatter``."""
    stamp = cut_stamp(layer, round(fit.x), round(fit.y), layer.half_px)
    return forced_psf(stamp, layer.profile(fit.x, fit.y), fit.x, fit.y, 1.0)
