"""The layout of a product: PRIMARY, IMAGE, MASK, VARIANCE, INPUTS and, where known, further HDUs.

The order and the names are those of Rubin's coadds and difference images. The same values give
the same bytes: no date is written unless a card brings it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from app.pixels.grid import Grid
from app.pixels.image import MASK_PLANES, MaskedImage
from app.pixels.psf_coadd import CoaddPsf
from app.stores.dia_source_files import dia_sources_hdu
from app.stores.fits_pieces import Piece, header_pieces, plane_pieces, table_pieces
from app.stores.kernel_files import KeptKernel, kernel_hdus
from app.stores.psf_files import psf_hdus

CardValue = str | int | float | bool | None
CardRow = tuple[str, CardValue, str]
"""(keyword, value, comment); a value of None leaves the keyword out."""

Cell = str | int | float | bool | None

TABLE_UNITS: Final[Mapping[str, str]] = {
    "mjd_beg": "d",
    "mjd_end": "d",
    "exptime_s": "s",
    "fwhm_arcsec": "arcsec",
    "zero_point_mag": "mag",
    "x_start": "pix",
    "x_stop": "pix",
    "y_start": "pix",
    "y_stop": "pix",
}
"""TUNIT (FITS 4.0, section 7.3.2; spelt as VOUnits 1.0 has it) of the columns of INPUTS, VISITS and
CCDS that have one unit in all rows."""

MAP_TILE_ROWS: Final = 64


def product_fits(
    image: MaskedImage,
    grid: Grid,
    cards: Sequence[CardRow],
    inputs: Sequence[Mapping[str, Cell]],
    *,
    bunit: str | None = None,
    psf: CoaddPsf | None = None,
    kernel: KeptKernel | None = None,
    score: NDArray[np.float32] | None = None,
    n_image: NDArray[np.int32] | None = None,
    input_map: NDArray[np.uint8] | None = None,
    tables: Mapping[str, Sequence[Mapping[str, Cell]]] = MappingProxyType({}),
    sources: Sequence[Mapping[str, Cell]] | None = None,
) -> Iterator[Piece]:
    """A product as FITS bytes, piece by piece.

    PRIMARY (no pixels) carries ``cards``; IMAGE (float32) and VARIANCE (float32) carry the WCS of
    ``grid`` and BUNIT; MASK (int32) the WCS and one ``MP_<plane>`` card (bit number) for each
    plane; INPUTS is a binary table with one row for each of ``inputs``, columns in the order of
    the first row, with the units of :data:`TABLE_UNITS`, missing numbers as NaN; PSF and PSF_BASIS
    (see :mod:`app.stores.psf_files`) are there when the ``psf`` is known, at the end KERNEL and
    KERNEL_STARS (see :mod:`app.stores.kernel_files`) of a ``kernel``. After INPUTS come
    SCORE (float32, with the WCS), NIMAGE (int16, the good inputs of each pixel, with the WCS),
    INPUTMAP (uint8, compressed; bit b of plane p: input 8 p + b), further ``tables`` and DIASOURCES
    (:mod:`app.stores.dia_source_files`), when they are given. Each HDU has CHECKSUM and DATASUM.
    """
    wcs = grid.fits_header()
    squared = None if bunit is None else f"{bunit}**2"
    yield from header_pieces(fits.PrimaryHDU(header=_primary_header(cards)))
    yield from plane_pieces("IMAGE", image.flux, _with_unit(wcs, bunit))
    yield from plane_pieces("MASK", image.mask, mark_mask_planes(wcs))
    yield from plane_pieces("VARIANCE", image.variance, _with_unit(wcs, squared))
    yield from table_pieces(table_hdu("INPUTS", inputs))
    if score is not None:
        yield from plane_pieces("SCORE", score, wcs)
    if n_image is not None:
        yield from plane_pieces("NIMAGE", n_image.astype(np.int16), wcs)
    if input_map is not None:
        yield from table_pieces(_map_hdu(input_map, wcs))
    units = [table_hdu(name, rows) for name, rows in tables.items()]
    units += [] if sources is None else [dia_sources_hdu(sources)]
    units += [] if psf is None else psf_hdus(psf)
    units += [] if kernel is None else kernel_hdus(kernel)
    for unit in units:
        yield from table_pieces(unit)


def _primary_header(cards: Sequence[CardRow]) -> fits.Header:
    header = fits.Header()
    tell(header, cards)
    return header


def tell(header: fits.Header, cards: Sequence[CardRow]) -> None:
    """Add cards; those without a value, or with one that is not finite, are left out."""
    for key, value, comment in cards:
        if value is not None and not (isinstance(value, float) and not np.isfinite(value)):
            header[key if len(key) <= 8 else f"HIERARCH {key}"] = (value, comment)


def _with_unit(wcs: fits.Header, bunit: str | None) -> fits.Header:
    header = wcs.copy()
    if bunit is not None:
        header["BUNIT"] = (bunit, "unit of the pixels")
    return header


def mark_mask_planes(wcs: fits.Header) -> fits.Header:
    """The same cards and one for each mask plane, which tells its bit."""
    header = wcs.copy()
    for plane, bit in MASK_PLANES.items():
        key = f"MP_{plane}"
        header[key if len(key) <= 8 else f"HIERARCH {key}"] = (bit, "mask plane bit")
    return header


def _map_hdu(input_map: NDArray[np.uint8], wcs: fits.Header) -> fits.BinTableHDU:
    """Rice coding leaves little of planes in which neighbours are equal. It is the table of the
    compressed tiles: the checksum is to be that of the bytes in the file. Tiles of single rows,
    which are usual, take longer to be handled than to be compressed."""
    _, ny, nx = input_map.shape
    image = fits.CompImageHDU(
        input_map,
        header=wcs,
        name="INPUTMAP",
        compression_type="RICE_1",
        tile_shape=(1, min(ny, MAP_TILE_ROWS), nx),
    )
    coded = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(coded)
    coded.seek(0)
    return fits.open(coded, disable_image_compression=True)[1]


def table_hdu(name: str, rows: Sequence[Mapping[str, Cell]]) -> fits.BinTableHDU:
    """A table with the columns of the first row; missing numbers are NaN."""
    names = list(rows[0]) if rows else []
    columns = [_column(column, [row.get(column) for row in rows]) for column in names]
    return fits.BinTableHDU.from_columns(columns, name=name)


def _column(name: str, values: Sequence[Cell]) -> fits.Column:
    present, unit = [value for value in values if value is not None], TABLE_UNITS.get(name)
    if present and all(isinstance(value, bool) for value in present):
        return fits.Column(name, format="L", array=np.array([bool(v) for v in values]))
    if len(present) == len(values) and all(isinstance(value, int) for value in present):
        whole = np.array(values, dtype=np.int64)
        return fits.Column(name, format="K", array=whole, unit=unit)
    if all(isinstance(value, (int, float)) for value in present):
        numbers = [np.nan if value is None else float(value) for value in values]
        return fits.Column(name, format="D", array=np.array(numbers), unit=unit)
    texts = ["" if value is None else str(value) for value in values]
    width = max(1, *(len(text.encode()) for text in texts))
    return fits.Column(name, format=f"{width}A", array=np.array(texts))
