"""Headers of cutouts: those of the image they are cut from, every card kept but for what says where
its pixels are.

The position cards are shifted (CRPIXn and those of alternate WCSs, IRAF's LTVn, CNPIXn of
photographic plates), which no distortion minds: SIP counts from CRPIX, and TPV, TNX and the like
from where CRPIX is on the sky. Distortions in tables are shifted by their own headers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from astropy.io.fits import Card, Header

from app.stores.fits_files import FITS_BLOCK

CardRow = tuple[str, str, str]
"""(keyword, text, comment)."""

_CARD: Final = 80
_PLACED: Final = re.compile(r"^(CRPIX|LTV|CNPIX)(\d+)([A-Z]?)$")
_AXIS: Final = re.compile(r"^(?:CTYPE|CRVAL)(\d+)([A-Z]?)$")
_STRUCTURE: Final = re.compile(
    r"^(SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|GROUPS|EXTEND|CHECKSUM|DATASUM|END)$"
)


@dataclass(frozen=True, slots=True)
class _Placed:
    """A card whose value is that of the image plus ``sign`` times the first pixel of a cutout."""

    keyword: str
    axis: int
    value: float
    sign: int
    image: bytes

    def moved(self, starts: Sequence[int]) -> bytes:
        """The card of a cutout that begins at ``starts``, in the order of FITS axes."""
        start = starts[self.axis - 1] if self.axis <= len(starts) else 0
        if start == 0:
            return self.image
        return _card(self.keyword, repr(self.value + self.sign * start).upper())


@dataclass(frozen=True, slots=True)
class HeaderTemplate:
    """The header of an HDU, ready to be written for any part of its pixels. ``name`` is its
    EXTNAME, "" without one."""

    bitpix: int
    name: str
    cards: tuple[bytes | _Placed, ...]
    plain_cards: tuple[bytes, ...]
    """Those of an HDU without pixels; of one that leaves its pixels behind there are none."""

    @classmethod
    def of(cls, header: Header) -> HeaderTemplate:
        """That of an image."""
        kept = [card for card in header.cards if not _STRUCTURE.match(card.keyword)]
        return cls(
            bitpix=int(header["BITPIX"]),
            name=str(header.get("EXTNAME", "")).strip(),
            cards=tuple(_kept(kept, header)),
            plain_cards=tuple(_encoded(card) for card in (() if header["NAXIS"] else kept)),
        )

    def primary(self, extra: Iterable[CardRow]) -> bytes:
        """The header of a primary HDU without pixels."""
        lead = (_card("SIMPLE", "T"), _card("BITPIX", "8"), _card("NAXIS", "0"))
        return _block((*lead, _card("EXTEND", "T"), *self.plain_cards, *_rows(extra)))

    def image(
        self,
        window: Sequence[tuple[int, int]],
        extra: Iterable[CardRow],
        *,
        is_primary: bool,
    ) -> bytes:
        """The header of the pixels of ``window`` (as numpy orders the axes)."""
        spans = tuple(reversed(window))
        starts = [start for start, _ in spans]
        lead = _card("SIMPLE", "T") if is_primary else _card("XTENSION", "'IMAGE   '")
        sizes = [_card(f"NAXIS{n}", str(b - a)) for n, (a, b) in enumerate(spans, start=1)]
        extension = (_card("PCOUNT", "0"), _card("GCOUNT", "1"))
        cards = [card if isinstance(card, bytes) else card.moved(starts) for card in self.cards]
        return _block(
            (
                lead,
                _card("BITPIX", str(self.bitpix)),
                _card("NAXIS", str(len(spans))),
                *sizes,
                *((_card("EXTEND", "T"),) if is_primary else extension),
                *cards,
                *_rows(extra),
            )
        )


def padding(size_bytes: int) -> bytes:
    """Zeros that fill the last block of so many bytes of pixels."""
    return bytes(-size_bytes % FITS_BLOCK)


def section_text(window: Sequence[tuple[int, int]]) -> str:
    """A window as FITS counts pixels: ``[x1:x2,y1:y2]``, from 1, both ends in it."""
    return "[" + ",".join(f"{a + 1}:{b}" for a, b in reversed(window)) + "]"


def _kept(cards: Sequence[Card], header: Header) -> Iterator[bytes | _Placed]:
    for card in cards:
        found = _PLACED.match(card.keyword)
        image = _encoded(card)
        if found is None or not isinstance(card.value, int | float):
            yield image
        else:
            sign = 1 if found[1] == "CNPIX" else -1
            yield _Placed(card.keyword, int(found[2]), float(card.value), sign, image)
    yield from _missing(header)


def _missing(header: Header) -> Iterator[_Placed]:
    """Cards that are 0 for the whole image, where nothing says so."""
    axes = {found.groups() for key in header if (found := _AXIS.match(key))}
    for axis, version in sorted(axes):
        if f"CRPIX{axis}{version}" not in header:
            yield _Placed(f"CRPIX{axis}{version}", int(axis), 0.0, -1, b"")
    for number in range(1, int(header["NAXIS"]) + 1):
        if f"LTV{number}" not in header:
            yield _Placed(f"LTV{number}", number, 0.0, -1, b"")


def _card(keyword: str, value: str) -> bytes:
    """Texts begin in column 11, all else ends in column 30 (FITS 4.0, section 4.2)."""
    placed = f"{value:<20}" if value.startswith("'") else f"{value:>20}"
    return f"{keyword:<8}= {placed}".ljust(_CARD).encode("latin-1")


def _rows(rows: Iterable[CardRow]) -> Iterator[bytes]:
    for keyword, value, comment in rows:
        told = "" if not comment else f" / {comment}"
        card = f"{keyword:<8}= {_quoted(value):<20}{told}"
        if len(card) <= _CARD and card.isascii():
            yield card.ljust(_CARD).encode()
        else:
            yield _encoded(Card(keyword, value))


def _quoted(text: str) -> str:
    """A text as FITS 4.0, section 4.2.1 writes it."""
    return f"'{text.replace(chr(39), chr(39) * 2):<8}'"


def _encoded(card: Card) -> bytes:
    """One card, or several where a text is continued."""
    image: str = card.image
    return image.ljust(-(-len(image) // _CARD) * _CARD).encode("latin-1", "replace")


def _block(cards: Iterable[bytes]) -> bytes:
    text = b"".join(cards) + b"END".ljust(_CARD)
    return text.ljust(-(-len(text) // FITS_BLOCK) * FITS_BLOCK)
