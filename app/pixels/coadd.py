"""Stack masked images of one pixel grid: inverse-variance weighted mean, clipped mean, or median.

Flux is ``sum(w x) / sum(w)`` and variance ``sum(w^2 v) / (sum w)^2`` over the pixels used; ``w`` is
one number per input, 1 / clipped mean of its variance plane, so that the PSF of the stack does not
depend on brightness. The variance is right for inputs whose noise is independent of each other.

Inputs are read by bands of rows, as many as a given memory holds; every pixel is computed from its
own values and those of a fixed surrounding, so that the bytes do not depend on the bands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from app.errors import CoverageError, ParameterError, RecipeError
from app.pixels.bands import limit_threads, over_rows
from app.pixels.blend import EXCLUDED
from app.pixels.clip import clip_rows, shelter_rows
from app.pixels.coadded import Coadd, CoaddRows, Planes, empty_planes, whole_coadd
from app.pixels.image import MaskedImage
from app.pixels.networks import sorting_network
from app.pixels.placed import Rows, rows_of
from app.pixels.stack import Suspects, centre_rows, combine_rows
from app.pixels.statistics import clipped_mean, thinned
from app.pixels.warped import PixelSet, Warped

LEAST_FRACTION: Final = 0.3
UNKNOWN_FRACTION: Final = 0.6
"""Share of the local brightness by which inputs may differ unclipped, as flux scales and PSF shapes
do; the second where the seeing of an input is unknown. It grows with known seeing differences."""
SKY_ROWS: Final = 32
"""How many rows of the target tell the sky level that the local brightness is counted from."""
BAND_MEMORY: Final = 256 * 2**20
_INPUT_BYTES: Final = 12
_OUTPUT_BYTES: Final = 40
"""Of a pixel of a band: planes of each input; of the result and what it is clipped by."""
_TASK_ROWS: Final = 32
"""Of a band, handed to a thread at a time."""

Statistic = Literal["mean", "meanclip", "median"]
STATISTICS: Final = get_args(Statistic)


def coadd(
    inputs: Sequence[Warped],
    weights: Sequence[float] | None = None,
    *,
    statistic: Statistic = "meanclip",
    clip_sigma: float = 3.0,
    clip_iterations: int = 2,
    excluded: Sequence[PixelSet | None] = (),
    memory_bytes: int = BAND_MEMORY,
    between_bands: Callable[[int, int], None] | None = None,
) -> Coadd:
    """The weighted mean, or the median, of ``inputs``, which share one grid, unit and zero point.

    ``meanclip`` leaves out values more than ``clip_sigma`` from the rest (around the median first,
    then around the clipped mean) beyond a share of the local brightness (0.3, more when seeing
    differs). ``median`` takes the unweighted median; its variance is that of medians of normal
    values. ``excluded`` (nothing, or one entry for each input) names pixels that are left out of
    an input; they count as clipped. Mask: OR of the pixels used; NO_DATA where none was; CLIPPED,
    REJECTED, SENSOR_EDGE where an input was left out, and with any of those INEXACT_PSF.

    ``memory_bytes`` bounds the rows of all inputs held at a time (a band is never less than the
    surroundings of one row); ``between_bands(rows done, rows in all)`` is called before each band
    and may raise to stop.

    Raises CoverageError when no input has a usable pixel, RecipeError when shapes or zero points
    differ, ParameterError on an unknown statistic or a weight that is no number >= 0.
    """
    every = _weights(inputs, weights)
    rows = coadd_rows(
        inputs,
        (0, inputs[0].shape[0]),
        every,
        statistic=statistic,
        clip_sigma=clip_sigma,
        clip_iterations=clip_iterations,
        excluded=excluded,
        memory_bytes=memory_bytes,
        between_bands=between_bands,
    )
    return whole_coadd(inputs, rows, every)


def coadd_rows(
    inputs: Sequence[Warped],
    rows: tuple[int, int],
    weights: Sequence[float] | None = None,
    *,
    statistic: Statistic = "meanclip",
    clip_sigma: float = 3.0,
    clip_iterations: int = 2,
    excluded: Sequence[PixelSet | None] = (),
    memory_bytes: int = BAND_MEMORY,
    between_bands: Callable[[int, int], None] | None = None,
) -> CoaddRows:
    """The rows ``start <= y < stop`` of :func:`coadd`, which has the same options and errors.

    They are the same whatever other rows are made with them.
    """
    if statistic not in STATISTICS:
        raise ParameterError("statistic", f"{statistic!r} is not one of {', '.join(STATISTICS)}")
    every = _weights(inputs, weights)
    stack = _Stack(inputs, rows, every, excluded, statistic, clip_sigma, clip_iterations)
    band = stack.band_rows(memory_bytes)
    for start in range(*rows, band):
        if between_bands is not None:
            between_bands(start - rows[0], rows[1] - rows[0])
        stack.add_band(start, min(start + band, rows[1]))
    return stack.finish()


@dataclass(frozen=True, slots=True)
class _Room:
    """A band of rows: their mean with nothing clipped, and what they are clipped by.

    It is used for one band after the other: memory that is new costs more than what is in it.
    """

    planes: Planes
    middle: NDArray[np.float32]
    bright: NDArray[np.float32]
    shelter: NDArray[np.float32]
    suspects: Suspects

    def first(self, rows: int) -> _Room:
        """The first rows of the room."""
        flux, variance, mask, count = self.planes
        found, places, numbers = self.suspects
        return _Room(
            (flux[:rows], variance[:rows], mask[:rows], count[:rows]),
            self.middle[:rows],
            self.bright[:rows],
            self.shelter[:rows],
            (found[:rows], places[:rows], numbers[:rows]),
        )


def _make_room(ny: int, nx: int) -> _Room:
    middle, bright, shelter = (np.empty((ny, nx), dtype=np.float32) for _ in range(3))
    found, places = np.zeros(ny, dtype=np.int64), np.empty((ny, nx), dtype=np.int32)
    suspects = (found, places, np.empty((ny, 4, nx), dtype=np.float32))
    return _Room(empty_planes((ny, nx)), middle, bright, shelter, suspects)


class _Stack:
    """The planes of some rows of a coadd while they are made, band by band."""

    def __init__(
        self,
        inputs: Sequence[Warped],
        rows: tuple[int, int],
        every: Sequence[float],
        excluded: Sequence[PixelSet | None],
        statistic: Statistic,
        clip_sigma: float,
        clip_iterations: int,
    ) -> None:
        self._first = rows[0]
        self._every = every
        self._chosen = [index for index, weight in enumerate(every) if weight > 0]
        self._inputs = [inputs[index] for index in self._chosen]
        self._excluded = [excluded[index] if excluded else None for index in self._chosen]
        self._statistic = statistic
        self._clip = (clip_sigma, clip_iterations)
        self._shape = inputs[0].shape
        used = np.array([every[index] for index in self._chosen])
        self._weights = (used / used.max()).astype(np.float32)
        self._network = sorting_network(len(self._inputs))
        self._out = empty_planes((rows[1] - rows[0], self._shape[1]))
        self._counts = np.zeros((2, len(self._inputs)), dtype=np.int64)
        self._clipped = np.zeros(len(self._inputs), dtype=np.int64)
        self._widths = [each.fwhm_px for each in self._inputs]
        self._reach = _reach_px(self._widths) if statistic == "meanclip" else 0
        self._room: _Room | None = None
        self._sky = 0.0
        if statistic == "meanclip":
            self._sky = self._sky_level()

    def band_rows(self, memory_bytes: int) -> int:
        """Rows of a band whose inputs, its surroundings included, fit the memory."""
        row_bytes = self._shape[1] * (_INPUT_BYTES * len(self._inputs) + _OUTPUT_BYTES)
        return max(1, self._reach, memory_bytes // row_bytes - 2 * self._reach)

    def add_band(self, start: int, stop: int) -> None:
        """Combine the rows ``start <= y < stop``."""
        if self._statistic == "meanclip":
            self._clip_band(start, stop)
            return
        rows, planes = self._read(start, stop)
        out = tuple(plane[start - self._first : stop - self._first] for plane in self._out)
        medians = self._statistic == "median"
        counts = np.zeros((stop - start, 2, len(self._inputs)), dtype=np.int64)

        def combine(first: int, last: int) -> None:
            combine_rows(first, last, rows, self._weights, self._network, medians, out, counts)

        over_rows(combine, stop - start, band_rows=_TASK_ROWS)
        self._counts += counts.sum(axis=0)
        del planes

    def _clip_band(self, start: int, stop: int) -> None:
        """The same with values clipped; the centres of ``reach`` rows on either side count."""
        first, last = max(0, start - self._reach), min(self._shape[0], stop + self._reach)
        rows, planes = self._read(first, last)
        room = self._band_room(last - first)
        counts = self._centre(rows, room)
        self._spread(room)
        clipped = np.zeros((last - first, len(self._inputs)), dtype=np.int64)

        def clip(begin: int, end: int) -> None:
            low, high = begin + start - first, end + start - first
            out, lost = room.planes[:3], clipped[low]
            clip_rows(
                low, high, rows, self._weights, room.suspects, room.shelter, self._clip, out, lost
            )
            own = slice(start - self._first + begin, start - self._first + end)
            for plane, part in zip(self._out, room.planes, strict=True):
                plane[own] = part[low:high]

        over_rows(clip, stop - start, band_rows=_TASK_ROWS)
        self._counts += counts[start - first : stop - first].sum(axis=0)
        self._clipped += clipped.sum(axis=0)
        del planes

    def _band_room(self, rows: int) -> _Room:
        """Room for a band of so many rows: that of the band before where it is large enough."""
        if self._room is None or len(self._room.middle) < rows:
            self._room = _make_room(rows, self._shape[1])
        return self._room.first(rows)

    def _read(self, start: int, stop: int) -> tuple[Rows, list[MaskedImage]]:
        """Rows of every input, where they lie, and what keeps them alive."""
        planes: list[MaskedImage] = [self._inputs[0].rows(start, start)] * len(self._inputs)

        def read(first: int, last: int) -> None:
            for n in range(first, last):
                planes[n] = self._read_input(n, start, stop)

        over_rows(read, len(self._inputs), band_rows=1)
        return rows_of(planes), planes

    def _read_input(self, n: int, start: int, stop: int) -> MaskedImage:
        image = self._inputs[n].rows(start, stop)
        mask = np.ascontiguousarray(image.mask, dtype=np.int32)
        left_out = self._excluded[n]
        if left_out is not None:
            chosen = left_out.rows(start, stop, self._shape[1])
            mask = mask | np.where(chosen, np.int32(EXCLUDED), np.int32(0))
        return MaskedImage(
            np.ascontiguousarray(image.flux, dtype=np.float32),
            np.ascontiguousarray(image.variance, dtype=np.float32),
            mask,
        )

    def _centre(self, rows: Rows, room: _Room) -> NDArray[np.int64]:
        """Fill a room but for the shelter; each row's counts."""
        levels, bright = (self._sky, self._clip[0]), (room.middle, room.bright)
        counts = np.zeros((rows[1], 2, len(self._inputs)), dtype=np.int64)

        def centre(first: int, last: int) -> None:
            given = (rows, self._weights, self._network, levels)
            centre_rows(first, last, *given, room.suspects, bright, room.planes, counts)

        over_rows(centre, rows[1], band_rows=_TASK_ROWS)
        return counts

    def _spread(self, room: _Room) -> None:
        """The shelter: a share of the brightness within about a PSF width, above sky and noise.

        The wings of a star differ between seeings by more than a share of their own brightness,
        but by less than that share of what stands a little nearer to the centre.
        """
        share = _fraction(self._widths)

        def spread(first: int, last: int) -> None:
            shelter_rows(first, last, room.bright, self._reach, share, room.shelter)

        over_rows(spread, len(room.bright))

    def _sky_level(self) -> float:
        """The level of the sky, from rows all over the target."""
        ny, nx = self._shape
        places = range(0, ny, -(-ny // SKY_ROWS))
        level = np.empty((len(places), nx), dtype=np.float32)

        def look(first: int, last: int) -> None:
            with limit_threads(1):
                for n in range(first, last):
                    rows, planes = self._read(places[n], places[n] + 1)
                    room = _make_room(1, nx)
                    self._centre(rows, room)
                    level[n] = room.middle[0]
                    del planes

        over_rows(look, len(places), band_rows=1)
        return clipped_mean(thinned(level[np.isfinite(level)])).mean

    def finish(self) -> CoaddRows:
        """The rows, once all bands are in."""
        good, left_out = np.zeros((2, len(self._every)), dtype=np.int64)
        good[self._chosen] = self._counts.sum(axis=0)
        left_out[self._chosen] = self._counts[1] + self._clipped
        return CoaddRows(self._out, good, left_out)


def _weights(inputs: Sequence[Warped], weights: Sequence[float] | None) -> list[float]:
    """Those given, or each input's own. Raises what :func:`coadd` raises of its inputs."""
    for each in inputs:
        _check_alike(inputs[0], each)
    every = [float(w) for w in weights] if weights is not None else [i.weight for i in inputs]
    for index, weight in enumerate(every):
        if not (math.isfinite(weight) and weight >= 0):
            raise ParameterError("weights", f"weight {index} is {weight}, not a number >= 0")
    if not any(every):
        raise CoverageError("images with usable pixels", 0, 1)
    return every


def _reach_px(widths: Sequence[float | None]) -> int:
    """How far around a pixel brightness shelters it: about three quarters of the widest FWHM."""
    return max(1, min(15, round(0.75 * max(width or 4.0 for width in widths))))


def _fraction(widths: Sequence[float | None]) -> float:
    """Peaks go as 1 / FWHM^2: how far those of the extremes lie from the median one, and 30 %."""
    known = [width for width in widths if width is not None]
    if len(known) < len(widths):
        return UNKNOWN_FRACTION
    fwhm = np.array(known)
    relative = np.abs((np.median(fwhm) / fwhm) ** 2 - 1.0).max()
    return max(LEAST_FRACTION, 1.3 * float(relative))


def _check_alike(first: Warped, image: Warped) -> None:
    """Raises RecipeError when two images cannot be stacked."""
    if image.shape != first.shape:
        raise RecipeError(f"images of shapes {first.shape} and {image.shape} cannot be stacked")
    known = (first.zero_point_mag, image.zero_point_mag)
    if None in known and known != (None, None):
        raise RecipeError(
            "images with and without a zero point cannot be stacked: scale them first"
        )
    if known[0] is not None and known[1] is not None and abs(known[0] - known[1]) > 1e-3:
        raise RecipeError(f"images have different zero points: {known[0]} and {known[1]} mag")
