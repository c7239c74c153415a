"""Cutouts: which pixels of which planes are meant, found before any of them is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from app.errors import ImageFormatError, NoOverlapError, ParameterError, quoted
from app.pixels.cube_axes import CubeAxes
from app.pixels.grid import Grid
from app.pixels.region_bounds import Bounds, find_bounds
from app.pixels.wcs_cards import find_sky_axes
from app.recipes.cutout import CutoutRequest, PixelBox, Place
from app.recipes.recipe import ImageRef, PlaneRef
from app.recipes.values import Interval
from app.schema.access import ANYBODY, Identity
from app.schema.rows import DatasetRow, difference_path
from app.services.access import GATE, Gate
from app.stores.images import find_plane
from app.stores.plane_files import PlaneFiles, StoredUnit, Window
from app.stores.tables.datasets import DatasetStore

REMEMBERED: Final = 1024
PSF_PLANE: Final = "psf"
"""How EXT names the PSF."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The part of one plane."""

    plane: PlaneRef
    unit: StoredUnit
    window: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutout:
    """What is to be read of an image. ``bounds``: half-open (y0, y1, x0, x1) on the sky plane."""

    request: CutoutRequest
    row: DatasetRow
    ref: ImageRef
    grid: Grid
    bounds: Bounds
    image: StoredUnit
    cuts: tuple[Cut, ...]
    with_psf: bool


class CutoutService:
    """Finds what cutouts hold."""

    def __init__(self, *, datasets: DatasetStore, files: PlaneFiles, gate: Gate = GATE) -> None:
        self._datasets = datasets
        self._gate = gate
        self._files = files
        self._known = lru_cache(maxsize=REMEMBERED)(_read_ref)

    def find(self, request: CutoutRequest, identity: Identity = ANYBODY) -> Cutout:
        """What a request of someone means.

        Raises
        ------
        NoOverlapError
            The image has no pixels there: on the sky, in wavelength, time or polarisation.
        DatasetNotFoundError
            The identifier is not known.
        AuthenticationError, ForbiddenError
            They may not have the pixels.
        ParameterError
            The image has no pixels here, or no such plane.
        ImageFormatError
            The file cannot be read.
        """
        row = self._datasets.get(request.dataset_id)
        self._gate.require(identity, row)
        ref, grid = self._image_of(row)
        bounds = _bounds(grid, request.place)
        chosen, with_psf = _choose_planes(ref, self._names(ref, request), request)
        image = self._find(find_plane(ref, "image") or ref.planes[0])
        spans = _other_spans(request, row, image.axes)
        cuts = [self._cut(plane, grid, image, bounds, spans) for plane in chosen]
        return Cutout(
            request=request,
            row=row,
            ref=ref,
            grid=grid,
            bounds=bounds,
            image=image,
            cuts=tuple(cuts),
            with_psf=with_psf,
        )

    def _image_of(self, row: DatasetRow) -> tuple[ImageRef, Grid]:
        if row.is_external:
            where = row.columns.get("access_url") or "an address nobody gave"
            reason = f"{row.dataset_id} lies at another service ({where}), which may cut it"
            raise ParameterError("ID", reason)
        if row.is_buildable:
            path = difference_path(row.dataset_id)
            raise ParameterError("ID", f"{row.dataset_id} is not built yet; GET {path} builds it")
        ref, grid = self._known(row.image_ref)
        if grid is None or not ref.planes:
            reason = f"{row.dataset_id} is no image with a pixel grid on the sky"
            raise ParameterError("ID", reason)
        return ref, grid

    def _find(self, plane: PlaneRef) -> StoredUnit:
        return self._files.find(plane.path, plane.hdu)

    def _names(self, ref: ImageRef, request: CutoutRequest) -> dict[str, PlaneRef]:
        """What EXT may say of each plane, in lower case: its role, number and EXTNAME."""
        if not request.planes:
            return {}
        names: dict[str, PlaneRef] = {}
        for plane in ref.planes:
            extname = str(self._find(plane).header.get("EXTNAME", "")).strip().lower()
            for name in (plane.role, str(plane.hdu), extname):
                if name:
                    names.setdefault(name, plane)
        return names

    def _cut(
        self,
        plane: PlaneRef,
        grid: Grid,
        image: StoredUnit,
        bounds: Bounds,
        spans: dict[int, tuple[int, int]],
    ) -> Cut:
        unit = self._find(plane)
        same = len(unit.shape) == len(image.shape)
        axes = _sky_axes(image) if same else (len(unit.shape) - 2, len(unit.shape) - 1)
        if len(unit.shape) < 2 or tuple(unit.shape[axis] for axis in axes) != grid.shape:
            reason = f"its {plane.role} plane has the shape {unit.shape}"
            raise ImageFormatError(plane.path.rpartition("/")[2], reason)
        window = [(0, size) for size in unit.shape]
        for axis, span in spans.items() if same else ():
            window[axis] = span
        window[axes[0]], window[axes[1]] = bounds[:2], bounds[2:]
        return Cut(plane=plane, unit=unit, window=tuple(window))


