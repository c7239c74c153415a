"""Are these rows ObsCore? Whole columns are judged at a time; what is wrong is said row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.schema.batches import arrow_type, may_hold_nul
from app.schema.fields import Field
from app.schema.obscore import OBSCORE, REQUIRED
from app.sky.bulk_polygons import BulkPolygons
from app.sky.bulk_regions import read_regions

Columns = dict[str, pa.Array]
"""ObsCore column -> values."""

_INSTANT: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?Z?)?$"
_ADDRESS: Final = r"^(https?|ftps?)://[^\s/?#]+[^\s]*$"
_IDENTIFIER: Final = r"^[\x21-\x7e]{3,1000}$"

_RANGES: Final[Mapping[str, tuple[float, float, str]]] = {
    "calib_level": (0, 4, "0, 1, 2, 3 or 4"),
    "s_ra": (0.0, 360.0, "from 0 to 360 deg"),
    "s_dec": (-90.0, 90.0, "from -90 to 90 deg"),
    "s_fov": (0.0, 360.0, "from 0 to 360 deg"),
    "s_resolution": (0.0, np.inf, "not negative (arcsec)"),
    "s_pixel_scale": (0.0, np.inf, "not negative (arcsec)"),
    "t_min": (-700_000.0, 1_000_000.0, "a Modified Julian Date (JD - 2400000.5)"),
    "t_max": (-700_000.0, 1_000_000.0, "a Modified Julian Date (JD - 2400000.5)"),
    "t_exptime": (0.0, np.inf, "not negative (s)"),
    "t_resolution": (0.0, np.inf, "not negative (s)"),
    "em_min": (0.0, 1e6, "a wavelength in metres"),
    "em_max": (0.0, 1e6, "a wavelength in metres"),
    "em_res_power": (0.0, np.inf, "not negative"),
    "access_estsize": (0, np.inf, "not negative (kB)"),
}
_ORDERED: Final = (("t_min", "t_max"), ("em_min", "em_max"))
_PATTERNS: Final = (
    ("access_url", _ADDRESS, "an absolute address, http(s)://… or ftp://…"),
    ("obs_publisher_did", _IDENTIFIER, "an identifier without blanks, such as ivo://authority/x?y"),
    ("obs_creation_date", _INSTANT, "ISO 8601, as 2026-03-01T12:00:00"),
    ("obs_release_date", _INSTANT, "ISO 8601, as 2026-03-01T12:00:00"),
)


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One value that cannot be imported. ``row`` counts from 1; ``reason`` says what is allowed."""

    row: int
    column: str
    value: str
    reason: str


@dataclass(slots=True)
class Checked:
    """A batch after the checks: values in the types of ObsCore, what is wrong with them, and the
    shapes of their regions."""

    columns: Columns
    faults: list[Fault] = field(default_factory=list)
    polygons: BulkPolygons | None = None

    def good(self, first_row: int, rows: int) -> Any:
        """Which rows have no fault."""
        good = np.ones(rows, bool)
        good[[fault.row - first_row - 1 for fault in self.faults]] = False
        return good


def check_batch(columns: Mapping[str, pa.Array], first_row: int) -> Checked:
    """Check the values of one batch, whose first row is ``first_row + 1``.

    Columns that are derivable and missing are filled from ``s_region``.
    """
    rows = len(next(iter(columns.values())))
    checked = Checked({})
    report = _Reporter(checked, first_row)
    for spec in OBSCORE.fields:
        given = columns.get(spec.name)
        if given is None:
            checked.columns[spec.name] = pa.nulls(rows, arrow_type(spec))
        else:
            checked.columns[spec.name] = _typed(spec, given, report)
    for name in REQUIRED:
        values = checked.columns[name]
        empty = pc.is_null(values)
        if pa.types.is_string(values.type):
            empty = pc.or_kleene(empty, pc.equal(pc.utf8_trim_whitespace(values), ""))
        if not report.has(name):
            report.add(name, pc.fill_null(empty, True), values, "must not be empty")
    _check_values(checked.columns, report)
    checked.polygons = _check_regions(checked.columns, report)
    return checked


