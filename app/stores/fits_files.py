"""Opening FITS files that others wrote: whatever is wrong with one becomes an ImageFormatError."""

from __future__ import annotations

import bz2
import gzip
import io
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from app.errors import ImageFormatError, ServiceError
from app.stores.tile_cards import require_sound_tiles

Bounds = tuple[int, int, int, int]
"""Half-open (y0, y1, x0, x1)."""

FITS_SUFFIXES = (".fits", ".fit", ".fts")
FITS_BLOCK = 2880
PACKED_SUFFIXES: Final = (".gz", ".bz2")
"""Of files that are compressed as a whole."""
COMPRESSED_SUFFIXES = ("", *PACKED_SUFFIXES, ".fz")
GZIP: Final = b"\x1f\x8b"
BZIP2: Final = b"BZh"
"""How such files begin."""


def is_fits_name(name: str) -> bool:
    """Whether a file name says FITS, plain or compressed."""
    folded = name.lower()
    return folded.endswith(tuple(s + c for s in FITS_SUFFIXES for c in COMPRESSED_SUFFIXES))


MOST_HEADER_BLOCKS: Final = 2000
"""Of 36 cards each. Compressed, a file of any size can go on without the end of a header."""
_EXTENSION: Final = b"XTENSION"
"""How the header of every HDU but the first begins."""


@contextmanager
def format_faults(name: str) -> Iterator[None]:
    """Whatever reading a file raises becomes an ImageFormatError that names it."""
    try:
        yield
    except ImageFormatError as fault:
        raise ImageFormatError(fault.args[0] or name, fault.args[1]) from fault
    except ServiceError:
        raise
    except Exception as fault:  # a damaged file can raise anything from the depths of astropy
        raise ImageFormatError(name, _reason(fault)) from fault


@contextmanager
def open_fits(file: Path | BinaryIO, name: str = "", **options: Any) -> Iterator[Any]:
    """An astropy HDUList, read without memory maps (a file cut short must not kill the process).

    Other ``options`` are those of ``astropy.io.fits.open``. What has no path has a ``name``.
    Raises ImageFormatError with the file's name, never its folder, for whatever goes wrong inside.
    """
    name = file.name if isinstance(file, Path) else name
    with format_faults(name), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            _unpacked(file) as plain,
            fits.open(plain, memmap=False, lazy_load_hdus=True, **options) as hdulist,
        ):
            yield hdulist


class _Headers(io.BufferedIOBase):
    """What astropy reads block by block are headers, to be kept whole until their end is found."""

    _blocks = 0

    def read(self, size: int | None = -1) -> bytes:
        """Raises ImageFormatError where a header goes on and on: astropy takes an OSError here for
        the end of the file."""
        self._blocks = self._blocks + 1 if size == FITS_BLOCK else 0
        if self._blocks > MOST_HEADER_BLOCKS:
            raise ImageFormatError("", "a header has no end")
        return super().read(size)


class _Gzip(_Headers, gzip.GzipFile):
    pass


class _Bzip2(_Headers, bz2.BZ2File):
    pass


def _unpacked(file: Path | BinaryIO) -> AbstractContextManager[Any]:
    """The file as it was before it was compressed as a whole."""
    with file.open("rb") if isinstance(file, Path) else nullcontext(file) as packed:
        start = packed.read(len(BZIP2))
        packed.seek(0)
    if start.startswith(GZIP):
        return _Gzip(file) if isinstance(file, Path) else _Gzip(fileobj=file)
    return _Bzip2(file) if start == BZIP2 else nullcontext(file)


def read_plane(
    hdulist: Any, hdu: int, planes: tuple[int, ...] = (), bounds: Bounds | None = None
) -> NDArray[Any]:
    """Pixels (ny, nx) of an image HDU: scaled as its header says, ``planes`` indexing the leading
    axes of a cube. With ``bounds`` only that part is read where the file allows it."""
    unit = hdulist[hdu]
    if not unit.is_image:
        raise ImageFormatError("", f"HDU {hdu} is not an image")
    if is_tiled(unit):
        require_readable_tiles(unit)
    if bounds is None:
        data = unit.data
    else:
        y0, y1, x0, x1 = bounds
        data = unit.section[(*planes, slice(y0, y1), slice(x0, x1))]
        planes = ()
    if data is None:
        raise ImageFormatError("", f"HDU {hdu} has no pixels")
    array: NDArray[Any] = np.asarray(data)[planes] if planes else np.asarray(data)
    if array.ndim != 2:
        raise ImageFormatError("", f"HDU {hdu} does not give a two-dimensional plane")
    return array


