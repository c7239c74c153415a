"""PSFs in FITS files: Skyloom's own tables, PSFEx's, and plain stamps.

Skyloom's layout (``docs/psf.md`` has it with a recipe): PSF, a binary table with one row for each
input of the image, and PSF_BASIS, a cube of stamps. A row's PSF at a place is a sum of the stamps
whose coefficients are polynomials of the place; the image's is the sum over the rows whose polygon
holds the place, by weight.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Final

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from app.errors import ImageFormatError
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.psf_field import PsfField
from app.pixels.psf_pack import PackedPsf, pack_psf, unpack_psf

TABLE: Final = "PSF"
BASIS: Final = "PSF_BASIS"
STAMP_NAMES: Final = ("PSF", "PSFIMAGE")
PSFEX_COLUMN: Final = "PSF_MASK"
PSFEX_AXES: Final = (("X_IMAGE", "XWIN_IMAGE"), ("Y_IMAGE", "YWIN_IMAGE"))
MOST_TERMS: Final = 66
"""A polynomial of degree 10."""


def psf_hdus(psf: CoaddPsf) -> list[Any]:
    """The two HDUs PSF and PSF_BASIS of an image's PSF."""
    packed = pack_psf(psf)
    count, terms, stamps = packed.coefficients.shape
    corners = packed.regions.shape[1]
    width = max(1, *(len(name.encode()) for name in packed.names))
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("INPUT", f"{width}A", array=np.array(packed.names)),
            fits.Column("WEIGHT", "D", array=packed.weights),
            fits.Column("STARS", "K", array=packed.stars),
            fits.Column("ZERO", "2D", unit="pix", array=packed.zero),
            fits.Column("SCALE", "2D", unit="pix", array=packed.scale),
            fits.Column(
                "POLYGON",
                f"{2 * corners}D",
                unit="pix",
                dim=f"(2,{corners})",
                array=packed.regions,
            ),
            fits.Column(
                "COEFFS",
                f"{terms * stamps}E",
                dim=f"({stamps},{terms})",
                array=packed.coefficients.reshape(count, terms, stamps),
            ),
        ],
        name=TABLE,
    )
    ny, nx = packed.shape
    table.header["PSFDEG"] = (packed.degree, "degree of the polynomials in x and y")
    table.header["PSFSAMP"] = (packed.sampling, "[pix] step between samples of the stamps")
    table.header["PSFNX"] = (nx, "[pix] width of the image")
    table.header["PSFNY"] = (ny, "[pix] height of the image")
    return [table, fits.ImageHDU(packed.basis.astype(">f4"), name=BASIS)]


def psf_to_bytes(psf: CoaddPsf) -> bytes:
    """The packed PSF's arrays one after the other in numpy's format: a warp keeps them. The length
    is a multiple of 4."""
    packed, buffer = pack_psf(psf), io.BytesIO()
    for each in fields(PackedPsf):
        np.save(buffer, np.asarray(getattr(packed, each.name)), allow_pickle=False)
    return buffer.getvalue()


def psf_from_bytes(content: bytes) -> CoaddPsf:
    """Undo :func:`psf_to_bytes`."""
    buffer = io.BytesIO(content)
    told = {each.name: np.load(buffer, allow_pickle=False) for each in fields(PackedPsf)}
    plain = {name: told[name].tolist() for name in ("names", "degree", "sampling", "shape")}
    plain = {name: tuple(v) if isinstance(v, list) else v for name, v in plain.items()}
    return unpack_psf(PackedPsf(**(told | plain)))


def find_psf(hdulist: Any, hdu: int, shape: tuple[int, int]) -> CoaddPsf | None:
    """The PSF that a file brings for the image of ``shape`` (ny, nx) in HDU number ``hdu``.

    None when it brings none, or several that cannot be told apart: one that has the image's EXTVER
    is its own. Raises ImageFormatError for one that is damaged or of an unknown form.
    """
    units = [unit for unit in hdulist if _is_psf(unit)]
    if len(units) > 1:
        units = [unit for unit in units if unit.ver == hdulist[hdu].ver]
    if len(units) != 1:
        return None
    unit = units[0]
    if isinstance(unit, fits.BinTableHDU):
        if PSFEX_COLUMN in unit.columns.names:
            return CoaddPsf.of_one(_psfex_field(unit), shape)
        return unpack_psf(_packed(unit, hdulist[BASIS, unit.ver]))
    return CoaddPsf.of_one(_constant(np.asarray(unit.data, dtype=np.float64)), shape)


