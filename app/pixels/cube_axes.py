"""The axes of a cube that are not on the sky: which channels a band, a time or a polarisation
takes."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from astropy.io.fits import Header
from astropy.time import Time
from numpy.typing import NDArray

from app.errors import ImageFormatError
from app.pixels.spectral_axes import channel_edges, is_spectral

Floats = NDArray[np.float64]
Interval = tuple[float, float]
Span = tuple[int, int]
"""Half-open, 0-based."""

TIME_SCALES: Final = frozenset(("TAI", "TT", "TDT", "ET", "UTC", "TDB", "TCB", "TCG", "UT1"))
SECONDS_PER_DAY: Final = 86400.0
_DAYS: Final = {"s": 1.0 / SECONDS_PER_DAY, "d": 1.0, "a": 365.25, "yr": 365.25}
_ASTROPY_SCALES: Final = {"TDT": "tt", "ET": "tt", "TAI": "tai", "TT": "tt", "TDB": "tdb"}
"""Others are within a second of UTC, or too rare to tell apart."""

STOKES: Final = {
    "I": 1,
    "Q": 2,
    "U": 3,
    "V": 4,
    "POLI": 5,
    "POLA": 7,
    "RR": -1,
    "LL": -2,
    "RL": -3,
    "LR": -4,
    "XX": -5,
    "YY": -6,
    "XY": -7,
    "YX": -8,
}
"""Polarisation states (ObsCore 1.1, section B.6.6) and their values on a STOKES axis (FITS 4.0,
table 29; those of POLI and POLA are AIPS's)."""


@dataclass(frozen=True, slots=True, eq=False)
class CubeAxes:
    """Axes by their number as numpy counts them; None where a cube has none of a kind.

    ``band_edges`` (m) and ``time_edges`` (MJD, UTC) are those of the channels, ``states`` the
    STOKES values of the planes.
    """

    band_axis: int | None = None
    band_edges: Floats | None = None
    time_axis: int | None = None
    time_edges: Floats | None = None
    pol_axis: int | None = None
    states: tuple[int, ...] = ()

    @classmethod
    def of(cls, header: Header, shape: tuple[int, ...]) -> CubeAxes:
        """Those of an image of ``shape`` (as numpy has it). A spectral axis that cannot be read is
        as if it were not there."""
        found = cls()
        for axis in range(1, len(shape) + 1):
            kind = str(header.get(f"CTYPE{axis}", "")).strip().upper()
            found = found._with(header, axis, kind, len(shape) - axis, shape[len(shape) - axis])
        return found

    def _with(self, header: Header, axis: int, kind: str, place: int, size: int) -> CubeAxes:
        if is_spectral(kind) and self.band_axis is None:
            with suppress(ImageFormatError):
                edges = channel_edges(header, axis, size)
                return replace(self, band_axis=place, band_edges=edges)
        elif (kind == "TIME" or kind in TIME_SCALES) and self.time_axis is None:
            return replace(self, time_axis=place, time_edges=_times(header, axis, size))
        elif kind == "STOKES" and self.pol_axis is None:
            values = np.rint(_linear(header, axis, np.arange(size, dtype=float)))
            return replace(self, pol_axis=place, states=tuple(int(value) for value in values))
        return self

    def band_span(self, interval: Interval) -> Span | None:
        """The channels that have a wavelength in common with ``interval`` (m)."""
        return None if self.band_edges is None else _overlap(self.band_edges, interval)

    def time_span(self, interval: Interval) -> Span | None:
        """The channels that have a time in common with ``interval`` (MJD, UTC)."""
        return None if self.time_edges is None else _overlap(self.time_edges, interval)

    def pol_span(self, states: Collection[str]) -> Span | None:
        """The planes from the first to the last that has one of the ``states``."""
        wanted = {STOKES[state] for state in states}
        there = [place for place, value in enumerate(self.states) if value in wanted]
        return (there[0], there[-1] + 1) if there else None


def _overlap(edges: Floats, interval: Interval) -> Span | None:
    low, high = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
    taken = np.flatnonzero((high >= interval[0]) & (low <= interval[1]))
    return (int(taken[0]), int(taken[-1]) + 1) if taken.size else None


def _linear(header: Header, axis: int, pixel: Floats) -> Floats:
    scale = header.get(f"CD{axis}_{axis}")
    if scale is None:
        scale = header.get(f"CDELT{axis}", 1.0) * header.get(f"PC{axis}_{axis}", 1.0)
    place = header.get(f"CRPIX{axis}", 0.0)
    return np.asarray(header.get(f"CRVAL{axis}", 0.0) + scale * (pixel + 1.0 - place))


def _times(header: Header, axis: int, size: int) -> Floats:
    """MJD (UTC) at the edges of the channels (FITS 4.0, section 9)."""
    unit = str(header.get(f"CUNIT{axis}") or header.get("TIMEUNIT") or "s").strip()
    days = _DAYS.get(unit, _DAYS["s"]) * _linear(
        header, axis, np.arange(size + 1, dtype=float) - 0.5
    )
    zero = _zero_time(header)
    return days + zero + _behind_utc(header, axis, zero + float(days[0]))


def _zero_time(header: Header) -> float:
    """MJDREF in one card or two, or JDREF; 0 where there is none."""
    for name, shift in (("MJDREF", 0.0), ("JDREF", -2400000.5)):
        if name in header:
            return float(header[name]) + shift
        if f"{name}I" in header:
            return float(header[f"{name}I"]) + float(header.get(f"{name}F", 0.0)) + shift
    return 0.0


def _behind_utc(header: Header, axis: int, mjd: float) -> float:
    """Days to be added to the axis's time scale to make it UTC."""
    named = str(header[f"CTYPE{axis}"]).strip().upper()
    scale = named if named in TIME_SCALES else str(header.get("TIMESYS", "UTC")).strip().upper()
    if scale not in _ASTROPY_SCALES:
        return 0.0
    return float(Time(mjd, format="mjd", scale=_ASTROPY_SCALES[scale]).utc.mjd - mjd)
