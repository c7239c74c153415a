"""What is asked of ``/lightcurve``: where, and on which images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from app.errors import LimitError, ParameterError, quoted
from app.recipes.request import parse_target
from app.recipes.values import Interval, Parameters, group, intervals, one_of, single
from app.schema.uploads import UploadedTable
from app.services.place_images import KINDS, ImageKind
from app.services.uploaded_positions import uploaded_positions
from app.sky.shapes import Point

BACKGROUNDS: Final = ("keep", "subtract")
NAMES: Final = ("POS", "BAND", "TIME", "COLLECTION", "KIND", "BACKGROUND", "UPLOAD")
MAX_POSITIONS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LightCurveRequest:
    """``positions`` in the order asked; empty tuples do not constrain. ``times``: MJD intervals of
    which an exposure has a part in one."""

    positions: tuple[Point, ...]
    kinds: tuple[ImageKind, ...] = KINDS
    bands: tuple[str, ...] = ()
    times: tuple[Interval, ...] = ()
    collections: tuple[str, ...] = ()
    subtract_background: bool = False


def parse_light_curve(
    parameters: Parameters, uploads: Sequence[UploadedTable] = ()
) -> LightCurveRequest:
    """The request in ``parameters``; names in any case, all but BACKGROUND may be repeated.

    Raises ParameterError naming the parameter and what is allowed, LimitError for too many
    positions.
    """
    values = group(parameters, NAMES)
    positions = [parse_position(given) for given in values.get("POS", ())]
    positions += [point for upload in uploads for point in uploaded_positions(upload)]
    if not positions:
        raise ParameterError("POS", "required: longitude and latitude (ICRS, deg), as POS=62 -37")
    if len(positions) > MAX_POSITIONS:
        raise LimitError("positions in a request", len(positions), MAX_POSITIONS)
    word = one_of(KINDS)
    kinds = {word("KIND", given) for given in values.get("KIND", ())}
    background = single(values, "BACKGROUND", one_of(BACKGROUNDS))
    return LightCurveRequest(
        positions=tuple(positions),
        kinds=tuple(kind for kind in KINDS if not kinds or kind in kinds),
        bands=plain_words(values.get("BAND", ())),
        times=intervals(values, "TIME"),
        collections=plain_words(values.get("COLLECTION", ())),
        subtract_background=background == "subtract",
    )


def parse_position(given: str) -> Point:
    """A POS value that is a place. Raises ParameterError for a region."""
    point = parse_target(given)
    if not isinstance(point, Point):
        raise ParameterError("POS", f"{quoted(given.strip())}: a place is needed, as POS=62 -37")
    return point


def plain_words(given: Iterable[str]) -> tuple[str, ...]:
    """Values without blanks around them, each once."""
    return tuple(dict.fromkeys(word.strip() for word in given))
