"""What a user asks to have cut out of images, read from SODA 1.0 parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Final

from app.errors import LimitError, MultiValuedParameterError, ParameterError, RegionError, quoted
from app.pixels.cube_axes import STOKES
from app.recipes.values import Interval, Parameters, Values, group, intervals, one_of, single, text
from app.sky.dali import parse_pos
from app.sky.numbers import parse_bound
from app.sky.shapes import Region

PixelBox = tuple[float, float, float, float]
"""x_min, x_max, y_min, y_max: pixels, counted from 0, both ends in it; ±Inf is open."""

REGION_NAMES: Final = ("CIRCLE", "POLYGON", "POS", "PIXELS")
"""Each says which part of the image is meant."""
INTERVAL_NAMES: Final = ("BAND", "TIME")
_ONE_ANSWER: Final = "one answer holds one cutout, /soda/async makes many"
MOST_CUTOUTS: Final = 1000
COMPRESSIONS: Final = ("none", "rice")
CUTOUT_NAMES: Final = ("ID", *REGION_NAMES, *INTERVAL_NAMES, "POL", "EXT", "COMPRESS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A part of the sky (``region``) or of the image (``pixels``); ``asked`` is how it was told."""

    asked: str
    region: Region | None = None
    pixels: PixelBox | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CutoutRequest:
    """One cutout. What is None, or empty, is not cut: all of it is meant.

    ``band`` in m, ``time`` in MJD (UTC), ``pol`` polarisation states of which any, ``planes`` the
    names of those that are wanted, as the user gave them.
    """

    dataset_id: str
    place: Place | None = None
    band: Interval | None = None
    time: Interval | None = None
    pol: tuple[str, ...] = ()
    planes: tuple[str, ...] = ()
    compress: bool = False


def parse_cutout(parameters: Parameters, also: Sequence[str] = ()) -> CutoutRequest:
    """The one cutout that ``parameters`` ask for; those named in ``also`` are left to others.

    Raises ParameterError, MultiValuedParameterError (SODA 1.0, section 4) where several are asked
    for: one answer holds one.
    """
    values = group(parameters, (*CUTOUT_NAMES, *also))
    for name in ("ID", *REGION_NAMES, *INTERVAL_NAMES):
        _require_one(values, name)
    given = [name for name in REGION_NAMES if name in values]
    if len(given) > 1:
        reason = f"{given[0]} says already which part is meant; {_ONE_ANSWER}"
        raise MultiValuedParameterError(given[1], reason)
    return _combinations(values)[0]


def parse_cutouts(parameters: Parameters, also: Sequence[str] = ()) -> tuple[CutoutRequest, ...]:
    """Every combination of an image, a part of it, a band and a time (SODA 1.0, section 4).

    Raises ParameterError, LimitError for more than :data:`MOST_CUTOUTS` of them.
    """
    return _combinations(group(parameters, (*CUTOUT_NAMES, *also)))


def _combinations(values: Values) -> tuple[CutoutRequest, ...]:
    if "ID" not in values:
        raise ParameterError("ID", "required: the obs_publisher_did of an image")
    places: list[Place | None] = [
        parse_place(name, given) for name in REGION_NAMES for given in values.get(name, ())
    ]
    choices = (places or [None], intervals(values, "BAND"), intervals(values, "TIME"))
    count = len(values["ID"]) * prod(max(1, len(each)) for each in choices)
    if count > MOST_CUTOUTS:
        raise LimitError("cutouts of one request", count, MOST_CUTOUTS)
    states = tuple(dict.fromkeys(parse_state(given) for given in values.get("POL", ())))
    planes = tuple(dict.fromkeys(_words(values.get("EXT", ()))))
    compress = single(values, "COMPRESS", one_of(COMPRESSIONS)) == "rice"
    return tuple(
        CutoutRequest(
            dataset_id=text("ID", dataset_id),
            place=place,
            band=band,
            time=time,
            pol=states,
            planes=planes,
            compress=compress,
        )
        for dataset_id, place, band, time in product(
            values["ID"], choices[0], choices[1] or [None], choices[2] or [None]
        )
    )


def parse_place(name: str, given: str) -> Place:
    """The value of one of :data:`REGION_NAMES`. Raises ParameterError naming it."""
    if name == "PIXELS":
        return Place(asked=f"PIXELS {given.strip()}", pixels=_pixels(given))
    asked = given.strip() if name == "POS" else f"{name} {given.strip()}"
    try:
        return Place(asked=asked, region=parse_pos(asked))
    except RegionError as fault:
        raise ParameterError(name, f"{quoted(given.strip())}: {fault.args[1]}") from fault


def parse_state(given: str) -> str:
    """A polarisation state of ObsCore 1.1, in any case."""
    word = given.strip().upper()
    if word not in STOKES:
        raise ParameterError("POL", f"one of {', '.join(STOKES)}, got {quoted(given.strip())}")
    return word


def _require_one(values: Values, name: str) -> None:
    count = len(values.get(name, ()))
    if count > 1:
        raise MultiValuedParameterError(name, f"{count} values were given; {_ONE_ANSWER}")


def _pixels(given: str) -> PixelBox:
    words = given.split()
    try:
        x_min, x_max, y_min, y_max = (parse_bound(word) for word in words)
    except ValueError:
        reason = f"{quoted(given.strip())}: expected 'x_min x_max y_min y_max', counted from 0"
        raise ParameterError("PIXELS", reason) from None
    if x_min > x_max or y_min > y_max:
        reason = f"{quoted(given.strip())}: a lower bound is above the upper one"
        raise ParameterError("PIXELS", reason)
    return x_min, x_max, y_min, y_max


def _words(given: Sequence[str]) -> list[str]:
    """Values that may be repeated, or separated by commas."""
    return [word.strip() for value in given for word in value.split(",") if word.strip()]