def take_plane(
    hdulist: Any, hdu: int, planes: tuple[int, ...] = (), bounds: Bounds | None = None
) -> NDArray[Any]:
    """As :func:`read_plane`, in the byte order of the machine and free to be changed: of an HDU
    that is one plane no other copy is kept."""
    data = read_plane(hdulist, hdu, planes, bounds)
    if planes and bounds is None:
        return data.astype(data.dtype.newbyteorder("="))
    if bounds is None:
        del hdulist[hdu].data
    if not data.flags.writeable:
        return data.astype(data.dtype.newbyteorder("="))
    return (
        data
        if data.dtype.isnative
        else data.byteswap(inplace=True).view(data.dtype.newbyteorder("="))
    )


def require_complete(hdulist: Any, hdu: int, size_bytes: int) -> None:
    """Refuse an HDU of an uncompressed file whose data reach beyond the end of the file.

    Padding may be missing. Nothing is known, and nothing refused, of gzip and bzip2 files: their
    reader notices by itself.
    """
    info = hdulist[hdu].fileinfo()
    if info is None or getattr(info["file"], "compression", None):
        return
    unit = hdulist[hdu]
    length = info["datSpan"] - (FITS_BLOCK - 1) if is_tiled(unit) else unit.size
    missing = info["datLoc"] + length - size_bytes
    if missing > 0:
        raise ImageFormatError("", f"truncated: {missing} bytes are missing in HDU {hdu}")


def each_unit(hdulist: Any) -> Iterator[Any]:
    """Every HDU, in order.

    Raises VerifyError at one whose header is corrupt, or tells of less than no data: astropy takes
    it to end, in a compressed file, where others began, and would go through these again and again.
    """
    for number, unit in enumerate(hdulist):
        info = unit.fileinfo() if hasattr(unit, "fileinfo") else {"datSpan": -1}
        if info is not None and info["datSpan"] < 0:
            raise fits.VerifyError(f"the header of HDU {number} is corrupt")
        yield unit


def require_whole_headers(hdulist: Any) -> None:
    """Refuse a file that ends within the header of an HDU, which astropy leaves out in silence.

    Raises ImageFormatError, VerifyError for a corrupt header, and EOFError for compressed data that
    end early.
    """
    *_, last = each_unit(hdulist)
    info = last.fileinfo()
    if info is None:
        return
    info["file"].seek(info["datLoc"] + info["datSpan"])
    if info["file"].read(len(_EXTENSION)) == _EXTENSION:
        raise ImageFormatError("", f"truncated: it ends in the header of HDU {len(hdulist)}")


def require_readable_tiles(unit: Any) -> None:
    """Refuse a tile-compressed image whose pixels cannot be read, by the cards of its table: what
    astropy shows are those of the image. Raises ImageFormatError."""
    info = unit.fileinfo()
    if info is not None:
        info["file"].seek(info["hdrLoc"])
        cards = info["file"].read(info["datLoc"] - info["hdrLoc"])
        require_sound_tiles(fits.Header.fromstring(cards))


def is_tiled(unit: Any) -> bool:
    """Whether an HDU is a tile-compressed image."""
    return isinstance(unit, fits.CompImageHDU)


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (FileNotFoundError, "the file does not exist"),
    (PermissionError, "the file may not be read"),
    (EOFError, "truncated: the compressed data end early"),
    (MemoryError, "its header asks for more memory than there is"),
)
_TEXTS = (
    ("Empty or corrupt", "not a FITS file, or one cut short in its first header"),
    ("No SIMPLE card", "not a FITS file, or one cut short in its first header"),
    ("reshape", "truncated: the pixels end early"),
    ("buffer is smaller", "truncated: the pixels end early"),
    ("object has no attribute 'shape'", "damaged: an HDU whose header cannot be read"),
)


def _reason(fault: Exception) -> str:
    for kind, reason in _REASONS:
        if isinstance(fault, kind):
            return reason
    text = next((line.strip() for line in str(fault).splitlines() if line.strip()), "")
    for part, reason in _TEXTS:
        if part in text:
            return reason
    return f"damaged: {text or type(fault).__name__}"
