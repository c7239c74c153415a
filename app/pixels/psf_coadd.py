"""The PSF of a coadd: the weighted sum of those of the inputs that reach a place.

Each input's PSF is brought to the coadd's pixels as its stars were: through the map between the
two grids, with the map's Jacobian at the place (Jee & Tyson 2011, PASP 123, 596; as Rubin's
CoaddPsf, Bosch et al. 2018, PASJ 70, S5). What was left out of single pixels is not known here; a
coadd's mask says INEXACT_PSF there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.errors import CoverageError
from app.pixels.image import MaskedImage
from app.pixels.mapping import PixelGrid
from app.pixels.psf_field import Profile, PsfField, PsfShape, fit_field
from app.pixels.warped import Bounds

Floats = NDArray[np.float64]

NODES: Final = 5
EDGE_PIECES: Final = 4
"""Straight pieces that an input's edge is mapped in."""
MOST_REACH_PX: Final = 40
DEGREE: Final = 2
SHAPE_PLACES: Final = 5
WEIGHT_PLACES: Final = 16j
"""Along an axis (a number of places for numpy's mgrid)."""


@dataclass(frozen=True, slots=True)
class Component:
    """One input: its ``name``, ``weight`` (1 / variance), and PSF on the coadd's pixels.

    ``region`` (K, 2): the x, y of the corners of the polygon in which it contributes.
    """

    name: str
    weight: float
    region: Floats
    field: PsfField

    def reaches(self, x: float, y: float) -> bool:
        """Whether a pixel position lies in the region (even–odd rule)."""
        return bool(_holds(self.region, x, y))

    def cut(self, bounds: Bounds) -> Component | None:
        """See :meth:`CoaddPsf.cut`."""
        y_start, y_stop, x_start, x_stop = bounds
        region = self.region - (x_start, y_start)
        for axis, size in ((0, x_stop - x_start), (1, y_stop - y_start)):
            region = _half_plane(region, axis, -0.5, 1.0)
            region = _half_plane(region, axis, size - 0.5, -1.0)
        if len(region) == 0:
            return None
        x, y = self.field.zero
        field = replace(self.field, zero=(x - x_start, y - y_start))
        return replace(self, region=region, field=field)


