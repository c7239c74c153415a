"""Differential backgrounds: smooth surfaces by which the sky levels of overlapping inputs differ.

The sky itself cannot be told from faint nebulae in one exposure, but differences between exposures
of one field are sky alone. Each cell of pixels gives every input's median distance from the mean of
all inputs there; one least-squares fit finds all inputs' polynomials at once, as Montage does
for pairs (Jacob et al. 2009, arXiv:1005.4454, section 3.4), with the mean of all left as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.pixels.adjusted import Surface, powers, unit_range
from app.pixels.background import FIT_REJECT
from app.pixels.warped import Warped

Floats = NDArray[np.float64]

CELL_PX: Final = 64
SAMPLED_ROWS: Final = 8
"""Rows of a cell that are looked at."""
LEAST_SHARE: Final = 0.25
"""A cell with a smaller share of usable pixels says nothing of an input."""
LEAST_OVERLAP: Final = 2
LEAST_COMPLETE: Final = 0.9
"""Of the inputs that a cell has, this share must be usable in a pixel that is looked at."""
CLIP_SIGMA: Final = 4.0
ROUNDS: Final = 3


def differential_backgrounds(inputs: Sequence[Warped], *, order: int = 1) -> list[Surface]:
    """What to subtract from each input so that all show one sky where they overlap.

    Polynomials of total degree ``order`` over the target. An input that overlaps no other in at
    least two cells for each of its coefficients is left as it is (all coefficients 0).
    """
    shape = inputs[0].shape
    levels, places = _cell_levels(inputs)
    terms = np.stack([places[:, 0] ** i * places[:, 1] ** j for i, j in powers(order)], axis=1)
    known = np.isfinite(levels)
    known[:, known.sum(axis=0) < LEAST_OVERLAP] = False
    known[known.sum(axis=1) < 2 * terms.shape[1]] = False
    coefficients = np.zeros((len(inputs), terms.shape[1]))
    for _ in range(ROUNDS):
        coefficients = _fit(levels, known, terms)
        residual = np.where(known, levels - coefficients @ terms.T, np.nan)
        residual -= _mean_over_inputs(residual)
        kept = _within(residual, known)
        if (kept == known).all():
            break
        known = kept
    return [Surface(shape, order, tuple(map(float, row))) for row in coefficients]


def _cell_levels(inputs: Sequence[Warped]) -> tuple[Floats, Floats]:
    """Median distance of each input (N, cells) from all inputs' mean, NaN where unknown, and the
    middles of the cells (cells, 2) as x and y from -1 to 1."""
    ny, nx = inputs[0].shape
    starts = range(0, ny, CELL_PX)
    levels, places = [], []
    edges = np.arange(0, nx, CELL_PX)
    widths = np.minimum(CELL_PX, nx - edges)
    for start in starts:
        stop = min(start + CELL_PX, ny)
        rows = range(start, stop, max(1, CELL_PX // SAMPLED_ROWS))
        levels.append(_levels_of_rows(inputs, rows, len(edges)))
        y = float(unit_range(np.array([0.5 * (start + stop - 1)]), ny)[0])
        x = unit_range(edges + 0.5 * (widths - 1), nx)
        places.append(np.stack([x, np.full(len(x), y)], axis=1))
    return np.concatenate(levels, axis=1), np.concatenate(places)


def _levels_of_rows(inputs: Sequence[Warped], rows: range, cells: int) -> Floats:
    """Of one row of cells, from some of its pixel rows: (N, cells)."""
    images = [[each.rows(y, y + 1) for y in rows] for each in inputs]
    flux = np.array([[image.flux[0] for image in lines] for lines in images])
    usable = np.array([[image.usable(FIT_REJECT)[0] for image in lines] for lines in images])
    edges = np.arange(cells) * CELL_PX
    widths = np.diff([*edges.tolist(), flux.shape[2]])
    share = np.add.reduceat(usable.sum(axis=1), edges, axis=1) / (widths * len(rows))
    present = share >= LEAST_SHARE
    usable &= np.repeat(present, widths, axis=1)[:, None, :]
    apart = _from_mean(flux, usable, np.repeat(present.sum(axis=0), widths))
    levels = np.full((len(inputs), cells), np.nan)
    for n, cell in zip(*np.nonzero(present), strict=True):
        part = apart[n, :, edges[cell] : edges[cell] + widths[cell]]
        seen = part[np.isfinite(part)]
        if seen.size >= max(2, LEAST_SHARE * part.size):
            levels[n, cell] = np.median(seen)
    return levels


def _from_mean(
    flux: NDArray[np.float32], usable: NDArray[np.bool_], present: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Distance of each usable value from the mean of all; NaN where too many of the inputs that
    are present (nx) are not usable. A mean, unlike a median, is as far from each on average as
    the sky levels are."""
    count = usable.sum(axis=0)
    mean = np.where(usable, flux, 0).sum(axis=0) / np.maximum(1, count)
    complete = count >= np.maximum(LEAST_OVERLAP, LEAST_COMPLETE * present)
    apart = np.where(usable & complete, flux - mean, np.nan)
    return apart.astype(np.float32)


def _mean_over_inputs(values: Floats) -> Floats:
    """Mean of the known values of each cell, 0 where there is none."""
    known = np.isfinite(values)
    return np.asarray(np.where(known, values, 0.0).sum(axis=0) / np.maximum(1, known.sum(axis=0)))


def _fit(levels: Floats, known: NDArray[np.bool_], terms: Floats) -> Floats:
    """Coefficients (N, terms) that bring the inputs of every cell to one level.

    Each cell tells its inputs' distances from their mean; what no cell tells (a surface common to
    all inputs) comes out 0, as the smallest solution is taken.
    """
    inputs, count = len(levels), terms.shape[1]
    normal, right = np.zeros((inputs, count, inputs, count)), np.zeros((inputs, count))
    degrees = np.arange(count)
    patterns, pattern_of = np.unique(known, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        here, cells = np.flatnonzero(pattern), np.flatnonzero(pattern_of.ravel() == number)
        if not here.size:
            continue
        centring = np.eye(len(here)) - 1.0 / len(here)
        products = terms[cells].T @ terms[cells]
        normal[np.ix_(here, degrees, here, degrees)] += np.einsum("ab,ij->aibj", centring, products)
        right[here] += centring @ levels[np.ix_(here, cells)] @ terms[cells]
    size = inputs * count
    solution = np.linalg.pinv(normal.reshape(size, size), rcond=1e-9, hermitian=True)
    return np.asarray((solution @ right.reshape(size)).reshape(inputs, count))


def _within(residual: Floats, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The known cells whose residual is no outlier."""
    seen = residual[known]
    if seen.size == 0:
        return known
    limit = CLIP_SIGMA * 1.4826 * float(np.median(np.abs(seen - np.median(seen))))
    return known & (np.abs(np.nan_to_num(residual)) <= max(limit, 1e-12))
