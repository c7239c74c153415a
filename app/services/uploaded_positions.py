"""Positions in tables that come with a request."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Final

from app.errors import ParameterError
from app.schema.fields import Field
from app.schema.uploads import UploadedTable
from app.sky.shapes import Circle, Point

NAME: Final = "UPLOAD"
RADIUS: Final = "radius"
"""The column of radii (deg) that a list of positions may have."""


def uploaded_positions(upload: UploadedTable) -> list[Point]:
    """The places in a table's columns ``ra`` and ``dec`` (deg), or in those with the UCDs
    pos.eq.ra and pos.eq.dec. Raises ParameterError naming what is wrong with which row."""
    columns = [_column(upload, name) for name in ("ra", "dec")]
    places: list[Point] = []
    for row, (lon, lat) in enumerate(zip(*columns, strict=True), 1):
        known = lon is not None and lat is not None and isfinite(lon) and isfinite(lat)
        if not (known and 0 <= lon <= 360 and abs(lat) <= 90):
            reason = f"row {row} of {upload.table.name} has no position: ra {lon}, dec {lat} (deg)"
            raise ParameterError(NAME, reason)
        places.append(Point(float(lon) % 360.0, float(lat)))
    return places


def uploaded_circles(upload: UploadedTable) -> list[Circle]:
    """The same as circles: their radii (deg) stand in a column ``radius``; without it, and where it
    is empty, a position is a point. Raises ParameterError."""
    places = uploaded_positions(upload)
    radii: list[float | None] = [None] * len(places)
    field = upload.table.find_field(RADIUS)
    if field is not None and field.kind in ("real", "integer"):
        radii = _values(upload, upload.table.fields.index(field))
    circles: list[Circle] = []
    for row, (place, radius) in enumerate(zip(places, radii, strict=True), 1):
        if radius is not None and not 0 <= radius <= 90:
            reason = (
                f"row {row} of {upload.table.name}: the radius {radius} is not from 0 to 90 deg"
            )
            raise ParameterError(NAME, reason)
        circles.append(Circle(place.lon_deg, place.lat_deg, float(radius or 0.0)))
    return circles


def _column(upload: UploadedTable, name: str) -> list[float | None]:
    fields: Sequence[Field] = upload.table.fields
    numbers = [n for n, field in enumerate(fields) if field.kind in ("real", "integer")]
    ucd = f"pos.eq.{name}"
    found = [n for n in numbers if fields[n].name.lower() == name] or [
        n for n in numbers if (fields[n].ucd or "").lower().split(";")[0] == ucd
    ]
    if not found:
        raise ParameterError(
            NAME, f"{upload.table.name} has no column of numbers called {name} or of UCD {ucd}"
        )
    return _values(upload, found[0])


def _values(upload: UploadedTable, place: int) -> list[float | None]:
    values: list[float | None] = upload.rows.column(place).to_pylist()
    return values
