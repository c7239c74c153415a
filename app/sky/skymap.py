"""The sky in rings of tracts, each a tangent plane cut into patches.

A tract is centred in its cell: a stretch of a ring of declination, or a polar cap. Tracts overlap
their neighbours and patches overlap by their border, so a direction may lie in several. Pixels
are those of the tract, 0-based; a patch is a window of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from app.errors import LimitError, RegionError
from app.sky.predicates import bounding_circle, contains_point, intersects
from app.sky.shapes import Circle, Point, Polygon, Region, Shape
from app.sky.vectors import (
    RADIANS_PER_DEGREE,
    Vector,
    add,
    angle,
    direction,
    dot,
    scale,
    unit_vector,
)

_MAX_SEARCH_RADIUS_DEG = 5.0


@dataclass(frozen=True, slots=True)
class PixelBox:
    """Half-open bounds in 0-based pixels of the tract."""

    x_min: int
    x_max: int
    y_min: int
    y_max: int

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return (self.y_max - self.y_min, self.x_max - self.x_min)


@dataclass(frozen=True, slots=True)
class Patch:
    """A window of a tract.

    ``inner`` boxes tile the tract; ``outer`` is grown by the border and cut at the tract's edge.
    The pixels of a product are those of ``outer``: ``shape`` is its (ny, nx) and ``header`` its
    TAN WCS (FITS cards, one a line).
    """

    tract: int
    patch: int
    header: str
    shape: tuple[int, int]
    inner: PixelBox
    outer: PixelBox
    outline: Polygon
    """The outer edge of the outer pixels on the sky."""


@dataclass(frozen=True, slots=True)
class _Plane:
    """The tangent plane of a tract: x grows to the west, y to the north."""

    lon_deg: float
    lat_deg: float
    step_rad: float
    size_px: int

    @property
    def centre(self) -> Vector:
        return unit_vector(self.lon_deg, self.lat_deg)

    @property
    def axes(self) -> tuple[Vector, Vector]:
        return (
            unit_vector(self.lon_deg + 90.0, 0.0),
            unit_vector(self.lon_deg, self.lat_deg + 90.0),
        )

    @property
    def middle_px(self) -> float:
        return (self.size_px - 1) / 2.0

    def to_sky(self, x_px: float, y_px: float) -> tuple[float, float]:
        east, north = self.axes
        xi = -(x_px - self.middle_px) * self.step_rad
        eta = (y_px - self.middle_px) * self.step_rad
        return direction(add(self.centre, add(scale(east, xi), scale(north, eta))))

    def to_pixel(self, v: Vector) -> tuple[float, float] | None:
        """None for directions that have no image in the plane."""
        depth = dot(v, self.centre)
        if depth <= 1e-3:
            return None
        east, north = self.axes
        x_px = self.middle_px - dot(v, east) / depth / self.step_rad
        return x_px, self.middle_px + dot(v, north) / depth / self.step_rad


class SkyMap:
    """Rings of tracts, after LSST's ring sky map.

    ``rings`` rings of equal height lie between two polar caps half as high; tracts are numbered
    from the south pole ring by ring to the north, patches row by row from the lower left. Raises
    LimitError when tracts of this size leave gaps between so few rings.
    """

    def __init__(
        self,
        *,
        pixel_scale_arcsec: float,
        patch_px: int,
        patch_border_px: int,
        tract_patches: int,
        rings: int,
    ) -> None:
        self._step_rad = pixel_scale_arcsec / 3600.0 * RADIANS_PER_DEGREE
        self._scale_deg = pixel_scale_arcsec / 3600.0
        self._patch_px = patch_px
        self._border_px = patch_border_px
        self._patches = tract_patches
        self._rings = rings
        self._height_deg = 180.0 / (rings + 1)
        self._counts = [self._count_in_ring(ring) for ring in range(rings)]
        self._check_coverage()

    @property
    def tracts(self) -> int:
        """How many tracts cover the sky."""
        return sum(self._counts) + 2

    def find_patches(self, shape: Shape) -> tuple[Patch, ...]:
        """Every patch whose outer box holds the point or overlaps the region, in order of number.

        Raises LimitError for a region that does not fit in a circle of 5 deg.
        """
        return tuple(
            self._make_patch(tract, plane, patch)
            for tract, plane in self._near_tracts(shape)
            for patch in self._hits(plane, shape)
        )

    def get_patch(self, tract: int, patch: int) -> Patch:
        """The patch of these numbers. Raises RegionError if there is none."""
        if not 0 <= tract < self.tracts:
            raise RegionError(f"tract {tract}", f"tracts are numbered 0 to {self.tracts - 1}")
        if not 0 <= patch < self._patches**2:
            raise RegionError(f"patch {patch}", f"patches are numbered 0 to {self._patches**2 - 1}")
        return self._make_patch(tract, self._plane(tract), patch)

    def _count_in_ring(self, ring: int) -> int:
        low = self._ring_lat_deg(ring) - self._height_deg / 2.0
        nearest = (
            0.0
            if low < 0.0 < low + self._height_deg
            else min(abs(low), abs(low + self._height_deg))
        )
        return int(360.0 * math.cos(nearest * RADIANS_PER_DEGREE) / self._height_deg) + 1

    def _ring_lat_deg(self, ring: int) -> float:
        return self._height_deg * (ring + 1) - 90.0

    def _check_coverage(self) -> None:
        half = self._patches * self._patch_px * self._step_rad / 2.0
        needed = max(self._half_width(ring) for ring in range(-1, self._rings))
        if needed > half:
            size_deg = 2.0 * half / RADIANS_PER_DEGREE
            raise LimitError(
                f"the height of the sky map's rings for tracts of {size_deg:.4g} deg",
                f"{self._height_deg:.4g} deg",
                f"{half / needed * self._height_deg:.4g} deg",
            )

    def _half_width(self, ring: int) -> float:
        """Half the side (on the tangent plane) that a tract needs to hold its cell."""
        half_deg = self._height_deg / 2.0
        if ring < 0:
            return math.tan(half_deg * RADIANS_PER_DEGREE)
        lat = self._ring_lat_deg(ring)
        plane = _Plane(0.0, lat, 1.0, 1)
        lons = (0.0, 180.0 / self._counts[ring])
        edges = [unit_vector(lon, lat + s * half_deg) for lon in lons for s in (-1.0, 1.0)]
        pixels = [plane.to_pixel(v) for v in edges]
        return max(max(abs(p[0]), abs(p[1])) if p else math.inf for p in pixels)

    def _plane(self, tract: int) -> _Plane:
        size = self._patches * self._patch_px
        if tract == 0:
            return _Plane(0.0, -90.0, self._step_rad, size)
        index = tract - 1
        for ring, count in enumerate(self._counts):
            if index < count:
                lat = self._ring_lat_deg(ring)
                return _Plane(index * 360.0 / count, lat, self._step_rad, size)
            index -= count
        return _Plane(0.0, 90.0, self._step_rad, size)

    def _near_tracts(self, shape: Shape) -> Iterator[tuple[int, _Plane]]:
        circle = (
            Circle(shape.lon_deg, shape.lat_deg, 0.0)
            if isinstance(shape, Point)
            else (bounding_circle(shape))
        )
        if circle.radius_deg > _MAX_SEARCH_RADIUS_DEG:
            asked = f"{circle.radius_deg:.4g} deg"
            raise LimitError("the radius of a region on the sky map", asked, "5 deg")
        side = self._patches * self._patch_px * self._step_rad
        reach_deg = circle.radius_deg + math.atan(side / math.sqrt(2.0)) / RADIANS_PER_DEGREE
        target = unit_vector(circle.lon_deg, circle.lat_deg)
        for tract in self._tracts_within(circle.lon_deg, circle.lat_deg, reach_deg):
            plane = self._plane(tract)
            if angle(plane.centre, target) <= reach_deg * RADIANS_PER_DEGREE:
                yield tract, plane

    def _tracts_within(self, lon_deg: float, lat_deg: float, reach_deg: float) -> Iterator[int]:
        """Numbers of the tracts whose centre may lie within reach, without the rest of the sky."""
        if lat_deg - reach_deg <= -90.0:
            yield 0
        first = 1
        for ring, count in enumerate(self._counts):
            if abs(self._ring_lat_deg(ring) - lat_deg) <= reach_deg:
                yield from (first + i for i in self._stretch(count, lon_deg, lat_deg, reach_deg))
            first += count
        if lat_deg + reach_deg >= 90.0:
            yield first

    def _stretch(self, count: int, lon_deg: float, lat_deg: float, reach_deg: float) -> list[int]:
        if abs(lat_deg) + reach_deg >= 90.0:
            return list(range(count))
        sine = math.sin(reach_deg * RADIANS_PER_DEGREE) / math.cos(lat_deg * RADIANS_PER_DEGREE)
        width_deg = math.asin(min(1.0, sine)) / RADIANS_PER_DEGREE
        low = math.floor((lon_deg - width_deg) * count / 360.0)
        high = math.ceil((lon_deg + width_deg) * count / 360.0)
        return sorted({i % count for i in range(low, min(high, low + count) + 1)})

    def _hits(self, plane: _Plane, shape: Shape) -> list[int]:
        if isinstance(shape, Point):
            return [p for p in self._columns_and_rows(plane, shape) if self._holds(plane, p, shape)]
        circle = bounding_circle(shape)
        return [p for p in range(self._patches**2) if self._overlaps(plane, p, shape, circle)]

    def _columns_and_rows(self, plane: _Plane, point: Point) -> list[int]:
        pixel = plane.to_pixel(unit_vector(point.lon_deg, point.lat_deg))
        if pixel is None:
            return []
        ranges = []
        for value in pixel:
            low = math.floor((value - self._border_px - 1) / self._patch_px)
            high = math.floor((value + self._border_px + 1) / self._patch_px)
            ranges.append(range(max(0, low), min(self._patches - 1, high) + 1))
        return [row * self._patches + column for row in ranges[1] for column in ranges[0]]

    def _holds(self, plane: _Plane, patch: int, point: Point) -> bool:
        return contains_point(_outline(plane, self._boxes(patch)[1]), point)

    def _overlaps(self, plane: _Plane, patch: int, region: Region, circle: Circle) -> bool:
        outline = _outline(plane, self._boxes(patch)[1])
        return intersects(circle, outline) and intersects(region, outline)

    def _boxes(self, patch: int) -> tuple[PixelBox, PixelBox]:
        row, column = divmod(patch, self._patches)
        size = self._patches * self._patch_px
        x, y, width, border = (
            column * self._patch_px,
            row * self._patch_px,
            self._patch_px,
            (self._border_px),
        )
        inner = PixelBox(x, x + width, y, y + width)
        outer = PixelBox(
            max(0, x - border),
            min(size, x + width + border),
            max(0, y - border),
            min(size, y + width + border),
        )
        return inner, outer

    def _make_patch(self, tract: int, plane: _Plane, patch: int) -> Patch:
        inner, outer = self._boxes(patch)
        return Patch(
            tract=tract,
            patch=patch,
            header=self._header(plane, outer),
            shape=outer.shape,
            inner=inner,
            outer=outer,
            outline=_outline(plane, outer),
        )

    def _header(self, plane: _Plane, box: PixelBox) -> str:
        """TAN WCS of the window, with its place in the tract as LTV and as alternate WCS 'A'.

        LONPOLE is written out: its default changes at a tract centred on the north pole.
        """
        cards: list[tuple[str, str | float | int]] = [
            ("WCSAXES", 2),
            ("RADESYS", "ICRS"),
            ("CTYPE1", "RA---TAN"),
            ("CTYPE2", "DEC--TAN"),
            ("CUNIT1", "deg"),
            ("CUNIT2", "deg"),
            ("CRVAL1", plane.lon_deg),
            ("CRVAL2", plane.lat_deg),
            ("CRPIX1", plane.middle_px + 1.0 - box.x_min),
            ("CRPIX2", plane.middle_px + 1.0 - box.y_min),
            ("CD1_1", -self._scale_deg),
            ("CD1_2", 0.0),
            ("CD2_1", 0.0),
            ("CD2_2", self._scale_deg),
            ("LONPOLE", 180.0),
            ("LTV1", -box.x_min),
            ("LTV2", -box.y_min),
            *_parent_cards(box),
        ]
        return "\n".join(_card(key, value) for key, value in cards)


def _parent_cards(box: PixelBox) -> list[tuple[str, str | float | int]]:
    return [
        ("WCSAXESA", 2),
        ("WCSNAMEA", "PARENT"),
        ("CTYPE1A", "LINEAR"),
        ("CTYPE2A", "LINEAR"),
        ("CUNIT1A", "pixel"),
        ("CUNIT2A", "pixel"),
        ("CRPIX1A", 1.0),
        ("CRPIX2A", 1.0),
        ("CRVAL1A", float(box.x_min)),
        ("CRVAL2A", float(box.y_min)),
        ("CD1_1A", 1.0),
        ("CD1_2A", 0.0),
        ("CD2_1A", 0.0),
        ("CD2_2A", 1.0),
    ]


def _card(key: str, value: str | float | int) -> str:
    text = f"'{value:<8}'" if isinstance(value, str) else repr(value).upper()
    return f"{key:<8}= {text:<20}" if isinstance(value, str) else f"{key:<8}= {text:>20}"


def _outline(plane: _Plane, box: PixelBox) -> Polygon:
    left, right = box.x_min - 0.5, box.x_max - 0.5
    low, high = box.y_min - 0.5, box.y_max - 0.5
    corners = ((left, low), (right, low), (right, high), (left, high))
    return Polygon(tuple(plane.to_sky(x, y) for x, y in corners))
