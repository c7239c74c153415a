"""Directions of other frames brought to ICRS: rigid rotations, as constants."""

from __future__ import annotations

from typing import Final

from app.sky.vectors import Vector, direction, dot, unit_vector

_Matrix = tuple[Vector, Vector, Vector]

_FROM_GALACTIC: Final[_Matrix] = (
    (-0.0548755604162154, 0.4941094278755837, -0.8676661490190047),
    (-0.8734370902348850, -0.4448296299600112, -0.1980763734312015),
    (-0.4838350155487132, 0.7469822444972189, 0.4559837761750669),
)
"""Rows of the transposed matrix of the Hipparcos Catalogue (ESA SP-1200, vol. 1, eq. 1.5.11)."""

_FROM_FK5: Final[_Matrix] = (
    (0.9999999999999921, 1.1102233729e-7, 4.4118034331e-8),
    (-1.1102233297e-7, 0.9999999999999889, -9.6477927520e-8),
    (-4.4118044981e-8, 9.6477922460e-8, 0.9999999999999943),
)
"""Rotation from FK5 (J2000.0) by (-19.9, -9.1, 22.9) mas (Mignard & Froeschle 2000)."""

_ROTATIONS: Final = {"GALACTIC": _FROM_GALACTIC, "FK5": _FROM_FK5, "J2000": _FROM_FK5}

ICRS_NAMES: Final = frozenset({"", "ICRS", "UNKNOWNFRAME"})
"""Names that need no rotation."""


def find_icrs(frame: str, lon_deg: float, lat_deg: float) -> tuple[float, float] | None:
    """ICRS (lon, lat) of a direction given in a frame named in upper case; None if unknown."""
    if frame in ICRS_NAMES:
        return lon_deg % 360.0, lat_deg
    matrix = _ROTATIONS.get(frame)
    if matrix is None:
        return None
    v = unit_vector(lon_deg, lat_deg)
    return direction((dot(matrix[0], v), dot(matrix[1], v), dot(matrix[2], v)))
