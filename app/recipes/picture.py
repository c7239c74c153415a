"""How a cutout is drawn, read from the parameters of a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from app.errors import LimitError, ParameterError, quoted
from app.pixels.colour_maps import COLOUR_MAPS
from app.pixels.picture import SCALES, STRETCHES, PictureFormat, PictureOptions, Scale
from app.recipes.cutout import CUTOUT_NAMES
from app.recipes.request import parse_target
from app.recipes.values import Parameters, Values, group, number, one_of, single, whole
from app.sky.dali import parse_interval
from app.sky.shapes import Point

LOOK_NAMES: Final = ("STRETCH", "SCALE", "LIMITS", "COLORMAP")
"""How values become light."""
PICTURE_NAMES: Final = (*LOOK_NAMES, "MARKER", "SIZE")
LEAST_SIDE_PX: Final = 16
MOST_SIDE_PX: Final = 4096
MOST_MARKERS: Final = 1000


def parse_picture(parameters: Parameters, form: PictureFormat) -> PictureOptions:
    """The options of a picture. Raises ParameterError, MultiValuedParameterError naming the
    parameter."""
    values = group(parameters, (*CUTOUT_NAMES, *PICTURE_NAMES))
    return replace(
        parse_look(values),
        form=form,
        markers=_markers(values.get("MARKER", ())),
        side_px=single(values, "SIZE", whole(LEAST_SIDE_PX, MOST_SIDE_PX)),
    )


def parse_look(values: Values) -> PictureOptions:
    """What :data:`LOOK_NAMES` say. Raises as :func:`parse_picture`."""
    if "SCALE" in values and "LIMITS" in values:
        raise ParameterError("SCALE", "LIMITS says already which values are black and white")
    limits = single(values, "LIMITS", parse_interval)
    if limits is not None and not abs(limits[0]) + abs(limits[1]) < float("inf"):
        raise ParameterError("LIMITS", "two finite numbers are needed: black and white")
    return PictureOptions(
        limits=limits,
        scale=single(values, "SCALE", _scale),
        stretch=single(values, "STRETCH", one_of(tuple(STRETCHES))),
        colours=single(values, "COLORMAP", one_of(tuple(COLOUR_MAPS))) or "grey",
    )


def refuse_picture_names(
    parameters: Parameters,
    names: Sequence[str] = PICTURE_NAMES,
    forms: str = "png or jpeg",
) -> None:
    """Raises ParameterError for a parameter of pictures, where none is asked for."""
    for name, _ in parameters:
        if name.upper() in names:
            raise ParameterError(name, f"goes with RESPONSEFORMAT={forms}")


def _markers(given: Sequence[str]) -> tuple[Point, ...]:
    if len(given) > MOST_MARKERS:
        raise LimitError("markers of a picture (MARKER)", len(given), MOST_MARKERS)
    return tuple(_marker(text) for text in given)


def _scale(name: str, given: str) -> Scale | float:
    word = given.strip().lower()
    if word[:1].isdigit():
        share = number(name, word.removesuffix("%"))
        if 0 < share <= 100:
            return share
    for scale in SCALES:
        if word == scale:
            return scale
    raise ParameterError(name, f"one of {', '.join(SCALES)} or a percentage, got {quoted(given)}")


def _marker(given: str) -> Point:
    try:
        found = parse_target(given)
    except ParameterError as fault:
        raise ParameterError("MARKER", str(fault.args[1])) from fault
    if not isinstance(found, Point):
        raise ParameterError("MARKER", f"{quoted(given)}: expected 'lon lat', in degrees")
    return found
