"""The geometry of PostgreSQL's SQL, which needs no extension.

Positions and regions are found by boxes of longitude and latitude, which its functions
``adql_reach`` and ``adql_frame`` put around what is searched: GiST serves them in whatever
condition they stand. Beside each region lie circles that settle most tests
(:mod:`app.adql.postgres_caps`); what these leave open is asked of figures (:mod:`app.sky.figures`),
arrays of numbers that functions of the database compare. Circles beyond a hemisphere are asked of
the circle left of the sky.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple
from typing import Final

from app.adql import postgres_caps, typed
from app.adql.postgres_caps import Caps, constant_caps
from app.adql.postgres_shapes import (
    HEMISPHERE_DEG,
    beyond_hemisphere,
    centre_of,
    great_circle,
    is_circle,
    is_indexed,
    is_plain,
    known_plane,
    range_frames,
)
from app.adql.region_distance import region_distance
from app.adql.spatial_index import (
    IndexUse,
    RegionColumns,
    figure_column,
    find_centre_index,
    find_index,
    is_published,
    is_range,
    plane_position,
    region_text_column,
)
from app.adql.typed import Expression
from app.adql.writer import SqlWriter
from app.sky.dali import format_shape
from app.sky.figures import figure_text
from app.sky.predicates import ONE_POINT_DEG, bounding_circle
from app.sky.shapes import Circle, Point, Polygon, Range
from app.sky.tangent_planes import OUTER_MARGIN_RAD
from app.sky.vectors import unit_vector

_DEG2_PER_STERADIAN: Final = (180 / 3.141592653589793) ** 2
SMALL_DEG: Final = 0.5
_SIDES: Final = (0, 1)
"""A frame on the sky, and what of it lies beyond the seam at longitude 0."""


class PostgresSpatial(SqlWriter):
    """Writes geometries for PostgreSQL."""

    def shape_text(self, numbers: Sequence[Expression]) -> str:
        texts = [
            f"CAST(trim_scale(round(CAST({self.real(number)} AS numeric), 10)) AS text)"
            for number in numbers
        ]
        return "(" + " || ' ' || ".join(texts) + ")"

    def box_text(self, box: typed.BoxOf) -> str:
        return f"adql_polygon_text({self._vertices(box)})"

    def is_polygon(self, polygon: typed.PolygonOf) -> str:
        return f"{self._figure(polygon)} IS NOT NULL"

    def constant_text(self, constant: typed.Constant) -> str:
        return f"CAST({self.bind(format_shape(constant.shape))} AS text)"

    def spatial_value(self, spatial: typed.Spatial) -> str:
        test = self.spatial_test(spatial, False)
        return f"(CASE WHEN {test} THEN 1 WHEN NOT {test} THEN 0 END)"

    def spatial_test(self, spatial: typed.Spatial, is_positive: bool) -> str:
        inner, outer = spatial.inner, spatial.outer
        if spatial.relation == "overlap" and beyond_hemisphere(inner):
            inner, outer = outer, inner
        if inner.kind == "point" and outer.kind == "point":
            test = f"{self._distance(inner, outer)} < {ONE_POINT_DEG!r}"
        elif beyond_hemisphere(outer):
            test = self._beyond(spatial.relation, inner, outer)
        elif beyond_hemisphere(inner):
            test = f"CASE WHEN {self._figure(outer)} IS NOT NULL THEN FALSE END"
        else:
            test = self._relation(spatial.relation, inner, outer)
        valid = self._latitude_test(inner)
        if is_positive:
            return f"({self._sieve(inner, outer)}{test}{valid})"
        return (
            f"(CASE WHEN {valid.removeprefix(' AND ')} THEN {test} END)" if valid else f"({test})"
        )

    def _sieve(self, inner: typed.Geometry, outer: typed.Geometry) -> str:
        """The boxes in which an index finds what a relation may hold for."""
        use = find_index(inner, outer)
        if use is None:
            return self._centre_sieve(inner, outer)
        if use.target.kind != "region" and use.other.kind == "point":
            return ""
        found = f"{self._in_frames(use.target, self._frames(use.other))} AND "
        # Every overlap of boxes is taken to hold for one row in 200. Said twice of what is small,
        # it is one in 40,000, and no other index is read beside this one.
        return found * 2 if _is_small(use.other) else found

    def _centre_sieve(self, point: typed.Geometry, circle: typed.Geometry) -> str:
        """The boxes in which the centres of circles lie that may hold a point."""
        use = find_centre_index(circle, point)
        if use is None or not isinstance(circle, typed.CircleOf):
            return ""
        radius = self.real(circle.radius)
        frames = [self._reach_frame(point, radius, side) for side in _SIDES]
        return f"{self._in_frames(use.target, frames)} AND "

    def _in_frames(self, target: typed.Column, frames: Sequence[str]) -> str:
        """Whether a region, or an indexed position called after its longitude, reaches into one of
        the frames."""
        if target.kind == "region":
            bounds = self._beside(target).bounds
            return f"({' OR '.join(f'{bounds} && {frame}' for frame in frames)})"
        lat = next(lat for name, lat in target.table.positions if name == target.field.physical)
        position = plane_position(self.physical(target), self.physical(target, lat))
        return f"({' OR '.join(f'{position} <@ {frame}' for frame in frames)})"

    def _frames(self, shape: typed.Geometry) -> list[str]:
        """The frames of a shape, one on each side of the seam of longitudes."""
        if isinstance(shape, typed.Column) and shape.is_stored:
            return [self._beside(shape).bounds]
        if isinstance(shape, typed.Constant) and isinstance(shape.shape, Range):
            return [f"box(point({a}), point({b}))" for a, b in self._range_corners(shape.shape)]
        return [self._frame(shape, side) for side in _SIDES]

    def _range_corners(self, box: Range) -> Iterator[tuple[str, str]]:
        """Opposite corners of the frames of a coordinate range."""
        for frame in range_frames(box):
            west, south, east, north = map(self._double, frame)
            yield f"{west}, {south}", f"{east}, {north}"

    def _frame(self, shape: typed.Geometry, side: int) -> str:
        if shape.kind == "point":
            return self._reach_frame(shape, self._double(0.0), side)
        if isinstance(shape, typed.CircleOf):
            return self._reach_frame(centre_of(shape), self.real(shape.radius), side)
        if isinstance(shape, typed.Constant) and isinstance(shape.shape, Circle):
            circle = shape.shape
            centre = typed.Constant(Point(circle.lon_deg, circle.lat_deg))
            return self._reach_frame(centre, self._double(circle.radius_deg), side)
        return f"adql_frame({self._vertices(shape)}, {side})"

    def _reach_frame(self, centre: typed.Geometry, radius: str, side: int) -> str:
        lon, lat = self._direction(centre)
        return f"adql_reach({lon}, {lat}, {radius}, {side})"

    def _relation(self, relation: str, inner: typed.Geometry, outer: typed.Geometry) -> str:
        """A relation between shapes of at most a hemisphere."""
        if is_range(inner) or is_range(outer):
            return self._range_met(inner, outer)
        exact = self._exact(relation, inner, outer)
        a, b = self._caps(inner), self._caps(outer)
        if a is None or b is None:
            return exact
        if not (is_indexed(inner) or is_indexed(outer)):
            plane = known_plane(outer) if inner.kind == "point" else None
            plane = plane and f"CAST({self.bind(plane)} AS polygon)"
            return postgres_caps.point_in_plane(a, b, plane, exact) if plane else exact
        if inner.kind == "point":
            assert isinstance(outer, typed.Column)
            plane = self._beside(outer).plane
            return postgres_caps.within(a, b, postgres_caps.point_in_plane(a, b, plane, exact))
        if relation == "within":
            if is_circle(outer) and isinstance(inner, typed.Column):
                exact = postgres_caps.within_circle(b, self._unit_vectors(inner))
            elif is_circle(inner) and isinstance(outer, typed.Column):
                exact = postgres_caps.circle_within(a, b, self._beside(outer).plane, exact)
            return postgres_caps.within(a, b, exact)
        return postgres_caps.overlap(a, b, self._meeting(inner, outer, exact))

    def _exact(self, relation: str, inner: typed.Geometry, outer: typed.Geometry) -> str:
        """SQL of a relation, asked of the geometries themselves."""
        if inner.kind == "point" and is_circle(outer):
            return self._near(inner, outer)
        name = "adql_figure_within" if relation == "within" else "adql_figures_meet"
        return f"{name}({self._figure(inner)}, {self._figure(outer)})"

    def _near(self, point: typed.Geometry, circle: typed.Geometry) -> str:
        """Whether a circle holds a point."""
        if isinstance(circle, typed.CircleOf):
            about = (*self._direction(centre_of(circle)), self.real(circle.radius))
        else:
            assert isinstance(circle, typed.Constant) and isinstance(circle.shape, Circle)
            lon, lat, radius = map(self._double, astuple(circle.shape))
            about = (lon, lat, radius)
        return f"adql_near({', '.join((*self._direction(point), *about))})"

    def _range_met(self, one: typed.Geometry, other: typed.Geometry) -> str:
        """Whether a coordinate range and a region have a direction in common."""
        box, region = (one, other) if is_range(one) else (other, one)
        assert isinstance(box, typed.Constant) and isinstance(box.shape, Range)
        bounds = ", ".join(map(self._double, astuple(box.shape)))
        corner = typed.Constant(Point(box.shape.lon_min_deg, box.shape.lat_min_deg))
        exact = (
            f"(adql_meets_range({self._vertices(region)}, {bounds})"
            f" OR {self._relation('within', corner, region)})"
        )
        a, b = self._caps(box), self._caps(region)
        return exact if a is None or b is None else postgres_caps.overlap(a, b, exact)

    def _meeting(self, one: typed.Geometry, other: typed.Geometry, exact: str) -> str:
        """Whether a circle or polygon meets a stored region, in the plane of the latter; ``exact``
        where the plane does not tell."""
        region, shape = (one, other) if is_indexed(one) else (other, one)
        assert isinstance(region, typed.Column)
        beside, caps = self._beside(region), self._caps(region)
        of_shape = self._caps(shape)
        assert caps is not None and of_shape is not None
        if is_circle(shape):
            return postgres_caps.circle_in_plane(of_shape, caps, beside.plane, exact)
        if isinstance(shape, typed.Constant):
            assert isinstance(shape.shape, Polygon)
            if not postgres_caps.has_long_edges(shape.shape):
                return exact
        met = postgres_caps.overlap_in_plane(self._unit_vectors(shape), caps, beside.plane, exact)
        if isinstance(shape, typed.Column):
            plane = self._beside(shape).plane
            return f"CASE WHEN {plane} IS NULL THEN {exact} ELSE {met} END"
        return met

    def _unit_vectors(self, polygon: typed.Geometry) -> str:
        """A query for the unit vectors (u, v, w) of a polygon's vertices."""
        if isinstance(polygon, typed.Column):
            return postgres_caps.stored_vertices(self._region_text(polygon))
        assert isinstance(polygon, typed.Constant) and isinstance(polygon.shape, Polygon)
        vectors = [unit_vector(*vertex) for vertex in polygon.shape.vertices]
        axes = [
            f"ARRAY[{', '.join(map(self._double, axis))}]" for axis in zip(*vectors, strict=True)
        ]
        return f"SELECT * FROM unnest({', '.join(axes)}) AS vectors (u, v, w)"

    def _caps(self, shape: typed.Geometry) -> Caps | None:
        """The circles within and around a shape, where they are known."""
        if isinstance(shape, typed.Column) and is_published(shape):
            beside = self._beside(shape)
            return Caps(beside.x, beside.y, beside.z, beside.inner, beside.outer)
        if isinstance(shape, typed.Constant):
            return Caps(*map(self._double, constant_caps(shape.shape)))
        if isinstance(shape, typed.PointOf) and is_plain(shape.lon, shape.lat):
            return Caps(*self._unit_vector(shape), "0", "0")
        if isinstance(shape, typed.CircleOf) and is_plain(shape.lon, shape.lat, shape.radius):
            radius = self._valid_radius(shape)
            outer = f"({radius} + {OUTER_MARGIN_RAD!r})"
            return Caps(*self._unit_vector(centre_of(shape)), radius, outer)
        return None

    def _unit_vector(self, point: typed.PointOf) -> tuple[str, str, str]:
        # A cosine of an infinite number, which an upload may hold, would be an error.
        lon, lat = (
            f"radians(NULLIF(NULLIF({angle}, 'Infinity'), '-Infinity'))"
            for angle in self._direction(point)
        )
        return f"cos({lon}) * cos({lat})", f"sin({lon}) * cos({lat})", f"sin({lat})"

    def _region_text(self, region: typed.Column) -> str:
        return self.physical(region, region_text_column(region.field))

    def _beside(self, region: typed.Column) -> RegionColumns:
        """SQL of the columns beside a stored region."""
        names = astuple(RegionColumns.of(region.field.physical))
        return RegionColumns(*(self.physical(region, name) for name in names))

    def _beyond(self, relation: str, inner: typed.Geometry, outer: typed.Geometry) -> str:
        """A relation to a circle beyond a hemisphere, asked of the circle that it leaves."""
        assert isinstance(outer, typed.Constant) and isinstance(outer.shape, Circle)
        circle = outer.shape
        if circle.radius_deg >= 2 * HEMISPHERE_DEG:
            return f"CASE WHEN {self._figure(inner)} IS NOT NULL THEN TRUE END"
        rest = Circle((circle.lon_deg + 180.0) % 360.0, -circle.lat_deg, 180.0 - circle.radius_deg)
        outside = "overlap" if relation == "within" and inner.kind == "region" else "within"
        test = self._relation(outside, inner, typed.Constant(rest))
        return f"CAST(({test}) AS integer) = 0"

    def _latitude_test(self, point: typed.Geometry) -> str:
        """What lies beyond a pole is no direction."""
        if not isinstance(point, typed.PointOf):
            return ""
        return f" AND {self.real(point.lat)} BETWEEN -90 AND 90"

    def separation(self, separation: typed.Separation) -> str:
        return self._distance(separation.start, separation.end)

    def _distance(self, start: typed.Geometry, end: typed.Geometry) -> str:
        return great_circle(*self._direction(start), *self._direction(end))

    def region_distance(self, distance: typed.RegionDistance) -> str:
        lon, lat = self._direction(distance.point)
        inside = self._exact("within", distance.point, distance.region)
        text = self._region_text(distance.region)
        return region_distance(inside=inside, text=text, lon=lon, lat=lat)

    def cone(self, cone: typed.Cone, is_positive: bool) -> str:
        exact = f"{self.value(cone.separation)} {cone.operator} {self.compared(cone.radius)}"
        sieve = self._cone_sieve(cone) if is_positive else None
        return f"({exact})" if sieve is None else f"({sieve} AND {exact})"

    def _cone_sieve(self, cone: typed.Cone) -> str | None:
        """A test that an index serves and that every row of the cone passes."""
        separation = cone.separation
        if not isinstance(separation, typed.RegionDistance):
            use = find_index(separation.start, separation.end)
        else:
            use = find_index(separation.region, separation.point)
        return None if use is None else self._reached(use, cone.radius)

    def _reached(self, use: IndexUse, radius: Expression) -> str:
        frames = [self._reach_frame(use.other, self.real(radius), side) for side in _SIDES]
        return self._in_frames(use.target, frames)

    def region_size(self, size: typed.RegionSize) -> str:
        region = size.region
        if isinstance(region, typed.CircleOf):
            valid = f"{self.real(region.radius)} BETWEEN 0 AND {HEMISPHERE_DEG:g}"
            sine = f"sin(radians({self.real(region.radius)}) / 2)"
            surface = f"4 * pi() * {sine} * {sine}"
            size_of = (
                f"CASE WHEN {valid}{self._latitude_test(centre_of(region))} THEN {surface} END"
            )
            return f"({size_of} * {_DEG2_PER_STERADIAN!r})"
        surface = f"adql_area({self._vertices(region)})"
        if not isinstance(region, typed.Column):
            surface = f"CASE WHEN {self._figure(region)} IS NOT NULL THEN {surface} END"
        return f"({surface} * {_DEG2_PER_STERADIAN!r})"

    def centroid_part(self, part: typed.CentroidPart) -> str:
        return f"adql_centroid({self._vertices(part.region)}, {part.place})"

    def _vertices(self, region: typed.Geometry) -> str:
        """Longitudes and latitudes (deg) of a polygon's vertices, as an array."""
        if isinstance(region, typed.PolygonOf):
            return f"ARRAY[{', '.join(map(self.real, region.coordinates))}]"
        if isinstance(region, typed.BoxOf):
            numbers = (region.lon, region.lat, region.width, region.height)
            return f"adql_box({', '.join(map(self.real, numbers))})"
        if isinstance(region, typed.Constant):
            assert isinstance(region.shape, Polygon)
            places = [place for vertex in region.shape.vertices for place in vertex]
            return f"ARRAY[{', '.join(map(self._double, places))}]"
        assert isinstance(region, typed.Column)
        return postgres_caps.stored_numbers(self._region_text(region))

    def _double(self, value: float) -> str:
        return f"CAST({self.bind(value)} AS double precision)"

    def _direction(self, point: typed.Geometry) -> tuple[str, str]:
        if isinstance(point, typed.PointOf):
            return self.real(point.lon), self.real(point.lat)
        assert isinstance(point, typed.Constant) and isinstance(point.shape, Point)
        return self._double(point.shape.lon_deg), self._double(point.shape.lat_deg)

    def _figure(self, shape: typed.Geometry) -> str:
        """SQL of a geometry as the exact tests take it. NULL for what is none."""
        if isinstance(shape, typed.Constant):
            return f"CAST({self.bind(figure_text(shape.shape))} AS double precision[])"
        if isinstance(shape, typed.Column):
            return self._region_figure(shape)
        if shape.kind == "point":
            return f"adql_figure_point({', '.join(self._direction(shape))})"
        if isinstance(shape, typed.CircleOf):
            angles = ", ".join(self._direction(centre_of(shape)))
            return f"adql_figure_circle({angles}, {self._valid_radius(shape)})"
        return f"adql_figure({self._vertices(shape)}, TRUE)"

    def _region_figure(self, region: typed.Column) -> str:
        if region.is_stored and not is_indexed(region):
            return self.physical(region, figure_column(region.field.physical))
        text = self._region_text(region) if region.is_stored else self.physical(region)
        return f"adql_figure({postgres_caps.stored_numbers(text)}, FALSE)"

    def _valid_radius(self, circle: typed.CircleOf) -> str:
        """A circle's radius (rad), NULL where it is none of at most a hemisphere."""
        radius = self.real(circle.radius)
        valid = f"{radius} BETWEEN 0 AND {HEMISPHERE_DEG:g}{self._latitude_test(centre_of(circle))}"
        return f"CASE WHEN {valid} THEN radians({radius}) END"


def _is_small(shape: typed.Geometry) -> bool:
    """Whether few regions of a survey reach into a shape."""
    if shape.kind == "point":
        return True
    known = shape.shape if isinstance(shape, typed.Constant) else None
    if isinstance(known, Circle | Range):
        return bounding_circle(known).radius_deg <= SMALL_DEG
    return False