def _read_ref(text: str) -> tuple[ImageRef, Grid | None]:
    ref = ImageRef.from_text(text)
    return ref, Grid.from_text(ref.grid) if ref.grid else None


def _sky_axes(image: StoredUnit) -> tuple[int, int]:
    """The axes y, x as numpy counts them."""
    if len(image.shape) == 2:
        return 0, 1
    first, second = find_sky_axes(image.header)
    return len(image.shape) - second, len(image.shape) - first


def _bounds(grid: Grid, place: Place | None) -> Bounds:
    ny, nx = grid.shape
    if place is None:
        return 0, ny, 0, nx
    if place.region is not None:
        found = find_bounds(grid, place.region)
    else:
        found = _box_bounds(grid, place.pixels or (-math.inf, math.inf, -math.inf, math.inf))
    if found is None:
        raise NoOverlapError(place.asked)
    return found


def _box_bounds(grid: Grid, box: PixelBox) -> Bounds | None:
    ny, nx = grid.shape
    x0, x1 = max(box[0], 0), min(box[1], nx - 1)
    y0, y1 = max(box[2], 0), min(box[3], ny - 1)
    first = math.ceil(y0 - 0.5), math.ceil(x0 - 0.5)
    last = math.floor(y1 + 0.5), math.floor(x1 + 0.5)
    if x0 > x1 or y0 > y1:
        return None
    return first[0], min(last[0] + 1, ny), first[1], min(last[1] + 1, nx)


def _choose_planes(
    ref: ImageRef, names: dict[str, PlaneRef], request: CutoutRequest
) -> tuple[tuple[PlaneRef, ...], bool]:
    """The planes that EXT names, in the order of the image, and whether the PSF is among them."""
    if not request.planes:
        return ref.planes, True
    asked = {word.lower() for word in request.planes}
    unknown = next(
        (word for word in request.planes if word.lower() not in {*names, PSF_PLANE}), None
    )
    if unknown is not None:
        offered = ", ".join(dict.fromkeys(plane.role for plane in ref.planes))
        reason = (
            f"{quoted(unknown)}: this image has {offered} (or its EXTNAMEs or HDU numbers), psf"
        )
        raise ParameterError("EXT", reason)
    wanted = [names[word] for word in asked if word in names]
    if not wanted:
        raise ParameterError("EXT", "name a plane of pixels beside the psf")
    return tuple(plane for plane in ref.planes if plane in wanted), PSF_PLANE in asked


def _other_spans(
    request: CutoutRequest, row: DatasetRow, axes: CubeAxes
) -> dict[int, tuple[int, int]]:
    """The channels along the axes that are not on the sky; of those that the image does not have,
    its row tells whether there is anything. Raises NoOverlapError."""
    spans: dict[int, tuple[int, int]] = {}
    if request.band is not None:
        found = axes.band_span(request.band)
        _keep(spans, axes.band_axis, found, _row_span(row, "em", request.band), "BAND")
    if request.time is not None:
        found = axes.time_span(request.time)
        _keep(spans, axes.time_axis, found, _row_span(row, "t", request.time), "TIME")
    if request.pol:
        found = axes.pol_span(request.pol)
        _keep(spans, axes.pol_axis, found, _has_state(row, request.pol), "POL")
    return spans


def _keep(
    spans: dict[int, tuple[int, int]],
    axis: int | None,
    found: tuple[int, int] | None,
    row_overlaps: bool,
    name: str,
) -> None:
    if axis is None:
        if not row_overlaps:
            raise NoOverlapError(name)
    elif found is None:
        raise NoOverlapError(name)
    else:
        spans[axis] = found


def _row_span(row: DatasetRow, prefix: str, interval: Interval) -> bool:
    """Whether a row's span (``em_min`` to ``em_max`` …) has a value in common with an interval; one
    that nobody knows might."""
    low, high = row.columns.get(f"{prefix}_min"), row.columns.get(f"{prefix}_max")
    return (low is None or float(low) <= interval[1]) and (
        high is None or float(high) >= interval[0]
    )


def _has_state(row: DatasetRow, states: tuple[str, ...]) -> bool:
    """Whether an image shows one of the states: total intensity, where it does not say."""
    told = str(row.columns.get("pol_states") or "/I/").upper().split("/")
    return any(state in told for state in states)