class _Reporter:
    """Collects faults."""

    def __init__(self, checked: Checked, first_row: int) -> None:
        self._checked = checked
        self._first_row = first_row
        self._columns: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether a value of the column is known to be wrong already."""
        return name in self._columns

    def add(self, name: str, wrong: pa.Array, values: pa.Array, reason: str) -> None:
        """Report the rows where ``wrong`` is true."""
        for index in np.flatnonzero(pc.fill_null(wrong, False).to_numpy(zero_copy_only=False)):
            self.one(name, int(index), values[int(index)].as_py(), reason)

    def one(self, name: str, index: int, value: object, reason: str) -> None:
        """Report one value."""
        self._columns.add(name)
        shown = "" if value is None else str(value)
        self._checked.faults.append(Fault(self._first_row + index + 1, name, shown[:120], reason))


def _typed(spec: Field, values: pa.Array, report: _Reporter) -> pa.Array:
    """The values in the type of an ObsCore column; those that have no such value are reported."""
    target = arrow_type(spec)
    if target == pa.string():
        texts = values if values.type == target else pc.cast(values, target)
        return pc.if_else(pc.equal(texts, ""), pa.scalar(None, target), texts)
    if pa.types.is_string(values.type):
        return _parsed(spec, values, report)
    if pa.types.is_floating(values.type) and target == pa.int64():
        whole = pc.equal(pc.round(values), values)
        report.add(spec.name, pc.invert(whole), values, "must be a whole number")
        values = pc.if_else(whole, values, pa.scalar(None, values.type))
        return pc.cast(values, target)
    if pa.types.is_boolean(values.type):
        report.add(spec.name, values.is_valid(), values, "must be a number")
        return pa.nulls(len(values), target)
    return pc.cast(values, target)


def _parsed(spec: Field, texts: pa.Array, report: _Reporter) -> pa.Array:
    """Numbers written as text."""
    bare = pc.utf8_trim_whitespace(texts)
    bare = pc.if_else(pc.equal(bare, ""), pa.scalar(None, pa.string()), bare)
    whole = arrow_type(spec) == pa.int64()
    pattern = r"^-?[0-9]{1,18}$" if whole else r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"
    known = pc.match_substring_regex(bare, pattern)
    report.add(spec.name, pc.invert(known), texts, f"must be a {'whole ' if whole else ''}number")
    return pc.cast(pc.if_else(known, bare, pa.scalar(None, pa.string())), arrow_type(spec))


def _check_values(columns: Columns, report: _Reporter) -> None:
    for name, (low, high, allowed) in _RANGES.items():
        values = columns[name]
        wrong = pc.or_kleene(pc.less(values, low), pc.greater(values, high))
        report.add(name, wrong, values, f"must be {allowed}")
    for low_name, high_name in _ORDERED:
        wrong = pc.greater(columns[low_name], columns[high_name])
        report.add(low_name, wrong, columns[low_name], f"must not be above {high_name}")
    for name, pattern, allowed in _PATTERNS:
        wrong = pc.invert(pc.match_substring_regex(columns[name], pattern))
        report.add(name, wrong, columns[name], f"must be {allowed}")
    for name, values in columns.items():
        if pa.types.is_string(values.type) and may_hold_nul(values):
            wrong = pc.match_substring(values, "\0")
            report.add(name, wrong, values, "must not hold a NUL character")


def _check_regions(columns: Columns, report: _Reporter) -> BulkPolygons:
    given = columns["s_region"]
    regions = read_regions(given)
    for row, reason in regions.faults.items():
        report.one("s_region", row, given[row].as_py(), reason)
    columns["s_region"] = regions.texts
    shapes = regions.polygons
    if not shapes.plain.any():
        return shapes
    for name, values in _derived(shapes, columns):
        known = pa.array(values, mask=~shapes.plain | ~np.isfinite(values))
        if columns[name].type == pa.int64():
            known = pc.cast(pc.round(known), pa.int64())
        columns[name] = pc.coalesce(columns[name], known)
    return shapes


def _derived(shapes: Any, columns: Columns) -> Iterator[tuple[str, Any]]:
    """What a region tells of its centre, its extent, and with a pixel scale of its pixels."""
    x, y, z = shapes.centres.T
    with np.errstate(divide="ignore", invalid="ignore"):
        yield "s_ra", np.degrees(np.arctan2(y, x)) % 360.0
        yield "s_dec", np.degrees(np.arctan2(z, np.hypot(x, y)))
        yield "s_fov", 2.0 * np.degrees(np.arccos(np.clip(shapes.cosines, -1.0, 1.0)))
        scale = columns["s_pixel_scale"].to_numpy(zero_copy_only=False).astype(float)
        first, second = _sides_deg(shapes)
        yield "s_xel1", 3600.0 * first / np.where(scale > 0.0, scale, np.nan)
        yield "s_xel2", 3600.0 * second / np.where(scale > 0.0, scale, np.nan)


def _sides_deg(shapes: Any) -> tuple[Any, Any]:
    """Mean length (deg) of the opposite sides of each quadrilateral; NaN for other outlines."""
    starts, count = shapes.starts, len(shapes.plain)
    square = np.flatnonzero(shapes.plain & (np.diff(starts) == 4))
    sides = np.full((4, count), np.nan)
    vectors = shapes.vectors.reshape(-1, 3)
    for side in range(4):
        a, b = vectors[starts[square] + side], vectors[starts[square] + (side + 1) % 4]
        length = np.linalg.norm(np.cross(a, b), axis=1)
        sides[side, square] = np.degrees(np.arctan2(length, (a * b).sum(axis=1)))
    return (sides[0] + sides[2]) / 2.0, (sides[1] + sides[3]) / 2.0
