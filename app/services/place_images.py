"""The images that contain a place, found by the same compiled ADQL that users send."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf, isnan, nan
from typing import Final, Literal, Protocol, get_args

from app.recipes.values import Interval
from app.schema.obscore import CALIBRATED
from app.schema.rows import Value
from app.services.builds_candidates import CURRENT, OWN
from app.services.builds_rows import SUBTYPES
from app.services.catalog_rows import CatalogRows, literal
from app.sky.shapes import Point

ImageKind = Literal["science", "template", "difference"]
KINDS: Final[tuple[ImageKind, ...]] = get_args(ImageKind)
MAX_IMAGES: Final = 20_000
"""At one position."""

_CONDITIONS: Final[Mapping[ImageKind, str]] = {
    "science": f"calib_level = {CALIBRATED}",
    "template": f"dataproduct_subtype = {literal(SUBTYPES['template'])}",
    "difference": f"dataproduct_subtype = {literal(SUBTYPES['difference'])}",
}


class ImageChoice(Protocol):
    """Which images are meant; empty tuples do not constrain. ``times``: MJD intervals of which an
    exposure has a part in one."""

    @property
    def kinds(self) -> tuple[ImageKind, ...]: ...
    @property
    def bands(self) -> tuple[str, ...]: ...
    @property
    def times(self) -> tuple[Interval, ...]: ...
    @property
    def collections(self) -> tuple[str, ...]: ...


def find_images(
    rows: CatalogRows, point: Point, choice: ImageChoice
) -> list[tuple[str, ImageKind]]:
    """(identifier, kind) of the images whose region contains a place, by the middle of their time.
    Raises LimitError when they are more than MAX_IMAGES."""
    place = f"CONTAINS(POINT('ICRS', {point.lon_deg!r}, {point.lat_deg!r}), s_region) = 1"
    found: list[tuple[float, str, ImageKind]] = []
    for kind in choice.kinds:
        conditions = [place, OWN, CURRENT, _CONDITIONS[kind], *_conditions(choice)]
        adql = (
            "SELECT t_min, t_max, obs_publisher_did FROM ivoa.ObsCore "
            f"WHERE {' AND '.join(conditions)}"
        )
        there = rows.select(adql, MAX_IMAGES, what="images that contain a position")
        found += [(middle_mjd(start, stop), name, kind) for start, stop, name in there]
    found.sort(key=lambda each: (inf if isnan(each[0]) else each[0], each[1]))
    return [(name, kind) for _, name, kind in found]


def middle_mjd(start: Value, stop: Value) -> float:
    """The middle of an interval; NaN when an end is not known."""
    return nan if start is None or stop is None else 0.5 * (float(start) + float(stop))


def _conditions(choice: ImageChoice) -> Iterator[str]:
    for column, words in (("lsst_band", choice.bands), ("obs_collection", choice.collections)):
        if words:
            yield f"{column} IN ({', '.join(map(literal, words))})"
    if choice.times:
        parts = (
            " AND ".join(
                (
                    *((f"t_max >= {low!r}",) if low > -inf else ()),
                    *((f"t_min <= {high!r}",) if high < inf else ()),
                )
            )
            or "1 = 1"
            for low, high in choice.times
        )
        yield f"({' OR '.join(f'({part})' for part in parts)})"
