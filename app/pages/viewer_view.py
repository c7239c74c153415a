"""The controls of the viewer on the image page, as its address sets them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from app.pages.tile_view import parse_style
from app.pixels.colour_maps import COLOUR_MAPS
from app.pixels.picture import STRETCHES
from app.services.parameters import ParameterSet

_SCALES: Final = {
    "zscale": "zscale",
    "minmax": "smallest to largest",
    "99.5%": "99.5 %",
    "98%": "98 %",
    "90%": "90 %",
    "symmetric": "about zero",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One choice: the parameter of tiles that it sets, value -> words, and the value now."""

    name: str
    label: str
    choices: Mapping[str, str]
    value: str


def viewer_controls(parameters: ParameterSet) -> list[Control]:
    """Stretch, limits and colours. Raises ParameterError for values that tiles do not take."""
    parse_style(parameters)
    asked = {name: parameters.single(name) or "" for name in ("STRETCH", "SCALE", "COLORMAP")}
    scales = (
        _SCALES if asked["SCALE"] in ("", *_SCALES) else {**_SCALES, asked["SCALE"]: asked["SCALE"]}
    )
    return [
        _control("STRETCH", "Stretch", {"": "as preview", **_same(STRETCHES)}, asked),
        _control("SCALE", "Limits", {"": "as preview", **scales}, asked),
        _control("COLORMAP", "Colours", {"": "grey", **_same(COLOUR_MAPS, "grey")}, asked),
    ]


def _same(names: Iterable[str], *left_out: str) -> dict[str, str]:
    return {name: name for name in names if name not in left_out}


def _control(
    name: str, label: str, choices: Mapping[str, str], asked: Mapping[str, str]
) -> Control:
    return Control(name=name, label=label, choices=choices, value=asked[name].lower())
