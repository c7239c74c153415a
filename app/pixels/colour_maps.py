"""Colour maps of pictures: brightness in [0, 1] to red, green and blue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
LEVELS: Final = 256

_ANCHORS: Final[Mapping[str, tuple[int, ...]]] = {
    "grey": (0x000000, 0xFFFFFF),
    "inverse": (0xFFFFFF, 0x000000),
    "heat": (0x000000, 0x800000, 0xFF5000, 0xFFC800, 0xFFFFFF),
    "viridis": (
        *(0x440154, 0x472D7B, 0x3B528B, 0x2C728E, 0x21918C),
        *(0x28AE80, 0x5EC962, 0xADDC30, 0xFDE725),
    ),
    "magma": (
        *(0x000004, 0x1D1147, 0x51127C, 0x832681, 0xB73779),
        *(0xE75263, 0xFC8961, 0xFEC488, 0xFCFDBF),
    ),
    "coolwarm": (0x3B4CC0, 0x7B9FF9, 0xC0D4F5, 0xDDDDDD, 0xF2CBB7, 0xEE8468, 0xB40426),
}
"""Colours (0xRRGGBB) at equal steps; between them is interpolated. Viridis and magma are those of
Smith & van der Walt (2015, in the public domain), coolwarm Moreland's (2009)."""


def _cubehelix() -> Bytes:
    """Green 2011 (Bull. Astr. Soc. India 39, 289), with the parameters recommended there."""
    level = np.linspace(0.0, 1.0, LEVELS)
    angle = 2 * np.pi * (0.5 / 3 + 1 - 1.5 * level)
    depth = level * (1 - level) / 2
    mixed = np.array([[-0.14861, 1.78277], [-0.29227, -0.90649], [1.97294, 0.0]])
    colours = level[:, None] + depth[:, None] * (mixed @ np.array([np.cos(angle), np.sin(angle)])).T
    return np.asarray(np.round(255 * np.clip(colours, 0, 1)), dtype=np.uint8)


def _interpolated(anchors: tuple[int, ...]) -> Bytes:
    places = np.linspace(0, len(anchors) - 1, LEVELS)
    parts = [
        np.interp(places, range(len(anchors)), [each >> shift & 255 for each in anchors])
        for shift in (16, 8, 0)
    ]
    return np.asarray(np.round(np.stack(parts, axis=1)), dtype=np.uint8)


COLOUR_MAPS: Final[Mapping[str, Bytes]] = {
    **{name: _interpolated(anchors) for name, anchors in _ANCHORS.items()},
    "cubehelix": _cubehelix(),
}
"""Name -> (256, 3)."""


def paint(brightness: NDArray[np.floating], name: str) -> Bytes:
    """(ny, nx, 3) of brightness in [0, 1]."""
    levels = np.asarray(np.round(brightness * (LEVELS - 1)), dtype=np.uint8)
    return COLOUR_MAPS[name][levels]
