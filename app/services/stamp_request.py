"""What is asked of ``/stamps``: where, how large, of which epochs, and which planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from app.errors import LimitError, ParameterError, quoted
from app.pixels.grid import Grid
from app.recipes.values import Interval, Parameters, group, intervals, one_of, single, text, truth
from app.schema.uploads import UploadedTable
from app.services.light_curve_request import parse_position, plain_words
from app.services.place_images import ImageKind
from app.services.uploaded_positions import uploaded_positions
from app.sky.numbers import parse_number
from app.sky.shapes import Point

StampPlane = Literal["image", "variance", "mask"]
PLANES: Final[tuple[StampPlane, ...]] = get_args(StampPlane)
NAMES: Final = ("POS", "SIZE", "BAND", "TIME", "ID", "COLLECTION", "PLANES", "BUILD", "UPLOAD")
MAX_POSITIONS: Final = 1000
MAX_IDS: Final = 1000
DEFAULT_SIZE_DEG: Final = 30 / 3600
MAX_SIDE_PX: Final = 1024
MAX_SIZE_DEG: Final = 1.0
_UNITS: Final = {"deg": 1.0, "arcmin": 60.0, "arcsec": 3600.0, "px": 1.0}


@dataclass(frozen=True, slots=True)
class StampSize:
    """Side of a square stamp, in degrees or in pixels of the science image."""

    value: float = DEFAULT_SIZE_DEG
    in_pixels: bool = False

    def side_px(self, grid: Grid) -> int:
        """On an image. Raises LimitError beyond :data:`MAX_SIDE_PX`."""
        side = self.value if self.in_pixels else self.value * 3600 / grid.pixel_scale_arcsec
        if round(side) > MAX_SIDE_PX:
            what = (
                f"pixels along a side of a stamp (SIZE; {grid.pixel_scale_arcsec:.3g} arcsec each)"
            )
            raise LimitError(what, round(side), MAX_SIDE_PX)
        return max(1, round(side))


@dataclass(frozen=True, slots=True, kw_only=True)
class StampRequest:
    """``positions`` in the order asked; empty tuples do not constrain. ``ids``: exposures, or
    differences, whose epochs are meant; ``planes`` in the order of :data:`PLANES`, the image always
    among them; ``build``: whether differences and templates that are missing are to be built."""

    positions: tuple[Point, ...]
    size: StampSize = StampSize()
    bands: tuple[str, ...] = ()
    times: tuple[Interval, ...] = ()
    collections: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    planes: tuple[StampPlane, ...] = PLANES
    build: bool = False
    kinds: tuple[ImageKind, ...] = ("science",)


def parse_stamps(
    parameters: Parameters, uploads: Sequence[UploadedTable] = (), also: Sequence[str] = ()
) -> StampRequest:
    """The request in ``parameters``; those named in ``also`` are left to others.

    Raises ParameterError naming the parameter and what is allowed, LimitError for too many
    positions or identifiers.
    """
    values = group(parameters, (*NAMES, *also))
    positions = [parse_position(given) for given in values.get("POS", ())]
    positions += [point for upload in uploads for point in uploaded_positions(upload)]
    if not positions:
        raise ParameterError("POS", "required: longitude and latitude (ICRS, deg), as POS=62 -37")
    if len(positions) > MAX_POSITIONS:
        raise LimitError("positions in a request", len(positions), MAX_POSITIONS)
    ids = tuple(dict.fromkeys(text("ID", given) for given in values.get("ID", ())))
    if len(ids) > MAX_IDS:
        raise LimitError("identifiers (ID) in a request", len(ids), MAX_IDS)
    word = one_of(PLANES)
    given = [each for told in values.get("PLANES", ()) for each in told.split(",")]
    planes = {word("PLANES", each) for each in given}
    return StampRequest(
        positions=tuple(positions),
        size=single(values, "SIZE", parse_size) or StampSize(),
        bands=plain_words(values.get("BAND", ())),
        times=intervals(values, "TIME"),
        collections=plain_words(values.get("COLLECTION", ())),
        ids=ids,
        planes=tuple(p for p in PLANES if not planes or p in planes or p == "image"),
        build=single(values, "BUILD", truth) or False,
    )


def parse_size(name: str, given: str) -> StampSize:
    """Degrees, or what a unit behind the number says. Raises ParameterError."""
    word = given.strip().lower()
    unit = next((each for each in _UNITS if word.endswith(each)), "deg")
    try:
        value = parse_number(word.removesuffix(unit).strip()) / _UNITS[unit]
    except ValueError:
        value = 0.0
    if unit == "px" and 1 <= value <= MAX_SIDE_PX and value % 1 == 0:
        return StampSize(value, in_pixels=True)
    if unit != "px" and 0 < value <= MAX_SIZE_DEG:
        return StampSize(value)
    reason = (
        f"the side in degrees, above 0 and up to {MAX_SIZE_DEG:g}, or with a unit, as 30arcsec, "
        f"0.5arcmin or whole pixels from 1px to {MAX_SIDE_PX}px; got {quoted(given.strip())}"
    )
    raise ParameterError(name, reason)
