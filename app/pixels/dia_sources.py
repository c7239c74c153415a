"""Sources of a difference image: found on its score, told from dipoles, measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import hypot
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.dia_blends import MOST_TOGETHER, Blend, fit_blend, shared_stamp
from app.pixels.dia_dipole import MOST_SEPARATION_SIGMA, Dipole, fit_dipole, may_be_dipole
from app.pixels.dia_footprints import (
    Footprint,
    Footprints,
    Peak,
    Signs,
    find_footprints,
    grown_signs,
)
from app.pixels.dia_groups import groups_of
from app.pixels.dia_images import DiaImages, Layer, Stamp, cut_stamp
from app.pixels.dia_measure import (
    APERTURE_FWHM,
    JUDGED_PX,
    Aperture,
    Moments,
    aperture,
    flags_of,
    has_bright_neighbour,
    reliability,
    shape,
    shape_half_px,
)
from app.pixels.dia_psf_fit import PsfFit, forced_psfs
from app.pixels.dia_score import Noise, Score, noise_of, score_image
from app.pixels.image import MaskedImage, bits

Floats = NDArray[np.float64]

THRESHOLD: Final = 4.4
"""Of point sources whose true flux is six sigma, 95 % are beyond it: a fit to the best place adds
the square of one sigma for each coordinate, ndtr(hypot(6, sqrt(2)) - 4.4) = 0.96 at best."""
GROW_SIGMA: Final = 2.4
MERGE_PX: Final = 2
SIDE_LOBE: Final = 0.2
"""A peak beside a stronger one of the other sign that has less than this part of its score is a
trough that convolution left, not a source."""
SHARED_HALVES: Final = 2.0
"""Sources share light when their stamps touch."""
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
    scatter, footprints = _detect(layer, threshold, first)
    noise = noise_of(layer, scatter)
    sources: list[DiaSource] = []
    alone: list[_Found] = []
    for footprint in footprints.found:
        dipole = _dipole(images, footprint, scatter)
        if dipole is None:
            alone += _points(layer, footprint)
        else:
            found = _Found(footprint.peaks[0], footprint.area, dipole)
            sources += _measured(images, [found], 1, noise)
    places = np.array([(each.peak.x, each.peak.y) for each in alone], dtype=np.float64)
    for group in groups_of(places.reshape(-1, 2), SHARED_HALVES * layer.half_px, MOST_TOGETHER):
        members = [alone[n] for n in group.members.tolist()]
        sources += _measured(images, members, group.wanted, noise)
    sources.sort(key=lambda each: (each.fit.y, each.fit.x))
    return DiaSources(tuple(sources), _detected(layer.image, footprints), scatter)


def _detect(layer: Layer, threshold: float, score: Score) -> tuple[float, Footprints]:
    """What stands out of the score with a scatter of 1 beside the sources, and its scatter before
    that."""
    grow_px = GROW_SIGMA * layer.sigma_px
    score = score.rescaled(grown_signs(score.values, threshold, grow_px) == 0)
    return score.scatter, find_footprints(score.values, threshold, grow_px, MERGE_PX)


def _detected(image: MaskedImage, footprints: Footprints) -> NDArray[np.int32]:
    detected, negative = bits("DETECTED"), bits("DETECTED_NEGATIVE")
    planes = np.array([0, detected, negative, detected | negative], dtype=np.int32)
    mask = np.empty_like(image.mask)
    _mark_planes(image.mask, footprints.signs, planes, mask)
    return mask


@njit(cache=True, nogil=True)
def _mark_planes(
    before: NDArray[np.int32], signs: Signs, planes: NDArray[np.int32], mask: NDArray[np.int32]
) -> None:
    """``before`` with the ``planes`` of each sign in place of its detections."""
    kept = np.int32(~DETECTIONS)
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            mask[y, x] = (before[y, x] & kept) | planes[signs[y, x]]


@dataclass(frozen=True, slots=True)
class _Found:
    """A peak, the area of its footprint, and the dipole that it is."""

    peak: Peak
    area: int
    dipole: Dipole | None = None

    @property
    def start(self) -> tuple[float, float]:
        """Where the source is looked for."""
        return (self.peak.x, self.peak.y) if self.dipole is None else self.dipole.centre


def _dipole(images: DiaImages, footprint: Footprint, scatter: float) -> Dipole | None:
    positive, negative = footprint.strongest(1), footprint.strongest(-1)
    if positive is None or negative is None:
        return None
    if not may_be_dipole(images.difference, footprint.area, positive, negative):
        return None
    dipole = fit_dipole(images, positive, negative, scatter)
    return dipole if dipole is not None and dipole.is_one else None


def _points(layer: Layer, footprint: Footprint) -> Iterator[_Found]:
    """The peaks that are sources."""
    for peak in footprint.peaks:
        if not _is_side_lobe(layer, peak, footprint.peaks[0]):
            yield _Found(peak, footprint.area)


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
    images: DiaImages, members: Sequence[_Found], wanted: int, noise: Noise
) -> Iterator[DiaSource]:
    """The first ``wanted`` of sources that share light, and those that they hide."""
    layer, scatter = images.difference, noise.scatter
    starts = np.array([each.start for each in members], dtype=np.float64)
    profiles = [layer.profile(*place) for place in starts.tolist()]
    if members[0].dipole is not None:
        stamp = shared_stamp(layer, starts)
        forced = forced_psfs(stamp, profiles, starts, own_px=layer.half_px, scatter=scatter)
        blend = Blend(tuple(forced), tuple(profiles))
    else:
        blend = fit_blend(layer, [each.peak for each in members], profiles, scatter)
    hidden = [replace(members[0], peak=peak) for peak in blend.hidden]
    science, template = _beneath(images, np.array([(fit.x, fit.y) for fit in blend.fits]))
    for n, found in enumerate((*members[:wanted], *hidden)):
        stamp = _own_stamp(layer, blend, n)
        yield _source(images, found, stamp, blend.fits[n], science[n], template[n], noise)


def _beneath(images: DiaImages, places: Floats) -> list[list[PsfFit]]:
    """Fluxes at ``places`` on science image and template, whose pixels have their own noise, not
    the scatter of the difference's."""
    profiles = zip(*(images.beneath(*place) for place in places.tolist()), strict=True)
    layers = images.science, images.template
    return [
        forced_psfs(shared_stamp(layer, places), own, places, own_px=layer.half_px, scatter=1.0)
        for layer, own in zip(layers, profiles, strict=True)
    ]


