"""The template of an image from coadds that exist: patches merged by tract, tracts on the image.

After Rubin's GetTemplateTask: what overlaps is merged on its own pixels first and each lattice of
pixels (a tract) is warped once, so that the seams between patches cost no second resampling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.errors import CoverageError
from app.pixels.gaps import with_high_variance
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage
from app.pixels.lattice import group_by_lattice
from app.pixels.mapping import overlap_bounds
from app.pixels.merge import EDGES, NO_DATA, Merger
from app.pixels.psf_coadd import CoaddPsf, combine_psfs, warp_psf, weighed_psf
from app.pixels.scaling import rescaled
from app.pixels.warp import warp
from app.recipes.photometry import flux_factor
from app.recipes.recipe import ImageRef, InputUse
from app.recipes.target import Bounds, cut
from app.sky.stcs import describe_area
from app.stores.images import ImageStore
from app.workers.inputs import input_psf, read_image, with_width
from app.workers.work import Stage

MARGIN_PX = 8
"""Read around what the target needs: the reach of the widest stencil and some."""


@dataclass(frozen=True, slots=True)
class MergedTemplate:
    """Coadds on the pixels of an image: what they show, its PSF (None when unknown) and how each
    took part, by its share of the pixels that were read."""

    image: MaskedImage
    psf: CoaddPsf | None
    uses: tuple[InputUse, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """A coadd and the ``window`` (y0, y1, x0, x1) of its pixels on its lattice."""

    ref: ImageRef
    window: Bounds


@dataclass(frozen=True, slots=True)
class _Piece:
    """Pixels of one coadd, their ``grid`` and PSF; ``origin`` (y, x) is where they begin among
    those that are needed of their lattice."""

    image: MaskedImage
    psf: CoaddPsf | None
    grid: Grid
    origin: tuple[int, int]

    def psf_on(self, target: Grid) -> list[CoaddPsf]:
        """The PSF that they have when they are warped to ``target``; nothing when unknown."""
        psf = None if self.psf is None else warp_psf(self.psf, self.grid, target)
        return [] if psf is None else [psf]


def get_template(
    images: ImageStore,
    refs: Sequence[ImageRef],
    target: Grid,
    *,
    kernel: str,
    zero_point_mag: float | None,
    at: Callable[[Stage, int, int], None],
) -> MergedTemplate:
    """The coadds ``refs`` on the pixels of ``target``.

    Coadds count by 1 / variance, in the image and in its PSF. Where the merged variance is unusual
    the mask says HIGH_VARIANCE. ``at`` is told (stage, done, total) before each coadd is read and
    may raise to stop.

    Raises
    ------
    ImageFormatError
        A coadd cannot be read; it is named.
    RecipeError
        The coadds have different zero points.
    CoverageError
        No coadd has a pixel on the target, whose place is told.
    """
    grids = [Grid.from_text(ref.grid) for ref in refs]
    counts = {ref.dataset_id: 0 for ref in refs}
    warped: list[MaskedImage] = []
    psfs: list[CoaddPsf] = []
    done = 0
    for group in group_by_lattice(grids):
        lattice = grids[group[0][0]]
        parts = [_Part(refs[n], _window(offset, grids[n].shape)) for n, offset in group]
        needed = _needed(parts, lattice, target)
        if needed is None:
            done += len(parts)
            continue
        merger = Merger(_shape(needed))
        for part in parts:
            at("merge", done, len(refs))
            done += 1
            piece = _read(images, part, lattice, needed, zero_point_mag)
            if piece is not None:
                counts[part.ref.dataset_id] = merger.add(piece.image, origin=piece.origin)
                psfs += piece.psf_on(target)
        if merger.filled:
            warped.append(warp(merger.result(), cut(lattice, needed), target, kernel=kernel))
    psf = combine_psfs(psfs, target.shape)
    image = with_width(with_high_variance(_over(warped, target)), psf)
    return MergedTemplate(image, psf, _uses(refs, counts, zero_point_mag))


def _over(warped: Sequence[MaskedImage], target: Grid) -> MaskedImage:
    """The warped tracts as one image. Raises CoverageError when they have no pixel there."""
    if len(warped) == 1 and warped[0].usable(NO_DATA).any():
        return warped[0]
    merger = Merger(target.shape, reject=EDGES)
    for image in warped:
        merger.add(image)
    if not merger.filled:
        raise CoverageError(f"templates with data {describe_area(target.footprint())}", 0, 1)
    return merger.result()


def _read(
    images: ImageStore,
    part: _Part,
    lattice: Grid,
    needed: Bounds,
    zero_point_mag: float | None,
) -> _Piece | None:
    """What a coadd has of the ``needed`` pixels of its lattice, on the common flux scale."""
    inside = _intersection(part.window, needed)
    if inside is None:
        return None
    y0, x0 = part.window[0], part.window[2]
    bounds = (inside[0] - y0, inside[1] - y0, inside[2] - x0, inside[3] - x0)
    stored = read_image(images, part.ref, bounds)
    image = rescaled(stored, flux_factor(part.ref, zero_point_mag), zero_point_mag)
    psf = input_psf(images, part.ref, image, bounds)
    known = None if psf is None else weighed_psf(psf, image, part.ref.dataset_id)
    return _Piece(
        image, known, cut(lattice, inside), (inside[0] - needed[0], inside[2] - needed[2])
    )


def _needed(parts: Sequence[_Part], lattice: Grid, target: Grid) -> Bounds | None:
    """The window of the lattice that the parts fill and the target sees."""
    lows = [min(part.window[axis] for part in parts) for axis in (0, 2)]
    highs = [max(part.window[axis] for part in parts) for axis in (1, 3)]
    whole = (lows[0], highs[0], lows[1], highs[1])
    seen = overlap_bounds(target, cut(lattice, whole))
    if seen is None:
        return None
    y0, y1, x0, x1 = (seen[n] + lows[n // 2] for n in range(4))
    grown = (y0 - MARGIN_PX, y1 + MARGIN_PX, x0 - MARGIN_PX, x1 + MARGIN_PX)
    return _intersection(grown, whole)


def _shape(window: Bounds) -> tuple[int, int]:
    return window[1] - window[0], window[3] - window[2]


def _window(offset: tuple[int, int], shape: tuple[int, int]) -> Bounds:
    return offset[0], offset[0] + shape[0], offset[1], offset[1] + shape[1]


def _intersection(a: Bounds, b: Bounds) -> Bounds | None:
    y0, y1, x0, x1 = max(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), min(a[3], b[3])
    return (y0, y1, x0, x1) if y0 < y1 and x0 < x1 else None


def _uses(
    refs: Sequence[ImageRef], counts: dict[str, int], zero_point_mag: float | None
) -> tuple[InputUse, ...]:
    total = sum(counts.values())
    return tuple(
        InputUse(
            dataset_id=ref.dataset_id,
            role="template",
            weight=counts[ref.dataset_id] / total if counts[ref.dataset_id] else None,
            scale=flux_factor(ref, zero_point_mag),
            rejected=None if counts[ref.dataset_id] else "no pixel of it on the image",
        )
        for ref in refs
    )
