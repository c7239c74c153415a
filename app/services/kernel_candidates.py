"""Stars of a published table that a matching kernel is to be fitted to."""

from __future__ import annotations

from typing import Final

from app.errors import CoverageError, ParameterError, quoted
from app.recipes.matching_parameters import MAX_CANDIDATES, CandidateRequest
from app.schema.catalog import CatalogSource
from app.services.catalog_rows import CatalogRows
from app.sky.predicates import bounding_circle, contains_point
from app.sky.shapes import Point, Region
from app.stores.tables.base import TableStore

PARAMETER: Final = "CANDIDATES"
POSITION: Final = ("ra", "dec")


class KernelCandidateFinder:
    """Looks up places in tables that have the columns ``ra`` and ``dec`` (ICRS, deg)."""

    def __init__(self, *, tables: TableStore, catalogs: CatalogSource) -> None:
        self._rows = CatalogRows(tables=tables, catalogs=catalogs)
        self._catalogs = catalogs

    def find(self, request: CandidateRequest, region: Region) -> tuple[tuple[float, float], ...]:
        """The places asked for, sorted: given ones, or those of a table within ``region``.

        Raises ParameterError when there is no such table or it lacks columns, LimitError when too
        many of its rows are near, CoverageError when none is within.
        """
        if request.table is None:
            return tuple(sorted(set(request.places)))
        circle = bounding_circle(region)
        found = self._rows.select(
            f"SELECT ra, dec FROM {self._table(request.table)} "
            "WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), "
            f"CIRCLE('ICRS', {circle.lon_deg!r}, {circle.lat_deg!r}, {circle.radius_deg!r}))",
            MAX_CANDIDATES,
            what=f"{PARAMETER}: rows of {request.table} near the image",
        )
        places = {(float(lon), float(lat)) for lon, lat in found}
        within = sorted(place for place in places if contains_point(region, Point(*place)))
        if not within:
            raise CoverageError(f"{PARAMETER}: rows of {request.table} on the image", 0, 1)
        return tuple(within)

    def _table(self, name: str) -> str:
        table = self._catalogs.current().by_name().get(name.lower())
        if table is None:
            raise ParameterError(PARAMETER, f"there is no table {quoted(name)}")
        fields = [table.find_field(column) for column in POSITION]
        if not all(field is not None and field.kind == "real" for field in fields):
            raise ParameterError(
                PARAMETER, f"{table.name} needs columns of real numbers {' and '.join(POSITION)}"
            )
        return table.name
