"""Differential backgrounds: smooth surfaces by which the sky levels of overlapping inputs differ.

The sky itself cannot be told from faint nebulae in one exposure, but differences between exposures
of one field are sky alone. Each cell of pixels gives every input's median distance from the mean of
all inputs there; one least-squares fit finds all inputs' polynomials at once, as Montage does
for pairs (Jacob et al. 2009, arXiv:1005.4454, section 3.4), with the mean of all left as it is.

Time grows with the number of inputs, not with that of their pairs; beside one number for each cell
of each input, only a few rows are held at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

from app.pixels.adjusted import Surface, powers, unit_range
from app.pixels.background import FIT_REJECT
from app.pixels.bands import Between, over_rows
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
TOLERANCE: Final = 1e-9


def differential_backgrounds(
    inputs: Sequence[Warped], *, order: int = 1, between: Between = lambda *_: None
) -> list[Surface]:
    """What to subtract from each input so that all show one sky where they overlap.

    Polynomials of total degree ``order`` over the target. An input that overlaps no other in at
    least two cells for each of its coefficients is left as it is (all coefficients 0). ``between``
    is told (lines of cells done, in all) and may raise to stop.
    """
    shape = inputs[0].shape
    levels, places = _cell_levels(inputs, between)
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


def _cell_levels(inputs: Sequence[Warped], between: Between) -> tuple[Floats, Floats]:
    """Median distance of each input (N, cells) from all inputs' mean, NaN where unknown, and the
    middles of the cells (cells, 2) as x and y from -1 to 1."""
    ny, nx = inputs[0].shape
    edges = np.arange(0, nx, CELL_PX)
    widths = np.minimum(CELL_PX, nx - edges)
    lines = -(-ny // CELL_PX)
    levels = np.full((len(inputs), lines, len(edges)), np.nan)

    def look(first: int, last: int) -> None:
        for line in range(first, last):
            start = line * CELL_PX
            rows = range(start, min(start + CELL_PX, ny), CELL_PX // SAMPLED_ROWS)
            levels[:, line] = _levels_of_rows(inputs, rows, widths)

    over_rows(look, lines, band_rows=1, between=between)
    y = unit_range(0.5 * (np.arange(lines) * CELL_PX + _last_rows(lines, ny)), ny)
    x = unit_range(edges + 0.5 * (widths - 1), nx)
    places = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    return levels.reshape(len(inputs), -1), places


def _last_rows(lines: int, ny: int) -> NDArray[np.int64]:
    return np.minimum(np.arange(1, lines + 1) * CELL_PX, ny) - 1


def _levels_of_rows(inputs: Sequence[Warped], rows: range, widths: NDArray[np.int64]) -> Floats:
    """Of one line of cells, from some of its pixel rows: (N, cells).

    A mean, unlike a median, is as far from each input on average as the sky levels are. Pixels
    where too many of the inputs that have the cell are not usable are left aside.
    """
    shape = (len(rows), int(widths.sum()))
    total, count = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.int32)
    present = np.zeros(len(widths), dtype=np.int32)
    for each in inputs:
        flux, usable, seen = _look(each, rows, widths)
        total += np.where(usable, flux, np.float32(0))
        count += usable
        present += seen
    mean = total / np.maximum(1, count).astype(np.float32)
    complete = count >= np.maximum(LEAST_OVERLAP, LEAST_COMPLETE * np.repeat(present, widths))
    levels = np.empty((len(inputs), len(widths)))
    for n, each in enumerate(inputs):
        flux, usable, _ = _look(each, rows, widths)
        levels[n] = _cell_medians(np.where(usable & complete, flux - mean, np.nan), widths)
    return levels


def _look(
    each: Warped, rows: range, widths: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Flux and usable pixels of some rows of an input, and which cells it has enough of."""
    lines = [each.rows(y, y + 1) for y in rows]
    flux = np.concatenate([line.flux for line in lines])
    usable = np.concatenate([line.usable(FIT_REJECT) for line in lines])
    starts = np.cumsum(widths) - widths
    share = np.add.reduceat(usable.sum(axis=0), starts) / (widths * len(rows))
    present = share >= LEAST_SHARE
    return flux, usable & np.repeat(present, widths), present


def _cell_medians(values: NDArray[np.float32], widths: NDArray[np.int64]) -> Floats:
    """Median of the values of each cell that are no NaN; NaN where they are few."""
    lines, nx = values.shape
    padded = np.full((lines, len(widths) * CELL_PX), np.nan, dtype=np.float32)
    padded[:, :nx] = values
    cells = padded.reshape(lines, len(widths), CELL_PX).swapaxes(0, 1)
    ordered = np.sort(cells.reshape(len(widths), -1), axis=1)  # NaN come last
    count = np.isfinite(ordered).sum(axis=1)
    cell = np.arange(len(widths))
    low, high = (ordered[cell, np.maximum(0, place)] for place in ((count - 1) // 2, count // 2))
    enough = count >= np.maximum(2, LEAST_SHARE * lines * widths)
    return np.where(enough, 0.5 * (low.astype(np.float64) + high), np.nan)


def _mean_over_inputs(values: Floats) -> Floats:
    """Mean of the known values of each cell, 0 where there is none."""
    known = np.isfinite(values)
    return np.asarray(np.where(known, values, 0.0).sum(axis=0) / np.maximum(1, known.sum(axis=0)))


def _fit(levels: Floats, known: NDArray[np.bool_], terms: Floats) -> Floats:
    """Coefficients (N, terms) that bring the inputs of every cell to one level.

    Each cell tells its inputs' distances from their mean; what no cell tells (a surface common to
    all inputs) comes out 0, as the smallest solution is taken (LSQR; Paige & Saunders 1982, ACM
    TOMS 8, 43).
    """
    shape = (len(levels), terms.shape[1])

    def centred(values: Floats) -> Floats:
        held = np.where(known, values, 0.0)
        mean = held.sum(axis=0) / np.maximum(1, known.sum(axis=0))
        return np.asarray(np.where(known, held - mean, 0.0))

    operator = scipy.sparse.linalg.LinearOperator(
        (levels.size, math.prod(shape)),
        matvec=lambda solution: centred(solution.reshape(shape) @ terms.T).ravel(),
        rmatvec=lambda values: (centred(values.reshape(levels.shape)) @ terms).ravel(),
        dtype=np.float64,
    )
    solution = scipy.sparse.linalg.lsqr(
        operator, centred(levels).ravel(), atol=TOLERANCE, btol=TOLERANCE
    )[0]
    return np.asarray(solution.reshape(shape))


def _within(residual: Floats, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The known cells whose residual is no outlier."""
    seen = residual[known]
    if seen.size == 0:
        return known
    limit = CLIP_SIGMA * 1.4826 * float(np.median(np.abs(seen - np.median(seen))))
    return known & (np.abs(np.nan_to_num(residual)) <= max(limit, 1e-12))
