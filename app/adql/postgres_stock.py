"""The SQL of PostgreSQL 15 without extensions: exact tests by functions of our own.

Indexes, circles and planes of regions are those of :mod:`app.adql.postgres_spatial`; what these
leave open is asked of figures (:mod:`app.sky.figures`), arrays of numbers that functions of the
database compare.
"""

from __future__ import annotations

from app.adql import typed
from app.adql.postgres import PostgresWriter
from app.adql.postgres_caps import stored_numbers
from app.adql.postgres_shapes import centre_of, is_circle, is_indexed
from app.adql.spatial_index import RegionColumns
from app.sky.figures import figure_text
from app.sky.shapes import Circle, Point


class StockPostgresWriter(PostgresWriter):
    """Writes for PostgreSQL without pgSphere."""

    def exact(self, relation: str, inner: typed.Geometry, outer: typed.Geometry) -> str:
        if inner.kind == "point" and is_circle(outer):
            return self._near(inner, outer)
        name = "adql_figure_within" if relation == "within" else "adql_figures_meet"
        return f"{name}({self.sphere(inner)}, {self.sphere(outer)})"

    def _near(self, point: typed.Geometry, circle: typed.Geometry) -> str:
        """Whether a circle holds a point."""
        if isinstance(circle, typed.CircleOf):
            centre: typed.Geometry = centre_of(circle)
            radius = self._valid_radius(circle)
        else:
            assert isinstance(circle, typed.Constant) and isinstance(circle.shape, Circle)
            centre = typed.Constant(Point(circle.shape.lon_deg, circle.shape.lat_deg))
            radius = f"radians({self._double(circle.shape.radius_deg)})"
        angles = ", ".join((*self._direction(point), *self._direction(centre)))
        return f"adql_near({angles}, {radius})"

    def sphere(self, shape: typed.Geometry) -> str:
        """SQL of a figure. NULL for what is none."""
        if isinstance(shape, typed.Constant):
            return f"CAST({self.bind(figure_text(shape.shape))} AS double precision[])"
        if isinstance(shape, typed.Column):
            return self._stored(shape)
        if shape.kind == "point":
            return f"adql_figure_point({', '.join(self._direction(shape))})"
        if isinstance(shape, typed.CircleOf):
            angles = ", ".join(self._direction(centre_of(shape)))
            return f"adql_figure_circle({angles}, {self._valid_radius(shape)})"
        return f"adql_figure({self._vertices(shape)}, TRUE)"

    def _stored(self, region: typed.Column) -> str:
        if region.is_stored and not is_indexed(region):
            return self.physical(region, RegionColumns.of(region.field.physical).sphere)
        text = self._region_text(region) if region.is_stored else self.physical(region)
        return f"adql_figure({stored_numbers(text)}, FALSE)"
