"""The part of a FITS header that says where a 2-D image lies on the sky.

The cards are kept as they were written, so that every projection and distortion which wcslib
knows (SIP, TPV, TNX and ZPX ``WAT`` polynomials, ZPN, DSS plate solutions, ...) survives unchanged.
Axes that are not celestial are dropped and the celestial ones renumbered 1 and 2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from astropy.io.fits import Card, Header

from app.errors import ImageFormatError

SKY_AXES: Final = {
    "RA": "lon",
    "DEC": "lat",
    "GLON": "lon",
    "GLAT": "lat",
    "ELON": "lon",
    "ELAT": "lat",
    "SLON": "lon",
    "SLAT": "lat",
}
"""CTYPE prefixes of the celestial sphere (FITS WCS paper II, section 3.1)."""

OTHER_SPHERES: Final = {
    "HP": "helioprojective: positions on the Sun",
    "HG": "heliographic: positions on the Sun",
    "CR": "Carrington: positions on the Sun",
    "SX": "solar: positions on the Sun",
    "T": "terrestrial",
}

_PER_AXIS = re.compile(r"^(CTYPE|CUNIT|CRVAL|CRPIX|CDELT|CROTA)([1-9])$")
_PARAMETER = re.compile(r"^(PV|PS)([1-9])(_\d+)$")
_MATRIX = re.compile(r"^(CD|PC)([1-9])_([1-9])$")
_OLD_MATRIX = re.compile(r"^PC00([1-9])00([1-9])$")
_WHOLE = re.compile(
    r"^(LONPOLE|LATPOLE|RADESYS|EQUINOX|EPOCH|[AB]P?_(ORDER|DMAX|\d+_\d+)|PROJP[0-9]"
    r"|WAT[012]_\d{3}|LTV[12]|LTM[12]_[12])$"
)
_PLATE = re.compile(
    r"^(PLTRA[HMS]|PLTDEC(SN|[DMS])|PLTLABEL|PLATEID|PLTSCALE|[XY]PIXELSZ|CNPIX[12]|PPO\d|AMD[XY]\d+)$"
)
_TEXT = re.compile(r"^(CTYPE|CUNIT|RADE|WAT|PS\d|PLTDECSN|PLTLABEL|PLATEID)")
_TABLES = re.compile(r"^(CPDIS[12]|D2IMDIS[12]|AXISCORR|D2IMARR)$")


@dataclass(frozen=True, slots=True)
class SkyCards:
    """Cards of a 2-D celestial WCS and the FITS axes (1-based, ascending) they came from."""

    header: Header
    axes: tuple[int, int]


def has_lookup_tables(header: Header) -> bool:
    """Whether positions need distortion tables that lie in other extensions (CPDIS, D2IM)."""
    return any(_TABLES.match(key) for key in header)


def find_sky_axes(header: Header) -> tuple[int, int]:
    """The two FITS axis numbers that carry longitude and latitude, ascending.

    Raises ImageFormatError when there are none, or when they are of another sphere than the sky.
    """
    types = _axis_types(header)
    kinds = {axis: SKY_AXES.get(prefix) for axis, prefix in types.items()}
    axes = sorted(axis for axis, kind in kinds.items() if kind)
    if len(axes) == 2 and {kinds[a] for a in axes} == {"lon", "lat"}:
        return axes[0], axes[1]
    if len(axes) > 2:
        raise ImageFormatError("", "more than two celestial axes in CTYPE")
    raise ImageFormatError("", _no_sky_reason(types))


def reduce_to_sky(header: Header) -> SkyCards:
    """The cards of the celestial plane alone, as written, axes renumbered to 1 and 2.

    Raises ImageFormatError for a header that does not place its pixels on the sky.
    """
    axes = find_sky_axes(header)
    number = {axes[0]: 1, axes[1]: 2}
    plate = "AMDX1" in header and "PPO3" in header
    kept: dict[str, Card] = {}
    for card in header.cards:
        key = _renumbered(card.keyword, number, plate)
        if key is not None and (key not in kept or card.keyword == key):
            kept[key] = _as_written(card, key)
    _require_scale_and_origin(kept, plate)
    reduced = Header([Card("WCSAXES", 2, ""), *_consistent(kept)])
    return SkyCards(reduced, axes)


def _axis_types(header: Header) -> dict[int, str]:
    types = {}
    for axis in range(1, 10):
        value = header.get(f"CTYPE{axis}")
        if isinstance(value, str) and value.strip():
            types[axis] = re.split(r"[-_ ]", value.strip().upper())[0]
    return types


def _no_sky_reason(types: dict[int, str]) -> str:
    if not types:
        return "no WCS: the header has no CTYPE cards"
    for prefix in types.values():
        for start, meaning in OTHER_SPHERES.items():
            if len(prefix) == 4 and prefix.startswith(start) and prefix.endswith(("LN", "LT")):
                return f"not an image of the sky: axis {prefix} is {meaning}"
    named = ", ".join(types[axis] for axis in sorted(types))
    return f"no celestial WCS: the axes are {named}"


def _renumbered(key: str, number: dict[int, int], plate: bool) -> str | None:
    """The keyword under which a card is kept, or None when it is dropped."""
    if key == "RADECSYS":
        return "RADESYS"
    if _WHOLE.match(key) or (plate and _PLATE.match(key)):
        return key
    if found := _PER_AXIS.match(key) or _PARAMETER.match(key):
        axis = number.get(int(found[2]))
        tail = found[3] if len(found.groups()) > 2 else ""
        return f"{found[1]}{axis}{tail}" if axis else None
    if found := _MATRIX.match(key):
        i, j = number.get(int(found[2])), number.get(int(found[3]))
        return f"{found[1]}{i}_{j}" if i and j else None
    if found := _OLD_MATRIX.match(key):
        i, j = number.get(int(found[1])), number.get(int(found[2]))
        return f"PC{i}_{j}" if i and j else None
    return None


def _as_written(card: Card, key: str) -> Card:
    """The card under its new name with the digits of its value untouched and no comment."""
    image = card.image
    if len(image) != 80:
        return Card(key, card.value, "")
    body = image[8:] if "'" in image else image[8:].split("/")[0]
    return Card.fromstring(f"{key:<8}{body}")


def _require_scale_and_origin(kept: dict[str, Card], plate: bool) -> None:
    """Defaults of the standard (scale 1 degree, reference 0, 0) are not taken for a position."""
    if plate:
        return
    missing = [k for k in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2") if k not in kept]
    if missing:
        raise ImageFormatError("", f"broken WCS: no {', '.join(missing)}")
    if "CDELT1" not in kept and not any(key.startswith("CD") for key in kept):
        raise ImageFormatError("", "broken WCS: no pixel scale (neither CD nor CDELT cards)")
    for key, card in kept.items():
        _require_kind(key, card)


def _require_kind(key: str, card: Card) -> None:
    try:
        value = card.value
    except Exception as fault:
        raise ImageFormatError("", f"broken WCS: card {key} cannot be read") from fault
    if not _TEXT.match(key) and not isinstance(value, (int, float)):
        raise ImageFormatError("", f"broken WCS: {key} is not a number: {value!r}")


def _consistent(kept: dict[str, Card]) -> list[Card]:
    """Drop what contradicts: PC beside CD, SCAMP's PV beside SIP, a SIP suffix without SIP cards
    or the reverse; spell degrees as the standard does."""
    has_cd = any(_MATRIX.match(key) and key.startswith("CD") for key in kept)
    has_sip = "A_ORDER" in kept and "B_ORDER" in kept
    dropped: tuple[str, ...] = ("PC",) if has_cd else ()
    if has_sip and "TAN" in str(kept["CTYPE1"].value):
        dropped += ("PV",)
    cards = [card for key, card in kept.items() if not key.startswith(dropped)]
    return [_spelled(card, has_sip) for card in cards]


def _spelled(card: Card, has_sip: bool) -> Card:
    key = card.keyword
    if key.startswith("CUNIT") and str(card.value).strip().lower() in {"degree", "degrees"}:
        return Card(key, "deg", "")
    if not key.startswith("CTYPE"):
        return card
    bare = str(card.value).strip().removesuffix("-SIP")
    wanted = f"{bare}-SIP" if has_sip and len(bare) == 8 and not bare.endswith("TPV") else bare
    return Card(key, wanted, "")
