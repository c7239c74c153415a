"""Discs and boxes about bright objects: values, without what lays them on pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Disc:
    """All within ``radius_deg`` of a direction (ICRS, deg)."""

    lon_deg: float
    lat_deg: float
    radius_deg: float

    @property
    def reach_deg(self) -> float:
        """How far it goes from its middle."""
        return self.radius_deg

    def holds(self, east: Floats, north: Floats) -> NDArray[np.bool_]:
        """Whether offsets (deg) from its middle are in it."""
        inside: NDArray[np.bool_] = east**2 + north**2 <= self.radius_deg**2
        return inside


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle about a direction (ICRS, deg), whose height runs north and whose width runs east
    when ``angle_deg`` is 0; the angle turns it from north through east (counter-clockwise where
    east is to the left), as that of DS9's box."""

    lon_deg: float
    lat_deg: float
    width_deg: float
    height_deg: float
    angle_deg: float = 0.0

    @property
    def reach_deg(self) -> float:
        """How far it goes from its middle."""
        return float(np.hypot(self.width_deg, self.height_deg) / 2.0)

    def holds(self, east: Floats, north: Floats) -> NDArray[np.bool_]:
        """Whether offsets (deg) from its middle are in it."""
        cos, sin = np.cos(np.radians(self.angle_deg)), np.sin(np.radians(self.angle_deg))
        along_width, along_height = east * cos - north * sin, east * sin + north * cos
        inside: NDArray[np.bool_] = (np.abs(along_width) <= self.width_deg / 2.0) & (
            np.abs(along_height) <= self.height_deg / 2.0
        )
        return inside


BrightObject = Disc | Box
