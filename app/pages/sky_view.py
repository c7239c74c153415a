"""Patches of the sky map as a page shows them: a drawing, and a line for each band of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.pages.position import format_position
from app.services.skymap import PatchCover
from app.sky.predicates import bounding_circle
from app.sky.shapes import Point, Polygon, Shape
from app.sky.tracts import TangentPlane
from app.sky.vectors import unit_vector

MAX_PATCHES = 400
_STEP_DEG = 1 / 3600
_MARK = 0.012
"""Radius of the mark at the position, as a share of the drawing."""
_SHADES = (0, 2, 5, 10, 20)
"""Exposures from which on a patch is one step darker."""


@dataclass(frozen=True, slots=True)
class PatchShape:
    """A polygon of the drawing: ``points`` as SVG has them; ``shade`` 0 (nothing) to 5."""

    points: str
    shade: int
    title: str
    tract: int
    patch: int


@dataclass(frozen=True, slots=True)
class SkyView:
    """North is up, east is left. ``view_box`` holds every polygon."""

    view_box: str
    shapes: list[PatchShape]
    mark: tuple[float, float, float]
    centres: dict[tuple[int, int], str]


def view_patches(covers: Sequence[PatchCover], asked: Shape) -> SkyView:
    """The drawing about the position, or the middle of the region, that was asked for."""
    circle = None if isinstance(asked, Point) else bounding_circle(asked)
    where = asked if isinstance(asked, Point) else circle
    lon, lat = (where.lon_deg, where.lat_deg) if where is not None else (0.0, 0.0)
    plane = TangentPlane(lon, lat, _STEP_DEG, 1)
    outlines = [_project(plane, each.patch.outline) for each in covers]
    corners = [corner for outline in outlines for corner in outline] or [(0.0, 0.0)]
    low_x, high_x = min(x for x, _ in corners), max(x for x, _ in corners)
    low_y, high_y = min(y for _, y in corners), max(y for _, y in corners)
    size = max(high_x - low_x, high_y - low_y, 1.0)
    pad = size / 50
    return SkyView(
        view_box=f"{low_x - pad:.0f} {low_y - pad:.0f} "
        f"{high_x - low_x + 2 * pad:.0f} {high_y - low_y + 2 * pad:.0f}",
        shapes=[_shape(each, outline) for each, outline in zip(covers, outlines, strict=True)],
        mark=(0.0, 0.0, size * _MARK),
        centres={(c.patch.tract, c.patch.patch): format_position(c.patch.centre) for c in covers},
    )


def _project(plane: TangentPlane, outline: Polygon) -> list[tuple[float, float]]:
    """Arcseconds to the right and down; what lies beyond the horizon is left out."""
    pixels = (plane.to_pixel(unit_vector(*vertex)) for vertex in outline.vertices)
    return [(pixel[0], -pixel[1]) for pixel in pixels if pixel is not None]


def _shape(cover: PatchCover, outline: Sequence[tuple[float, float]]) -> PatchShape:
    most = max((band.n_exposures for band in cover.bands), default=0)
    bands = ", ".join(f"{band.band} {band.n_exposures}" for band in cover.bands) or "no exposure"
    return PatchShape(
        points=" ".join(f"{x:.1f},{y:.1f}" for x, y in outline),
        shade=sum(most > limit for limit in _SHADES) if most else 0,
        title=f"tract {cover.patch.tract} patch {cover.patch.patch}: {bands}",
        tract=cover.patch.tract,
        patch=cover.patch.patch,
    )