def _is_psf(unit: Any) -> bool:
    if isinstance(unit, fits.BinTableHDU) and not isinstance(unit, fits.CompImageHDU):
        names = unit.columns.names
        return PSFEX_COLUMN in names or (unit.name == TABLE and "COEFFS" in names)
    return unit.name in STAMP_NAMES and unit.is_image and len(unit.shape) == 2


def _packed(table: Any, basis: Any) -> PackedPsf:
    rows, header = table.data, table.header
    return PackedPsf(
        basis=_finite(np.asarray(basis.data, dtype=np.float32)),
        coefficients=_finite(np.asarray(rows["COEFFS"], dtype=np.float32)),
        zero=np.asarray(rows["ZERO"], dtype=np.float64),
        scale=np.asarray(rows["SCALE"], dtype=np.float64),
        regions=np.asarray(rows["POLYGON"], dtype=np.float64),
        weights=np.asarray(rows["WEIGHT"], dtype=np.float64),
        stars=np.asarray(rows["STARS"], dtype=np.int64),
        names=tuple(str(name) for name in rows["INPUT"]),
        degree=int(header["PSFDEG"]),
        sampling=float(header["PSFSAMP"]),
        shape=(int(header["PSFNY"]), int(header["PSFNX"])),
    )


def _psfex_field(unit: Any) -> PsfField:
    """PSFEx's table (its manual, "The PSF file"): positions are FITS pixels, from 1."""
    header = unit.header
    axes = list(_psfex_axes(header))
    stamps = _finite(np.asarray(unit.data[PSFEX_COLUMN][0], dtype=np.float64))
    degree = int(header.get("POLDEG1", 0)) if axes else 0
    terms = (degree + 1) * (degree + 2) // 2
    if stamps.ndim == 2:
        stamps = stamps[None]
    if stamps.ndim != 3 or len(stamps) != terms or terms > MOST_TERMS:
        raise ImageFormatError("", f"{PSFEX_COLUMN} is not a polynomial of degree {degree} in x, y")
    (zero_x, scale_x), (zero_y, scale_y) = axes or [(0.0, 1.0), (0.0, 1.0)]
    return PsfField(
        _centred(stamps),
        degree,
        (zero_x - 1.0, zero_y - 1.0),
        (scale_x, scale_y),
        float(header.get("PSF_SAMP", 1.0)),
        int(header.get("ACCEPTED", 0)),
    )


def _psfex_axes(header: Any) -> Iterator[tuple[float, float]]:
    """Zero and scale of x and y; nothing for a constant PSF."""
    count = int(header.get("POLNAXIS", 0))
    if count == 0 or int(header.get("POLDEG1", 0)) == 0:
        return
    names = [str(header.get(f"POLNAME{n}", "")).strip() for n in range(1, count + 1)]
    if count != 2 or any(name not in known for name, known in zip(names, PSFEX_AXES, strict=True)):
        raise ImageFormatError("", f"a PSF that depends on {', '.join(names)}, not on x and y")
    for n in (1, 2):
        yield float(header[f"POLZERO{n}"]), float(header[f"POLSCAL{n}"])


def _constant(stamp: NDArray[np.float64]) -> PsfField:
    return PsfField(_centred(_finite(stamp)[None]), 0, (0.0, 0.0), (1.0, 1.0))


def _centred(stamps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Square stamps with the star's centre in the middle, as odd sizes have it."""
    ny, nx = stamps.shape[1:]
    if not (ny % 2 and nx % 2):
        raise ImageFormatError("", f"PSF stamps of {nx} x {ny} pixels have no middle pixel")
    if not stamps[0].sum() > 0:
        raise ImageFormatError("", "a PSF without flux")
    half = max(ny, nx) // 2
    edges = ((0, 0), (half - ny // 2,) * 2, (half - nx // 2,) * 2)
    return np.pad(stamps, edges)


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    if not np.isfinite(values).all():
        raise ImageFormatError("", "a PSF that is not finite")
    return values
