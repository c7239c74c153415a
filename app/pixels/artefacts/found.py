"""What finding artefacts gives: the pixels to leave out of each input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.pixels.spans import Spans, union


@dataclass(frozen=True, slots=True)
class Artefacts:
    """One entry for each input, in order: all ``pixels``, those of ``streaks`` among them, and how
    many other ``footprints`` they come from."""

    pixels: tuple[Spans, ...]
    footprints: tuple[int, ...]
    streaks: tuple[Spans, ...]

    @classmethod
    def joined(
        cls, pixels: Sequence[Spans], footprints: Sequence[int], streaks: Sequence[Spans]
    ) -> Artefacts:
        """Footprints found by their pixels, and streaks, together."""
        both = tuple(union(pair) for pair in zip(pixels, streaks, strict=True))
        return cls(both, tuple(footprints), tuple(streaks))

    def placed(self, numbers: Sequence[int], inputs: int) -> Artefacts:
        """As those of ``inputs`` inputs, of which these are ``numbers``; the others have none."""
        place = {number: n for n, number in enumerate(numbers)}
        every = [place.get(number) for number in range(inputs)]
        return Artefacts(
            tuple(Spans.empty() if n is None else self.pixels[n] for n in every),
            tuple(0 if n is None else self.footprints[n] for n in every),
            tuple(Spans.empty() if n is None else self.streaks[n] for n in every),
        )
