"""A tract of the sky map: a tangent plane cut into square patches that overlap by a border.

Pixels are those of the tract, 0-based, the first at its lower left; a patch is a window of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from app.sky.predicates import bounding_circle, contains_point, intersects
from app.sky.shapes import Circle, Point, Polygon, Shape
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

_LEAST_DEPTH = 1e-3
"""Directions as far as this from the plane's horizon have no image in it."""
_WIDEST_RAD = 1.4
"""Circles that reach farther than this from the centre are looked for on the whole plane."""

CardValue = str | float | int


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
    TAN WCS (FITS cards, one a line). Patches of a tract are numbered row by row from the lower
    left.
    """

    tract: int
    patch: int
    column: int
    row: int
    header: str
    shape: tuple[int, int]
    inner: PixelBox
    outer: PixelBox
    centre: Point
    """Of the inner box."""
    outline: Polygon
    """The outer edge of the outer pixels on the sky."""


@dataclass(frozen=True, slots=True)
class TangentPlane:
    """The tangent plane of a tract: x grows to the west, y to the north."""

    lon_deg: float
    lat_deg: float
    step_deg: float
    size_px: int

    @property
    def step_rad(self) -> float:
        """Size of a pixel."""
        return self.step_deg * RADIANS_PER_DEGREE

    @property
    def centre(self) -> Vector:
        """Unit vector of the point where the plane touches the sphere."""
        return unit_vector(self.lon_deg, self.lat_deg)

    @property
    def middle_px(self) -> float:
        """Pixel coordinate of that point, on both axes."""
        return (self.size_px - 1) / 2.0

    def to_sky(self, x_px: float, y_px: float) -> tuple[float, float]:
        """Longitude and latitude (deg) of a pixel position."""
        east, north = self._axes()
        xi = -(x_px - self.middle_px) * self.step_rad
        eta = (y_px - self.middle_px) * self.step_rad
        return direction(add(self.centre, add(scale(east, xi), scale(north, eta))))

    def to_pixel(self, v: Vector) -> tuple[float, float] | None:
        """None for directions that have no image in the plane."""
        depth = dot(v, self.centre)
        if depth <= _LEAST_DEPTH:
            return None
        east, north = self._axes()
        x_px = self.middle_px - dot(v, east) / depth / self.step_rad
        return x_px, self.middle_px + dot(v, north) / depth / self.step_rad

    def outline(self, box: PixelBox) -> Polygon:
        """The outer edge of the pixels of a box."""
        left, right = box.x_min - 0.5, box.x_max - 0.5
        low, high = box.y_min - 0.5, box.y_max - 0.5
        corners = ((left, low), (right, low), (right, high), (left, high))
        return Polygon(tuple(self.to_sky(x, y) for x, y in corners))

    def _axes(self) -> tuple[Vector, Vector]:
        return (
            unit_vector(self.lon_deg + 90.0, 0.0),
            unit_vector(self.lon_deg, self.lat_deg + 90.0),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tract:
    """``patches`` times ``patches`` patches of ``patch_px`` pixels and a border around each."""

    tract: int
    plane: TangentPlane
    patches: int
    patch_px: int
    border_px: int

    @property
    def box(self) -> PixelBox:
        """All pixels."""
        size = self.plane.size_px
        return PixelBox(0, size, 0, size)

    @property
    def outline(self) -> Polygon:
        """The outer edge of all pixels on the sky."""
        return self.plane.outline(self.box)

    def make_patch(self, patch: int) -> Patch:
        """The patch of a number."""
        row, column = divmod(patch, self.patches)
        inner, outer = self._boxes(column, row)
        middle_x = (inner.x_min + inner.x_max - 1) / 2.0
        middle_y = (inner.y_min + inner.y_max - 1) / 2.0
        return Patch(
            tract=self.tract,
            patch=patch,
            column=column,
            row=row,
            header=_header(self.plane, outer),
            shape=outer.shape,
            inner=inner,
            outer=outer,
            centre=Point(*self.plane.to_sky(middle_x, middle_y)),
            outline=self.plane.outline(outer),
        )

    def patch_at(self, point: Point) -> Patch:
        """The patch whose inner box holds a point of the tract, or is nearest to it."""
        pixel = self.plane.to_pixel(unit_vector(point.lon_deg, point.lat_deg))
        x, y = pixel or (0.0, 0.0)
        column, row = (
            min(max(math.floor((value + 0.5) / self.patch_px), 0), self.patches - 1)
            for value in (x, y)
        )
        return self.make_patch(row * self.patches + column)

    def find_patches(self, shape: Shape) -> list[int]:
        """Numbers of the patches whose outer box holds the point or overlaps the region."""
        circle = (
            Circle(shape.lon_deg, shape.lat_deg, 0.0)
            if isinstance(shape, Point)
            else bounding_circle(shape)
        )
        return [p for p in self._near(circle) if self._touches(p, shape, circle)]

    def _touches(self, patch: int, shape: Shape, circle: Circle) -> bool:
        row, column = divmod(patch, self.patches)
        outline = self.plane.outline(self._boxes(column, row)[1])
        if isinstance(shape, Point):
            return contains_point(outline, shape)
        return intersects(circle, outline) and intersects(shape, outline)

    def _near(self, circle: Circle) -> list[int]:
        """Numbers of the patches in the rows and columns that the image of a circle reaches."""
        v = unit_vector(circle.lon_deg, circle.lat_deg)
        away, radius = angle(v, self.plane.centre), circle.radius_deg * RADIANS_PER_DEGREE
        pixel = self.plane.to_pixel(v)
        if pixel is None or away + radius > _WIDEST_RAD:
            return [] if circle.radius_deg == 0.0 else list(range(self.patches**2))
        reach = (math.tan(away + radius) - math.tan(away)) / self.plane.step_rad
        reach += self.border_px + 1
        ranges = []
        for value in pixel:
            low = math.floor((value - reach) / self.patch_px)
            high = math.floor((value + reach) / self.patch_px)
            ranges.append(range(max(0, low), min(self.patches - 1, high) + 1))
        return [row * self.patches + column for row in ranges[1] for column in ranges[0]]

    def _boxes(self, column: int, row: int) -> tuple[PixelBox, PixelBox]:
        size, border = self.plane.size_px, self.border_px
        x, y = column * self.patch_px, row * self.patch_px
        inner = PixelBox(x, x + self.patch_px, y, y + self.patch_px)
        outer = PixelBox(
            max(0, inner.x_min - border),
            min(size, inner.x_max + border),
            max(0, inner.y_min - border),
            min(size, inner.y_max + border),
        )
        return inner, outer


def _header(plane: TangentPlane, box: PixelBox) -> str:
    """TAN WCS of the window, with its place in the tract as LTV and as alternate WCS 'A'.

    LONPOLE is written out: its default changes at a tract centred on the north pole.
    """
    cards: list[tuple[str, CardValue]] = [
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
        ("CD1_1", -plane.step_deg),
        ("CD1_2", 0.0),
        ("CD2_1", 0.0),
        ("CD2_2", plane.step_deg),
        ("LONPOLE", 180.0),
        ("LTV1", -box.x_min),
        ("LTV2", -box.y_min),
        *_parent_cards(box),
    ]
    return "\n".join(_card(key, value) for key, value in cards)


def _parent_cards(box: PixelBox) -> list[tuple[str, CardValue]]:
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


def _card(key: str, value: CardValue) -> str:
    text = f"'{value:<8}'" if isinstance(value, str) else repr(value).upper()
    return f"{key:<8}= {text:<20}" if isinstance(value, str) else f"{key:<8}= {text:>20}"
