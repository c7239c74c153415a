"""Known light curves: what the transients and variables of the simulated sky do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

AB_ZERO_POINT_NJY: Final = 31.4
"""Magnitude AB of one nanojansky (Rubin's convention, 8.9 + 22.5)."""


def flux_njy(mag: float) -> float:
    """AB magnitude -> nJy; infinity is no flux."""
    return 0.0 if math.isinf(mag) else 10.0 ** (-0.4 * (mag - AB_ZERO_POINT_NJY))


def mag_of(flux: float) -> float:
    """NJy -> AB magnitude; no flux is infinity."""
    return math.inf if flux <= 0 else AB_ZERO_POINT_NJY - 2.5 * math.log10(flux)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transient:
    """A supernova-like event: rise, fall and reddening; nothing before it.

    The shape in time is that of Bazin et al. 2009 (A&A 499, 653),
    ``exp(-(t-t0)/fall) / (1 + exp(-(t-t0)/rise))``, scaled to ``peak_mag`` at its maximum in each
    band; bluer bands fall faster. Positions in degrees ICRS, times in days.
    """

    name: str
    lon_deg: float
    lat_deg: float
    host: int
    """Number of the host galaxy in the catalog of galaxies."""
    host_offset_arcsec: float
    t0_mjd: float
    rise_d: float
    fall_d: tuple[tuple[str, float], ...]
    peak_mag: tuple[tuple[str, float], ...]

    def flux_njy(self, band: str, mjd: float) -> float:
        """Flux (nJy) in a band at a time; 0 long before the event."""
        fall_d, peak_mag = dict(self.fall_d)[band], dict(self.peak_mag)[band]
        phase_d = mjd - self.t0_mjd
        if phase_d < -8 * self.rise_d:
            return 0.0
        peak_phase_d = self.rise_d * math.log(fall_d / self.rise_d - 1)
        return (
            flux_njy(peak_mag)
            * _bazin(phase_d, self.rise_d, fall_d)
            / _bazin(peak_phase_d, self.rise_d, fall_d)
        )


def _bazin(phase_d: float, rise_d: float, fall_d: float) -> float:
    return math.exp(-phase_d / fall_d) / (1 + math.exp(-phase_d / rise_d))


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A periodic star: magnitude = mean + amplitude * shape(phase), larger in bluer bands.

    ``shape`` is a sawtooth of three harmonics (RR Lyrae: quick rise, slow fall) or a sine.
    """

    name: str
    lon_deg: float
    lat_deg: float
    period_d: float
    epoch_mjd: float
    harmonics: int
    mean_mag: tuple[tuple[str, float], ...]
    amplitude_mag: tuple[tuple[str, float], ...]

    def flux_njy(self, band: str, mjd: float) -> float:
        """Flux (nJy) in a band at a time."""
        phase = (mjd - self.epoch_mjd) / self.period_d
        shape = sum(
            math.sin(2 * math.pi * k * phase) / k for k in range(1, self.harmonics + 1)
        ) / sum(1 / k for k in range(1, self.harmonics + 1))
        return flux_njy(dict(self.mean_mag)[band] + dict(self.amplitude_mag)[band] * shape)
