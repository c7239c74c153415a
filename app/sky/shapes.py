"""Regions of the sky as values: point, circle, polygon, coordinate range. All ICRS, in degrees."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """A direction: longitude in [0, 360), latitude in [-90, 90] (deg)."""

    lon_deg: float
    lat_deg: float


@dataclass(frozen=True, slots=True)
class Circle:
    """All directions within ``radius_deg`` of a centre."""

    lon_deg: float
    lat_deg: float
    radius_deg: float


@dataclass(frozen=True, slots=True)
class Polygon:
    """A simple polygon whose edges are great-circle arcs; it need not be convex.

    ``vertices`` are (lon_deg, lat_deg) pairs, not closed. Of the two parts into which the
    boundary cuts the sphere the smaller is meant, whatever the winding.
    """

    vertices: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A box in longitude and latitude (deg); ``lon_min > lon_max`` crosses the 0/360 meridian."""

    lon_min_deg: float
    lon_max_deg: float
    lat_min_deg: float
    lat_max_deg: float


Region = Circle | Polygon | Range
Shape = Point | Region
