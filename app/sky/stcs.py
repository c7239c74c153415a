"""STC-S text of regions, as ``s_region`` carries it (IVOA Note STC-S 1.33).

``POLYGON ICRS lon lat …``, ``CIRCLE ICRS lon lat radius`` and ``BOX ICRS lon lat width height``,
all in degrees; keywords in any case; the frame may be absent. Only ICRS is spoken here.
"""

from __future__ import annotations

import math

from app.errors import RegionError, quoted
from app.sky.areas import PolygonArea, is_simple, prepare
from app.sky.numbers import parse_number
from app.sky.predicates import bounding_circle
from app.sky.shapes import Circle, Polygon, Region

MAX_VERTICES = 1000
"""Of a polygon that a user asks for: comparing all edges takes time as the square of it."""

_ICRS_WORDS = frozenset({"ICRS", "UNKNOWNFRAME"})
_FOREIGN_FRAMES = frozenset({"FK4", "FK5", "GALACTIC", "GALACTIC_II", "ECLIPTIC", "J2000", "B1950"})
_SILENT_WORDS = frozenset(
    {"BARYCENTER", "GEOCENTER", "HELIOCENTER", "LSR", "TOPOCENTER", "UNKNOWNREFPOS", "SPHERICAL2"}
)


def parse_region(text: str) -> Region:
    """The region an STC-S text means. Raises RegionError saying what is wrong."""
    words = text.replace(",", " ").split()
    if not words:
        raise RegionError(text, "empty; expected POLYGON, CIRCLE or BOX with numbers in degrees")
    numbers = _numbers(text, _without_frame(text, words[1:]))
    keyword = words[0].upper()
    if keyword == "CIRCLE":
        return circle_from(text, numbers)
    if keyword == "POLYGON":
        return polygon_from(text, numbers)
    if keyword == "BOX":
        return box_from(text, numbers)
    raise RegionError(text, f"{quoted(words[0])} is none of POLYGON, CIRCLE, BOX")


def format_region(region: Region) -> str:
    """STC-S text of a region; a coordinate range has none (RegionError)."""
    if isinstance(region, Circle):
        values: tuple[float, ...] = (region.lon_deg, region.lat_deg, region.radius_deg)
        return "CIRCLE ICRS " + " ".join(map(format_degrees, values))
    if isinstance(region, Polygon):
        values = tuple(x for vertex in region.vertices for x in vertex)
        return "POLYGON ICRS " + " ".join(map(format_degrees, values))
    raise RegionError(str(region), "STC-S has no coordinate range of this kind")


def describe_area(region: Region) -> str:
    """Where a region lies, in words for a message: its bounding circle in degrees, ICRS."""
    circle = bounding_circle(region)
    return (
        f"within {circle.radius_deg:.4f} deg of "
        f"RA {circle.lon_deg:.5f}, Dec {circle.lat_deg:+.5f} (ICRS)"
    )


def format_degrees(value_deg: float) -> str:
    """Shortest decimal text to 1e-10 deg (0.4 micro-arcsecond), never with an exponent."""
    text = f"{value_deg:.10f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def circle_from(text: str, numbers: list[float]) -> Circle:
    """Circle of lon, lat, radius; ``text`` is named in the error."""
    if len(numbers) != 3:
        raise RegionError(text, f"a circle needs 3 numbers (lon lat radius), not {len(numbers)}")
    lon, lat, radius = numbers
    check_direction(text, lon, lat)
    if not 0.0 <= radius <= 180.0:
        raise RegionError(text, f"radius {radius:g} must lie between 0 and 180 deg")
    return Circle(lon % 360.0, lat, radius)


def polygon_from(text: str, numbers: list[float]) -> Polygon:
    """Polygon of lon lat pairs, smaller than a hemisphere; a closing repeat is dropped."""
    if len(numbers) % 2:
        raise RegionError(text, f"a polygon needs pairs of numbers, not {len(numbers)} numbers")
    pairs = list(zip(numbers[0::2], numbers[1::2], strict=True))
    if len(pairs) > 3 and pairs[0] == pairs[-1]:
        pairs.pop()
    if len(pairs) < 3:
        raise RegionError(text, f"a polygon needs at least 3 vertices, not {len(pairs)}")
    for lon, lat in pairs:
        check_direction(text, lon, lat)
    polygon = Polygon(tuple((lon % 360.0, lat) for lon, lat in pairs))
    prepare(polygon)
    return polygon


def simple_polygon_from(text: str, numbers: list[float]) -> Polygon:
    """The polygon a user asks for: :func:`polygon_from`, of at most MAX_VERTICES vertices, with
    edges that do not cross."""
    if len(numbers) > 2 * MAX_VERTICES:
        raise RegionError(text, f"at most {MAX_VERTICES} vertices are taken")
    polygon = polygon_from(text, numbers)
    if not is_simple(PolygonArea(polygon)):
        raise RegionError(text, "the edges of the polygon cross each other")
    return polygon


def box_from(text: str, numbers: list[float]) -> Polygon:
    """ADQL's and STC-S's box: centre, width and height (deg), edges taken as great circles.

    The corners are those of the coordinate box about the centre turned to the origin, that is the
    width is an angle on the sky there.
    """
    if len(numbers) != 4:
        raise RegionError(text, f"a box needs 4 numbers (lon lat width height), not {len(numbers)}")
    lon, lat, width, height = numbers
    check_direction(text, lon, lat)
    if not (0.0 < width < 180.0 and 0.0 < height < 180.0):
        raise RegionError(text, "width and height must lie between 0 and 180 deg")
    corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return Polygon(tuple(_offset(lon, lat, i * width / 2, j * height / 2) for i, j in corners))


def _offset(
    lon_deg: float, lat_deg: float, dlon_deg: float, dlat_deg: float
) -> tuple[float, float]:
    """The direction at (dlon, dlat) of a grid whose origin lies at (lon, lat)."""
    a, d, d0 = (math.radians(x) for x in (dlon_deg, dlat_deg, lat_deg))
    x, y, z = math.cos(a) * math.cos(d), math.sin(a) * math.cos(d), math.sin(d)
    east, north = y, x * math.sin(d0) + z * math.cos(d0)
    out = x * math.cos(d0) - z * math.sin(d0)
    lon = (lon_deg + math.degrees(math.atan2(east, out))) % 360.0
    return lon, math.degrees(math.atan2(north, math.hypot(out, east)))


def check_direction(text: str, lon_deg: float, lat_deg: float) -> None:
    """Raise RegionError unless longitude is within [-360, 360] and latitude within [-90, 90]."""
    if not -360.0 <= lon_deg <= 360.0:
        raise RegionError(text, f"longitude {lon_deg:g} must lie between 0 and 360 deg")
    if not -90.0 <= lat_deg <= 90.0:
        raise RegionError(text, f"latitude {lat_deg:g} must lie between -90 and 90 deg")


def _without_frame(text: str, words: list[str]) -> list[str]:
    rest = list(words)
    while rest and rest[0].upper() in _ICRS_WORDS | _SILENT_WORDS | _FOREIGN_FRAMES:
        word = rest.pop(0)
        if word.upper() in _FOREIGN_FRAMES:
            raise RegionError(text, f"frame {word}; regions are given in ICRS")
    return rest


def _numbers(text: str, words: list[str]) -> list[float]:
    numbers: list[float] = []
    for word in words:
        try:
            numbers.append(parse_number(word))
        except ValueError:
            raise RegionError(text, f"{quoted(word)} is not a number") from None
    if not all(map(math.isfinite, numbers)):
        raise RegionError(text, "numbers must be finite")
    return numbers
