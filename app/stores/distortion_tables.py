"""Distortions that lie in tables of their own (CPDIS and D2IM, as HST's), shifted for a cutout."""

from __future__ import annotations

from typing import Any, Final

from app.pixels.region_bounds import Bounds
from app.pixels.wcs_cards import has_lookup_tables
from app.stores.fits_files import format_faults
from app.stores.plane_files import PlaneFiles, StoredUnit

TABLES: Final = frozenset({"WCSDVARR", "D2IMARR"})


def distortion_hdus(files: PlaneFiles, unit: StoredUnit, bounds: Bounds) -> list[Any]:
    """Every such table of an image's file, for the pixels within ``bounds``; none where the WCS
    needs none. CRVAL is the pixel of the image at which a table's CRPIX stands.

    Raises ImageFormatError.
    """
    if not has_lookup_tables(unit.header):
        return []
    with format_faults(unit.name), files.open_fits(unit) as found:
        return [_shifted(hdu.copy(), bounds) for hdu in found if hdu.name in TABLES]


def _shifted(table: Any, bounds: Bounds) -> Any:
    for axis, start in ((1, bounds[2]), (2, bounds[0])):
        if f"CRVAL{axis}" in table.header:
            table.header[f"CRVAL{axis}"] -= start
    return table
