"""PostgreSQL: the distance from a point to a polygon.

The polygon comes as the STC-S text of a region column; each pair of vertices is an edge, and the
distance to an edge is taken as :meth:`app.sky.vectors.Arc.distance` takes it.
"""

from __future__ import annotations

from typing import Final

_TEMPLATE: Final = """
(SELECT CASE WHEN {inside} THEN 0 ELSE degrees(min(
  CASE WHEN t >= 0 AND atan2(t, c1) <= atan2(m, c12) THEN abs(atan2(h, sqrt(c1 * c1 + t * t)))
  ELSE least(atan2(s1, c1), atan2(s2, c2)) END)) END
FROM (SELECT CAST(string_to_array(substr({text}, 14), ' ') AS double precision[]) AS a
  OFFSET 0) AS r
CROSS JOIN LATERAL generate_series(1, cardinality(a) / 2) AS i
CROSS JOIN LATERAL (SELECT radians(a[2 * i - 1]) AS l1, radians(a[2 * i]) AS b1,
  radians(a[2 * (i % (cardinality(a) / 2)) + 1]) AS l2,
  radians(a[2 * (i % (cardinality(a) / 2)) + 2]) AS b2,
  radians({lon}) AS lp, radians({lat}) AS bp OFFSET 0) AS e
CROSS JOIN LATERAL (SELECT cos(l1) * cos(b1) AS x1, sin(l1) * cos(b1) AS y1, sin(b1) AS z1,
  cos(l2) * cos(b2) AS x2, sin(l2) * cos(b2) AS y2, sin(b2) AS z2,
  cos(lp) * cos(bp) AS px, sin(lp) * cos(bp) AS py, sin(bp) AS pz OFFSET 0) AS v
CROSS JOIN LATERAL (SELECT y1 * z2 - z1 * y2 AS nx, z1 * x2 - x1 * z2 AS ny,
  x1 * y2 - y1 * x2 AS nz, x1 * x2 + y1 * y2 + z1 * z2 AS c12,
  x1 * px + y1 * py + z1 * pz AS c1, x2 * px + y2 * py + z2 * pz AS c2,
  sqrt((y1 * pz - z1 * py) ^ 2 + (z1 * px - x1 * pz) ^ 2 + (x1 * py - y1 * px) ^ 2) AS s1,
  sqrt((y2 * pz - z2 * py) ^ 2 + (z2 * px - x2 * pz) ^ 2 + (x2 * py - y2 * px) ^ 2) AS s2
  OFFSET 0) AS w
CROSS JOIN LATERAL (SELECT sqrt(nx * nx + ny * ny + nz * nz) AS m OFFSET 0) AS q
CROSS JOIN LATERAL (SELECT (nx * px + ny * py + nz * pz) / NULLIF(m, 0) AS h,
  ((ny * z1 - nz * y1) * px + (nz * x1 - nx * z1) * py + (nx * y1 - ny * x1) * pz) / NULLIF(m, 0)
  AS t OFFSET 0) AS k)
"""
"""l, b: longitude and latitude; x, y, z: unit vectors of the ends 1 and 2 of an edge and of the
point p; n: the edge's axis, of length m; h, t: the point's components along the axis and across
the start; c, s: cosines and sines of the angles from the point to the ends. OFFSET 0 keeps the
planner from merging the steps, which would write each sum out many times over."""


def region_distance(*, inside: str, text: str, lon: str, lat: str) -> str:
    """SQL of the distance (deg); 0 where ``inside`` holds, NULL where ``text`` is."""
    filled = _TEMPLATE.format(inside=inside, text=text, lon=lon, lat=lat)
    return " ".join(filled.split())
