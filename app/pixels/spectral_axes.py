"""Spectral axes of cubes: the vacuum wavelength at the edges of each channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from astropy.io.fits import Header
from numpy.typing import NDArray

from app.errors import ImageFormatError
from app.pixels.celestial import build_wcs

Floats = NDArray[np.float64]

LIGHT_M_S: Final = 299792458.0
PLANCK_J_S: Final = 6.62607015e-34
REST_CARDS: Final = ("RESTFRQ", "RESTFREQ", "RESTWAV", "VELREF", "SPECSYS")

SPECTRAL_TYPES: Final = frozenset(
    ("FREQ", "WAVE", "AWAV", "WAVN", "ENER", "VRAD", "VOPT", "VELO", "ZOPT", "BETA")
)
"""FITS WCS paper III (Greisen et al. 2006), table 1."""


def is_spectral(kind: str) -> bool:
    """Whether a CTYPE (upper case) is one of them, alone or with an algorithm (``WAVE-LOG``)."""
    return kind[:4] in SPECTRAL_TYPES and (len(kind) == 4 or kind[4] == "-")


def channel_edges(header: Header, axis: int, size: int) -> Floats:
    """Wavelength (m, vacuum) at the ``size`` + 1 edges of the channels of a FITS axis.

    Raises ImageFormatError for an axis that cannot be read.
    """
    cards = _one_axis(header, axis)
    kind = str(cards["CTYPE1"]).strip().upper()[:4]
    wcs = build_wcs(cards)
    native = wcs.wcs_pix2world(np.arange(size + 1) - 0.5, 0)[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(_TO_WAVE[kind](native, _rest_wave(wcs, kind)), dtype=np.float64)


def _one_axis(header: Header, axis: int) -> Header:
    """The WCS of one axis alone. A scale is told by CDi_i, where there is one, or by CDELTi."""
    kept = Header({"WCSAXES": 1})
    for name in ("CTYPE", "CUNIT", "CRVAL", "CRPIX"):
        if f"{name}{axis}" in header:
            kept[f"{name}1"] = header[f"{name}{axis}"]
    scale = header.get(f"CD{axis}_{axis}")
    if scale is None:
        scale = header.get(f"CDELT{axis}", 1.0) * header.get(f"PC{axis}_{axis}", 1.0)
    kept["CDELT1"] = scale
    for card in header.cards:
        if card.keyword.startswith(f"PV{axis}_"):
            kept[f"PV1_{card.keyword.partition('_')[2]}"] = card.value
    for name in REST_CARDS:
        if name in header:
            kept[name] = header[name]
    return kept


def _rest_wave(wcs: Any, kind: str) -> float:
    """Wavelength (m) of the line that velocities refer to."""
    if kind not in {"VRAD", "VOPT", "VELO", "ZOPT", "BETA"}:
        return 1.0
    if wcs.wcs.restwav > 0:
        return float(wcs.wcs.restwav)
    if wcs.wcs.restfrq > 0:
        return LIGHT_M_S / float(wcs.wcs.restfrq)
    raise ImageFormatError("", f"a spectral axis {kind} without RESTFRQ or RESTWAV")


def _doppler(beta: Floats, rest: float) -> Floats:
    return rest * np.sqrt((1 + beta) / (1 - beta))


def _vacuum(air: Floats, _rest: float) -> Floats:
    """Cox 2000, as FITS WCS paper III has it (its equation 65)."""
    wavenumber2 = 1e-12 / air**2
    index = 1 + 1e-6 * (287.6155 + 1.62887 * wavenumber2 + 0.01360 * wavenumber2**2)
    return np.asarray(air * index)


_TO_WAVE: Final[Mapping[str, Callable[[Floats, float], Floats]]] = {
    "FREQ": lambda value, _rest: LIGHT_M_S / value,
    "ENER": lambda value, _rest: PLANCK_J_S * LIGHT_M_S / value,
    "WAVN": lambda value, _rest: 1.0 / value,
    "WAVE": lambda value, _rest: value,
    "AWAV": _vacuum,
    "VRAD": lambda value, rest: rest / (1 - value / LIGHT_M_S),
    "VOPT": lambda value, rest: rest * (1 + value / LIGHT_M_S),
    "ZOPT": lambda value, rest: rest * (1 + value),
    "VELO": lambda value, rest: _doppler(value / LIGHT_M_S, rest),
    "BETA": _doppler,
}
"""SI units to wavelength (paper III, table 3)."""