@dataclass(frozen=True, slots=True)
class CoaddPsf:
    """The PSF of an image of ``shape`` (ny, nx) made of ``components``."""

    components: tuple[Component, ...]
    shape: tuple[int, int]

    @classmethod
    def of_one(
        cls, field: PsfField, shape: tuple[int, int], *, name: str = "", weight: float = 1.0
    ) -> CoaddPsf:
        """That of a single exposure, which holds for all of its pixels."""
        ny, nx = shape
        corners = np.array([(0, 0), (nx, 0), (nx, ny), (0, ny)], dtype=np.float64) - 0.5
        return cls((Component(name, weight, corners, field),), shape)

    def profile(self, x: float, y: float) -> Profile:
        """The PSF at a pixel position (0-based). Raises CoverageError where no input is."""
        here = [each for each in self.components if each.reaches(x, y)]
        if not here:
            raise CoverageError(f"inputs with a PSF at pixel ({x:.1f}, {y:.1f})", 0, 1)
        if len(here) == 1:
            return here[0].field.profile(x, y)
        profiles = [each.field.profile(x, y).samples for each in here]
        half = max(samples.shape[0] // 2 for samples in profiles)
        total = np.zeros((2 * half + 1, 2 * half + 1))
        for each, samples in zip(here, profiles, strict=True):
            edge = half - samples.shape[0] // 2
            inner = slice(edge, 2 * half + 1 - edge)
            total[inner, inner] += each.weight * samples
        sampling = here[0].field.sampling
        return Profile(total / (total.sum() * sampling**2), sampling)

    def typical_shape(self) -> PsfShape:
        """Medians of moments and width over a lattice of places that inputs reach.

        Where the lattice meets none of them, over the middles of the inputs. Raises CoverageError
        when the PSF has no width.
        """
        ny, nx = self.shape
        share = (np.arange(SHAPE_PLACES) + 0.5) / SHAPE_PLACES
        lattice = [(x * nx - 0.5, y * ny - 0.5) for y in share for x in share]
        middles = [tuple(each.region.mean(axis=0)) for each in self.components]
        found = self._shapes(lattice) or self._shapes(middles)
        if not found:
            raise CoverageError("places with a PSF", 0, 1)
        table = np.array([(s.ixx, s.iyy, s.ixy, s.fwhm_px) for s in found])
        return PsfShape(*(float(value) for value in np.median(table, axis=0)))

    def places(self) -> tuple[Floats, Floats]:
        """The x and y of places spread over what each input reaches of the image."""
        found = [
            _nodes(part.region, *box)
            for part in self.components
            if (box := _box(part.region, self.shape)) is not None
        ]
        if not found:
            return np.zeros(0), np.zeros(0)
        x, y = (np.concatenate(values) for values in zip(*found, strict=True))
        step = max(1, len(x) // (2 * NODES**2))
        return x[::step], y[::step]

    def _shapes(self, places: Sequence[tuple[float, float]]) -> list[PsfShape]:
        """Shapes at those of the places that inputs reach."""
        return [
            self.profile(x, y).shape()
            for x, y in places
            if any(each.reaches(x, y) for each in self.components)
        ]

    def weighted(self, weight: float, name: str | None = None) -> CoaddPsf:
        """The same PSF as one input of ``weight`` in all; its parts named ``name`` if given."""
        heaviest = sum(each.weight for each in self.components)
        parts = tuple(
            replace(each, weight=weight * each.weight / heaviest, name=name or each.name)
            for each in self.components
        )
        return CoaddPsf(parts, self.shape)

    def cut(self, bounds: Bounds) -> CoaddPsf | None:
        """That of the window (y_start, y_stop, x_start, x_stop) of the image, whose pixels it
        counts; None where no input reaches it."""
        y_start, y_stop, x_start, x_stop = bounds
        cut = (each.cut(bounds) for each in self.components)
        parts = tuple(each for each in cut if each is not None)
        return CoaddPsf(parts, (y_stop - y_start, x_stop - x_start)) if parts else None


def weighed_psf(psf: CoaddPsf, image: MaskedImage, name: str) -> CoaddPsf | None:
    """``psf`` of ``image`` with weights that add up to the image's 1 / variance at a place, as far
    as one factor can do that; None where the image has no data. Its parts are named ``name``.

    Images that are merged with weights of 1 / variance then have the PSF that
    :func:`combine_psfs` makes of theirs.
    """
    ny, nx = image.shape
    y, x = (v.ravel() for v in np.mgrid[0 : ny - 1 : WEIGHT_PLACES, 0 : nx - 1 : WEIGHT_PLACES])
    total = np.zeros(x.shape)
    for each in psf.components:
        total += each.weight * _inside(each.region, x, y)
    variance = image.variance[np.rint(y).astype(int), np.rint(x).astype(int)]
    known = (total > 0) & (variance > 0) & np.isfinite(variance)
    if not known.any():
        return None
    factor = float(np.median(1.0 / (variance[known] * total[known])))
    parts = tuple(replace(p, weight=factor * p.weight, name=name) for p in psf.components)
    return CoaddPsf(parts, psf.shape)


def matched_psf(psf: CoaddPsf, stamp: Floats) -> CoaddPsf:
    """That of an image which was matched to one PSF, whose ``stamp`` (odd, odd) has unit sum."""
    field = PsfField(stamp[None], 0, (0.0, 0.0), (1.0, 1.0))
    return CoaddPsf(tuple(replace(each, field=field) for each in psf.components), psf.shape)


def combine_psfs(psfs: Iterable[CoaddPsf], shape: tuple[int, int]) -> CoaddPsf | None:
    """The PSF of the weighted mean of images on one grid; None without any."""
    parts = tuple(each for psf in psfs for each in psf.components if each.weight > 0)
    return CoaddPsf(parts, shape) if parts else None


def warp_psf(psf: CoaddPsf, source: PixelGrid, target: PixelGrid) -> CoaddPsf | None:
    """``psf`` as an image warped from ``source`` to ``target`` has it; None without overlap."""
    warped = (_warp_component(each, source, target) for each in psf.components)
    parts = tuple(each for each in warped if each is not None)
    return CoaddPsf(parts, target.shape) if parts else None


def _warp_component(part: Component, source: PixelGrid, target: PixelGrid) -> Component | None:
    region = _map(source, target, *_outline(part.region))
    if not np.isfinite(region).all():
        return None
    box = _box(region, target.shape)
    if box is None:
        return None
    low, high = box
    x, y = _nodes(region, low, high)
    if len(x) == 0:
        return None
    profiles = _warped_profiles(part.field, source, target, x, y)
    degree = max(d for d in range(DEGREE + 1) if (d + 1) * (d + 2) // 2 < len(x) or d == 0)
    zero, scale = 0.5 * (low + high), np.maximum(0.5 * (high - low), 1.0)
    field = fit_field(
        profiles,
        x,
        y,
        degree=min(degree, max(part.field.degree, 1)),
        zero=(float(zero[0]), float(zero[1])),
        scale=(float(scale[0]), float(scale[1])),
        sampling=1.0,
        stars=part.field.stars,
    )
    return replace(part, region=region, field=field)


def _outline(region: Floats) -> tuple[Floats, Floats]:
    """Points along the polygon's edges, each cut in pieces if it has few."""
    pieces = EDGE_PIECES if len(region) <= EDGE_PIECES else 1
    share = np.arange(pieces)[:, None] / pieces
    following = np.roll(region, -1, axis=0)
    points = np.concatenate(
        [a + share * (b - a) for a, b in zip(region, following, strict=True)], axis=0
    )
    return points[:, 0], points[:, 1]


def _map(source: PixelGrid, target: PixelGrid, x: Floats, y: Floats) -> Floats:
    """(K, 2): target pixels of source pixels."""
    return np.stack(target.sky_to_pixel(*source.pixel_to_sky(x, y)), axis=1)


def _box(region: Floats, shape: tuple[int, int]) -> tuple[Floats, Floats] | None:
    """The lower and upper x, y of a region on an image of ``shape``; None where it has none."""
    ny, nx = shape
    low = np.maximum(region.min(axis=0), -0.5)
    high = np.minimum(region.max(axis=0), (nx - 0.5, ny - 0.5))
    return (low, high) if (low < high).all() else None


def _nodes(region: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Places in the region and the box, on a lattice fine enough to hold some of them."""
    x, y = np.zeros(0), np.zeros(0)
    for count in (NODES, 3 * NODES, 9 * NODES):
        share = (np.arange(count) + 0.5) / count
        mesh = np.meshgrid(*(low[n] + share * (high[n] - low[n]) for n in (0, 1)))
        x, y = (v.ravel() for v in mesh)
        inside = _inside(region, x, y)
        if inside.sum() >= 2 * NODES:
            break
    step = max(1, int(inside.sum()) // NODES**2)
    return x[inside][::step], y[inside][::step]


def _warped_profiles(
    field: PsfField, source: PixelGrid, target: PixelGrid, x: Floats, y: Floats
) -> Floats:
    """The PSF on target pixels at places of the target (K, odd, odd), each of unit sum."""
    at = _map(target, source, x, y)
    along_x = _map(target, source, x + 0.5, y) - _map(target, source, x - 0.5, y)
    along_y = _map(target, source, x, y + 0.5) - _map(target, source, x, y - 0.5)
    area = np.abs(along_x[:, 0] * along_y[:, 1] - along_x[:, 1] * along_y[:, 0])
    reach = field.profile(*at[0]).reach_px / float(np.sqrt(np.median(area)))
    half = int(min(max(np.ceil(reach), 1), MOST_REACH_PX))
    v, u = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    profiles = np.empty((len(x), *u.shape))
    for n, (source_x, source_y) in enumerate(at):
        profile = field.profile(float(source_x), float(source_y))
        dx = along_x[n, 0] * u + along_y[n, 0] * v
        dy = along_x[n, 1] * u + along_y[n, 1] * v
        values = profile.values(dx, dy)
        profiles[n] = values / values.sum()
    return profiles


def _half_plane(region: Floats, axis: int, limit: float, sign: float) -> Floats:
    """The part of a polygon with ``sign`` * coordinate >= ``sign`` * ``limit``.

    Sutherland & Hodgman 1974 (CACM 17, 32); parts that edges of no width join stay right for the
    even–odd rule.
    """
    depth = sign * (region[:, axis] - limit)
    kept: list[Floats] = []
    for n, point in enumerate(region):
        ahead = (n + 1) % len(region)
        if depth[n] >= 0:
            kept.append(point)
        if (depth[n] >= 0) != (depth[ahead] >= 0):
            share = depth[n] / (depth[n] - depth[ahead])
            kept.append(point + share * (region[ahead] - point))
    return np.array(kept).reshape(-1, 2)


@njit(cache=True, nogil=True)
def _holds(region: Floats, x: float, y: float) -> bool:
    """What :func:`_inside` tells, of one point."""
    inside = False
    for n in range(len(region)):
        ax, ay = region[n - 1]
        bx, by = region[n]
        if (ay > y) != (by > y):
            inside ^= x < bx + (y - by) * (ax - bx) / (ay - by)
    return inside


def _inside(region: Floats, x: Floats, y: Floats) -> NDArray[np.bool_]:
    """Even–odd rule for points (n,)."""
    (ax, ay), (bx, by) = (ends.T[:, :, None] for ends in (region, np.roll(region, -1, axis=0)))
    crosses = (ay > y) != (by > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        crosses &= x < ax + (y - ay) * (bx - ax) / (by - ay)
    inside: NDArray[np.bool_] = np.logical_xor.reduce(crosses, axis=0)
    return inside
