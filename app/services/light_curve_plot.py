"""Light curves as drawings: flux over time, one panel for each kind of image, a colour a band."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

from app.services.figure import Dot, Figure, Item, Line, Words, ticks
from app.services.light_curve_table import LEAST_SNR
from app.services.light_curves import Epoch
from app.services.place_images import KINDS
from app.sky.shapes import Point

WIDTH: Final = 860
PANEL_HEIGHT: Final = 220
_LEFT, _RIGHT, _TOP, _GAP, _BOTTOM = 92, 16, 34, 26, 46
_INK, _SOFT, _GRID = "#16192b", "#565c76", "#dcdfe9"
_COLOURS: Final = {
    "u": "#0c71ff",
    "g": "#2f8f00",
    "r": "#c61c00",
    "i": "#b8860b",
    "z": "#702670",
    "y": "#5d0000",
}
_OTHERS: Final = ("#006e7a", "#a03a8c", "#4d5b00", "#7a4a1e")
_DOT_PX: Final = 3.2
_PAD: Final = 0.06


@dataclass(frozen=True, slots=True)
class _Axis:
    """Values from ``low`` to ``high`` on a stretch of the drawing."""

    low: float
    high: float
    start: float
    stop: float

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)


def draw(epochs: Sequence[Epoch], point: Point) -> Figure:
    """Every epoch with a flux and a time. Hollow marks have a signal below LEAST_SNR."""
    shown = [e for e in epochs if isfinite(e.measured.flux) and isfinite(e.mid_mjd)]
    kinds = [kind for kind in KINDS if any(e.kind == kind for e in shown)]
    label = f"Light curve at {point.lon_deg:.6f} {point.lat_deg:+.6f} (ICRS)"
    panels = max(1, len(kinds))
    height = _TOP + panels * PANEL_HEIGHT + (panels - 1) * _GAP + _BOTTOM
    items: list[Item] = [Words((_LEFT, 20), label, _INK, size=14)]
    if not kinds:
        items.append(Words((WIDTH / 2, height / 2), "Nothing was measured", _SOFT, "middle"))
        return Figure(WIDTH, height, label, tuple(items))
    colours = _colours(shown)
    items += _legend(colours)
    times = _axis([e.mid_mjd for e in shown], _LEFT, WIDTH - _RIGHT)
    for number, kind in enumerate(kinds):
        top = _TOP + number * (PANEL_HEIGHT + _GAP)
        part = [e for e in shown if e.kind == kind]
        items += _panel(kind, part, times, top, colours)
    items += _time_marks(times, height - _BOTTOM)
    return Figure(WIDTH, height, label, tuple(items))


def _axis(values: Sequence[float], start: float, stop: float) -> _Axis:
    low, high = min(values), max(values)
    pad = _PAD * (high - low) or max(abs(high), 1.0) * _PAD
    return _Axis(low - pad, high + pad, start, stop)


def _colours(epochs: Sequence[Epoch]) -> dict[str, str]:
    """Band -> colour: bands of Rubin's have fixed ones."""
    bands = sorted({_band(e) for e in epochs}, key=lambda b: ("ugrizy".find(b) % 7, b))
    others = [band for band in bands if band not in _COLOURS]
    return {
        band: _COLOURS.get(band) or _OTHERS[others.index(band) % len(_OTHERS)] for band in bands
    }


def _band(epoch: Epoch) -> str:
    return str(epoch.row.columns.get("lsst_band") or "no band")


def _legend(colours: dict[str, str]) -> Iterator[Item]:
    x = float(WIDTH - _RIGHT)
    for band, colour in reversed(colours.items()):
        yield Words((x, 20), band, _INK, "end")
        x -= 8.0 * len(band) + 8
        yield Dot((x, 16), _DOT_PX, colour)
        x -= 16


def _panel(
    kind: str, epochs: Sequence[Epoch], times: _Axis, top: float, colours: dict[str, str]
) -> Iterator[Item]:
    bottom = top + PANEL_HEIGHT
    ends = [
        e.measured.flux + sign * e.measured.error
        for e in epochs
        for sign in (-1, 1)
        if isfinite(e.measured.error)
    ]
    fluxes = _axis(ends or [e.measured.flux for e in epochs], bottom, top)
    for value in ticks(fluxes.low, fluxes.high, 5):
        y = fluxes.at(value)
        yield Line((_LEFT, y), (WIDTH - _RIGHT, y), _SOFT if value == 0 else _GRID)
        yield Words((_LEFT - 8, y + 4), f"{value:.6g}", _SOFT, "end")
    for value in ticks(times.low, times.high, 8):
        yield Line((times.at(value), bottom), (times.at(value), bottom - 5), _SOFT)
    for x in (_LEFT, WIDTH - _RIGHT):
        yield Line((x, top), (x, bottom), _GRID)
    yield Words((_LEFT + 8, top + 16), f"{kind}, nJy", _INK)
    for epoch in epochs:
        yield from _mark(epoch, times, fluxes, colours[_band(epoch)])


def _mark(epoch: Epoch, times: _Axis, fluxes: _Axis, colour: str) -> Iterator[Item]:
    flux, error = epoch.measured.flux, epoch.measured.error
    x = times.at(epoch.mid_mjd)
    if isfinite(error):
        yield Line((x, fluxes.at(flux - error)), (x, fluxes.at(flux + error)), colour)
    title = f"{_band(epoch)} {epoch.mid_mjd:.4f}: {flux:.1f} ± {error:.1f} nJy"
    flags = " ".join(epoch.measured.flags)
    yield Dot(
        (x, fluxes.at(flux)),
        _DOT_PX,
        colour,
        filled=abs(epoch.measured.snr) >= LEAST_SNR,
        title=f"{title} {flags}".strip(),
    )


def _time_marks(times: _Axis, bottom: float) -> Iterator[Item]:
    for value in ticks(times.low, times.high, 8):
        yield Words((times.at(value), bottom + 18), f"{value:.10g}", _SOFT, "middle")
    yield Words(((_LEFT + WIDTH - _RIGHT) / 2, bottom + 38), "MJD (UTC)", _INK, "middle")
