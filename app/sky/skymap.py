"""The sky in rings of tracts, each a tangent plane cut into patches.

A tract is centred in its cell: a stretch of a ring of declination, or a polar cap. The cells tile
the sky, so each direction belongs to one tract and one patch; tracts overlap their neighbours and
patches overlap by their border, so it may lie in several.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

from app.errors import LimitError, RegionError
from app.sky.predicates import bounding_circle
from app.sky.shapes import Circle, Point, Shape
from app.sky.tracts import Patch, TangentPlane, Tract
from app.sky.vectors import RADIANS_PER_DEGREE, angle, unit_vector

MAX_SEARCH_RADIUS_DEG = 5.0


class SkyMap:
    """Rings of tracts, after LSST's ring sky map, whose numbers it has.

    ``rings`` rings of equal height lie between two polar caps half as high; tracts are numbered
    from the south pole ring by ring to the north. Raises LimitError when tracts of this size
    leave gaps between so few rings.
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
        self._step_deg = pixel_scale_arcsec / 3600.0
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

    @property
    def patches(self) -> int:
        """How many patches a tract has."""
        return self._patches**2

    def find_patches(self, shape: Shape) -> tuple[Patch, ...]:
        """Every patch whose outer box holds the point or overlaps the region, in order of number.

        Raises LimitError for a region that does not fit in a circle of 5 deg.
        """
        return tuple(self.get_patch(*numbers) for numbers in self.find_numbers(shape))

    def find_numbers(self, shape: Shape, most: int | None = None) -> list[tuple[int, int]]:
        """(tract, patch) of what :meth:`find_patches` finds; with ``most`` the first so many,
        without looking at the tracts after them."""
        found = (
            (tract.tract, patch)
            for tract in self._near_tracts(shape)
            for patch in tract.find_patches(shape)
        )
        return list(islice(found, most))

    def locate(self, point: Point) -> Patch:
        """The patch a point belongs to: of the tract whose cell holds it the one whose inner box
        does."""
        return self.get_tract(self._cell_of(point)).patch_at(point)

    def get_patch(self, tract: int, patch: int) -> Patch:
        """The patch of these numbers. Raises RegionError if there is none."""
        found = self.get_tract(tract)
        if not 0 <= patch < self.patches:
            raise RegionError(f"patch {patch}", f"patches are numbered 0 to {self.patches - 1}")
        return found.make_patch(patch)

    def get_tract(self, tract: int) -> Tract:
        """The tract of this number. Raises RegionError if there is none."""
        if not 0 <= tract < self.tracts:
            raise RegionError(f"tract {tract}", f"tracts are numbered 0 to {self.tracts - 1}")
        return Tract(
            tract=tract,
            plane=TangentPlane(
                *self._centre(tract), self._step_deg, self._patches * self._patch_px
            ),
            patches=self._patches,
            patch_px=self._patch_px,
            border_px=self._border_px,
        )

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
        half = self._patches * self._patch_px * self._step_deg * RADIANS_PER_DEGREE / 2.0
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
        plane = TangentPlane(0.0, lat, 1.0 / RADIANS_PER_DEGREE, 1)
        lons = (0.0, 180.0 / self._counts[ring])
        edges = [unit_vector(lon, lat + s * half_deg) for lon in lons for s in (-1.0, 1.0)]
        pixels = [plane.to_pixel(v) for v in edges]
        return max(max(abs(p[0]), abs(p[1])) if p else math.inf for p in pixels)

    def _centre(self, tract: int) -> tuple[float, float]:
        """Longitude and latitude (deg) of a tract's centre."""
        if tract == 0:
            return 0.0, -90.0
        index = tract - 1
        for ring, count in enumerate(self._counts):
            if index < count:
                return index * 360.0 / count, self._ring_lat_deg(ring)
            index -= count
        return 0.0, 90.0

    def _cell_of(self, point: Point) -> int:
        """The tract whose cell holds the point."""
        ring = math.floor((point.lat_deg + 90.0) / self._height_deg - 0.5)
        if ring < 0:
            return 0
        if ring >= self._rings:
            return self.tracts - 1
        count = self._counts[ring]
        index = math.floor(point.lon_deg * count / 360.0 + 0.5) % count
        return 1 + sum(self._counts[:ring]) + index

    def _near_tracts(self, shape: Shape) -> Iterator[Tract]:
        circle = (
            Circle(shape.lon_deg, shape.lat_deg, 0.0)
            if isinstance(shape, Point)
            else bounding_circle(shape)
        )
        if circle.radius_deg > MAX_SEARCH_RADIUS_DEG:
            asked = f"{circle.radius_deg:.4g} deg"
            allowed = f"{MAX_SEARCH_RADIUS_DEG:g} deg"
            raise LimitError("the radius of a region on the sky map", asked, allowed)
        side = self._patches * self._patch_px * self._step_deg * RADIANS_PER_DEGREE
        reach_deg = circle.radius_deg + math.atan(side / math.sqrt(2.0)) / RADIANS_PER_DEGREE
        target = unit_vector(circle.lon_deg, circle.lat_deg)
        for number in self._tracts_within(circle.lon_deg, circle.lat_deg, reach_deg):
            tract = self.get_tract(number)
            if angle(tract.plane.centre, target) <= reach_deg * RADIANS_PER_DEGREE:
                yield tract

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