def _own_stamp(layer: Layer, blend: Blend, number: int) -> Stamp:
    """One source without the light of those fitted with it; pixels that are not usable are what its
    PSF has."""
    own = blend.fits[number]
    stamp = cut_stamp(layer, round(own.x), round(own.y), shape_half_px(layer))
    if len(blend.fits) == 1 and stamp.good.all():
        return stamp
    light = blend.light(stamp)
    others = stamp.flux - light.sum(axis=0) + light[number]
    return replace(stamp, flux=np.where(stamp.good, others, light[number]))


def _source(
    images: DiaImages,
    found: _Found,
    stamp: Stamp,
    fit: PsfFit,
    science: PsfFit,
    template: PsfFit,
    noise: Noise,
) -> DiaSource:
    layer = images.difference
    radius_px = APERTURE_FWHM * layer.fwhm_px
    moments = shape(stamp, fit, layer.sigma_px)
    flags = set(flags_of(stamp, layer.half_px))
    if not fit.converged:
        flags.add("centroid_flag")
    if not np.isfinite(moments.ixx):
        flags.add("shape_flag")
    if has_bright_neighbour((images.science, images.template), fit):
        flags.add("bright_neighbour_flag")
    by_noise = JUDGED_PX * noise.peaks(abs(found.peak.score))
    trust = reliability(fit, frozenset(flags), template.flux, by_noise)
    return DiaSource(
        score=found.peak.score,
        fit=fit,
        science=science,
        template=template,
        aperture=aperture(stamp, fit.x, fit.y, radius_px, noise.scatter),
        aperture_px=radius_px,
        moments=moments,
        footprint_px=found.area,
        flags=frozenset(flags),
        reliability=0.0 if found.dipole else trust,
        dipole=found.dipole,
    )
