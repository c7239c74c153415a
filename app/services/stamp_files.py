"""Triplets as one FITS file, an HDU at a time.

SCIENCE, TEMPLATE and DIFFERENCE with EXTVER = number of the epoch, each followed by its planes
(SCIENCE_VARIANCE, SCIENCE_MASK …), and at the end the table EPOCHS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Final

from astropy.io import fits

from app import __version__
from app.recipes.photometry import zero_point_of
from app.services.stamp_epochs import Role, StampEpochs
from app.services.stamp_request import StampPlane, StampRequest
from app.services.stamp_table import FIELDS, table_row
from app.services.stamps import Stamp, StampService, Triplet
from app.sky.shapes import Point
from app.stores.cutout_headers import section_text
from app.stores.fits_layout import CardRow, Cell, mark_mask_planes, table_hdu, tell
from app.stores.fits_pieces import Piece, header_pieces, plane_of_cards, table_pieces

ORDER: Final[tuple[Role, ...]] = ("science", "template", "difference")
_ORIGINS: Final = {
    "matched": "the template as it was subtracted",
    "alike": "matched to the science image, convolved instead",
    "subtracted": "science less difference",
    "coadd": "a template of the place, resampled",
}


class StampWriter:
    """Writes triplets."""

    def __init__(self, *, stamps: StampService) -> None:
        self._stamps = stamps

    def write(self, epochs: StampEpochs, request: StampRequest) -> Iterator[bytes]:
        """The file, piece by piece: the stamps of one epoch are held."""
        return map(bytes, self._pieces(epochs, request))

    def _pieces(self, epochs: StampEpochs, request: StampRequest) -> Iterator[Piece]:
        primary = fits.PrimaryHDU()
        tell(primary.header, _primary_cards(epochs, request))
        yield from header_pieces(primary)
        rows: list[Mapping[str, Cell]] = []
        for number, triplet in enumerate(self._stamps.read(epochs, request), 1):
            for role in ORDER:
                stamp = triplet.stamps.get(role)
                if stamp is not None:
                    yield from _stamp_pieces(role, stamp, number, triplet, request.planes)
            rows.append(_row(triplet, number))
        rows += _empty_rows(epochs.empty, request.positions)
        yield from table_pieces(table_hdu("EPOCHS", rows))


def _stamp_pieces(
    role: Role, stamp: Stamp, number: int, triplet: Triplet, planes: Sequence[StampPlane]
) -> Iterator[Piece]:
    header = stamp.grid.fits_header()
    header["EXTVER"] = (number, "number of the epoch")
    tell(header, _cards(role, stamp, triplet))
    name, shared, unit = role.upper(), _encoded(header), stamp.ref.bunit
    yield from plane_of_cards(name, stamp.image.flux, shared + _unit_card(unit))
    if "variance" in planes and stamp.knows_noise:
        squared = None if unit is None else f"{unit}**2"
        cards = shared + _unit_card(squared)
        yield from plane_of_cards(f"{name}_VARIANCE", stamp.image.variance, cards)
    if "mask" in planes:
        yield from plane_of_cards(f"{name}_MASK", stamp.image.mask, shared + _mask_cards())


def _encoded(header: fits.Header) -> bytes:
    """Its cards as they stand in a file."""
    text: str = header.tostring(endcard=False, padding=False)
    return text.encode("ascii")


def _unit_card(unit: str | None) -> bytes:
    header = fits.Header()
    tell(header, [("BUNIT", unit, "unit of the pixels")])
    return _encoded(header)


@cache
def _mask_cards() -> bytes:
    return _encoded(mark_mask_planes(fits.Header()))


def _primary_cards(epochs: StampEpochs, request: StampRequest) -> list[CardRow]:
    unit = "pix" if request.size.in_pixels else "deg"
    return [
        ("ORIGIN", "Skyloom", "made by"),
        ("SWVERS", __version__, "version of Skyloom"),
        ("NPOS", len(request.positions), "positions asked for"),
        ("NEPOCH", len(epochs.epochs), "triplets, see HDU EPOCHS"),
        ("STMPSIZE", request.size.value, f"[{unit}] side of the stamps"),
        ("OVERFLOW", epochs.truncated, "whether older epochs were left out (MAXREC)"),
    ]


def _cards(role: Role, stamp: Stamp, triplet: Triplet) -> list[CardRow]:
    epoch, ref, (x, y) = triplet.epoch, stamp.ref, stamp.place
    science = stamp.row is None or role != "template"
    origin = epoch.template_origin if role == "template" else None
    y0, y1, x0, x1 = stamp.window.bounds
    return [
        ("OBSPUBID", None if stamp.row is None else stamp.row.dataset_id, ""),
        ("TMPLFROM", origin, _ORIGINS.get(str(origin), "")),
        ("MJD-BEG", ref.t_min if science else None, "[d] start of the exposure (UTC)"),
        ("MJD-AVG", epoch.mid_mjd, "[d] middle of the exposure of the epoch (UTC)"),
        ("MJD-END", ref.t_max if science else None, "[d] end of the exposure (UTC)"),
        ("EXPTIME", ref.exposure_s, "[s] exposure time"),
        ("BAND", ref.band, "band"),
        ("MAGZERO", zero_point_of(ref), "[mag] AB magnitude of one flux unit"),
        ("FWHM", ref.fwhm_arcsec, "[arcsec] full width at half maximum of the PSF"),
        ("POSNUM", epoch.position, "number of the position asked for"),
        ("POS_RA", epoch.point.lon_deg, "[deg] the position, ICRS"),
        ("POS_DEC", epoch.point.lat_deg, "[deg] the position, ICRS"),
        ("POS_X", x + 1, "[pix] where it is, the first pixel being 1"),
        ("POS_Y", y + 1, "[pix] where it is, the first pixel being 1"),
        ("STMPSEC", section_text(((y0, y1), (x0, x1))), "the stamp, in pixels of the image"),
    ]


def _row(triplet: Triplet, number: int) -> Mapping[str, Cell]:
    told = table_row(triplet.epoch, number)
    texts = {field.name: told[field.name] or "" for field in FIELDS if field.kind == "text"}
    return {
        **told,
        **texts,
        **{role: role in triplet.stamps for role in ORDER},
    }


def _empty_rows(empty: Sequence[int], positions: Sequence[Point]) -> Iterator[Mapping[str, Cell]]:
    """Of the positions without any image."""
    for number in empty:
        point = positions[number - 1]
        place = {"position": number, "ra": point.lon_deg, "dec": point.lat_deg, "epoch": 0}
        there: dict[str, Cell] = dict.fromkeys(ORDER, False)
        yield {**place, **there, "note": "no image that was asked for contains the position"}
