"""What finding artefacts gives: the pixels to leave out of each input."""

from __future__ import annotations

from dataclasses import dataclass

from app.pixels.spans import Spans


@dataclass(frozen=True, slots=True)
class Artefacts:
    """``pixels`` and how many ``footprints`` they come from: one entry for each input, in order."""

    pixels: tuple[Spans, ...]
    footprints: tuple[int, ...]
