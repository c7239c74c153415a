"""Cutouts as FITS files, made while they are sent."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import prod
from typing import Any, Final

from astropy.io import fits

from app import __version__
from app.errors import LimitError
from app.pixels.psf_coadd import CoaddPsf
from app.recipes.recipe import ImageRef
from app.services.cutouts import Cut, Cutout
from app.stores.cutout_headers import CardRow, HeaderTemplate, padding, section_text
from app.stores.distortion_tables import distortion_hdus
from app.stores.fits_files import FITS_BLOCK
from app.stores.image_files import Identity
from app.stores.images import ImageStore
from app.stores.plane_files import PlaneFiles, StoredUnit
from app.stores.psf_files import psf_hdus
from app.workers.inputs import stored_psf

REMEMBERED: Final = 1024
PSFS_REMEMBERED: Final = 64
MOST_COMPRESSED: Final = 2**26
"""Pixels of a plane that is compressed: it is held as a whole."""
QUANTIZE_LEVEL: Final = 16
"""Real numbers are kept to this part of the noise, as fpack does."""
DITHER_SEED: Final = 1
"""The same cutout has the same bytes."""


class CutoutWriter:
    """Writes cutouts as FITS."""

    def __init__(self, *, files: PlaneFiles, images: ImageStore) -> None:
        self._files = files
        self._images = images
        self._psfs = lru_cache(maxsize=PSFS_REMEMBERED)(self._read_psf)

    def write(self, cutout: Cutout) -> Iterator[bytes]:
        """The file, piece by piece.

        The planes stand in the order of the image's file, each with its own header; where the image
        lies in a primary HDU it does so here, unless it is compressed. The PSF follows, if the file
        brings one. Raises ImageFormatError, LimitError for too many pixels to be compressed.
        """
        first, compress = cutout.cuts[0], cutout.request.compress
        others = cutout.cuts
        if first.plane.hdu == 0 and not compress:
            yield from self._image(first, provenance(cutout), is_primary=True)
            others = others[1:]
        else:
            unit = self._files.find(first.plane.path, 0)
            yield _template(unit).primary(provenance(cutout))
        write = self._compressed if compress else self._image
        for cut in others:
            yield from write(cut)
        psf = self._psf_of(cutout) if cutout.with_psf else None
        tables = distortion_hdus(self._files, cutout.image, cutout.bounds)
        if tables or psf is not None:
            yield _extensions([*tables, *([] if psf is None else psf_hdus(psf))])

    def _image(
        self, cut: Cut, cards: Sequence[CardRow] = (), *, is_primary: bool = False
    ) -> Iterator[bytes]:
        template = _template(cut.unit)
        section: CardRow = ("SODASEC", section_text(cut.window), "part of the image, in its pixels")
        named = template.name or is_primary
        name: tuple[CardRow, ...] = () if named else (("EXTNAME", cut.plane.role.upper(), ""),)
        yield template.image(cut.window, (*name, *cards, section), is_primary=is_primary)
        yield from self._files.read(cut.unit, cut.window)
        yield padding(size_bytes(cut))

    def _compressed(self, cut: Cut) -> Iterator[bytes]:
        pixels = prod(stop - start for start, stop in cut.window)
        if pixels > MOST_COMPRESSED:
            raise LimitError("pixels of a plane with COMPRESS=rice", pixels, MOST_COMPRESSED)
        plain = fits.PrimaryHDU().header.tostring().encode() + b"".join(self._image(cut))
        with fits.open(io.BytesIO(plain), memmap=False) as found:
            wide = found[1].header["BITPIX"] == 64
            coded = fits.CompImageHDU(
                found[1].data,
                header=found[1].header,
                compression_type="GZIP_2" if wide else "RICE_1",
                quantize_level=QUANTIZE_LEVEL,
                quantize_method=1,
                dither_seed=DITHER_SEED,
            )
            yield _extensions([coded])

    def _psf_of(self, cutout: Cutout) -> CoaddPsf | None:
        """That of the cutout's pixels."""
        psf = self._psfs(cutout.ref, cutout.cuts[0].unit.identity)
        y0, y1, x0, x1 = cutout.bounds
        return None if psf is None else psf.cut((y0, y1, x0, x1))

    def _read_psf(self, ref: ImageRef, _identity: Identity) -> CoaddPsf | None:
        return stored_psf(self._images, ref)


@lru_cache(maxsize=REMEMBERED)
def _template(unit: StoredUnit) -> HeaderTemplate:
    return HeaderTemplate.of(unit.header)


def size_bytes(cut: Cut) -> int:
    """Of its pixels."""
    return cut.unit.dtype.itemsize * prod(stop - start for start, stop in cut.window)


def provenance(cutout: Cutout) -> tuple[CardRow, ...]:
    """Cards that tell what a cutout is a part of, and how it was asked for."""
    request = cutout.request
    place = "" if request.place is None else " ".join(request.place.asked.split())
    told = (
        ("OBSPUBID", cutout.row.dataset_id, "the image this is a part of"),
        ("SODAPOS", place, "the part asked for"),
        ("SODABAND", _interval(request.band), "[m]"),
        ("SODATIME", _interval(request.time), "MJD (UTC)"),
        ("SODAPOL", " ".join(request.pol), ""),
        ("SODASERV", f"Skyloom {__version__}", "what cut it"),
    )
    return tuple(row for row in told if row[1])


def _interval(given: tuple[float, float] | None) -> str:
    return "" if given is None else f"{given[0]!r} {given[1]!r}"


def _extensions(units: Sequence[Any]) -> bytes:
    """HDUs as they stand behind others."""
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *units]).writeto(buffer)
    return buffer.getvalue()[FITS_BLOCK:]
