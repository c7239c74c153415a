"""Images in files: read as masked images, written whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from app.errors import ImageFormatError
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage, bits
from app.pixels.noise import estimate_variance
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.stored import forget_infinite, invert_weight
from app.recipes.recipe import ImageRef, PlaneRef
from app.stores.fits_files import PACKED_SUFFIXES, Bounds, format_faults, take_plane
from app.stores.fits_pieces import Piece
from app.stores.image_files import ImageFiles
from app.stores.kept_files import KeptFile, KeptFiles
from app.stores.kernel_files import StoredKernel, find_kernel
from app.stores.mask_planes import remap_bits, remap_codes, remap_good_bad
from app.stores.plane_files import PlaneFiles
from app.stores.plane_windows import PlaneWindows
from app.stores.psf_files import find_psf
from app.stores.remote.addresses import name_of
from app.stores.remote.files import RemoteFiles

Float = NDArray[np.float32]
Mask = NDArray[np.int32]
Light = tuple[Float, Mask]
WHOLE_ROWS_PX: Final = 8192
"""Of rows as short as this all is read at once, which takes less time than a part of each."""


class ImageStore:
    """Reads images by reference and writes products. Relative paths lie below the data folder,
    addresses at ``remote``."""

    def __init__(self, *, data_dir: Path, remote: RemoteFiles | None = None) -> None:
        self._kept = KeptFiles(data_dir, remote)
        self._files = ImageFiles(data_dir, remote)
        self._planes = PlaneFiles(data_dir=data_dir, remote=remote)

    def read(self, ref: ImageRef, bounds: Bounds | None = None) -> MaskedImage:
        """The planes of an image, or of the part ``bounds`` (half-open y0, y1, x0, x1) of it.

        Flux is in the unit ``ref.bunit``. Variance comes from a variance, weight (inverse
        variance) or standard deviation plane, else from the noise of the pixels (with ``bounds``:
        of those pixels); a pixel of weight 0 is BAD and its variance NaN. Mask bits are those of
        MASK_PLANES; pixels that are NaN get NO_DATA (and UNMASKEDNAN where a mask plane does not
        tell of them), stored values from ``ref.saturation`` up SAT.
        Raises ImageFormatError for a file that is missing, damaged, or of another shape,
        RemoteUnavailableError.
        """
        grid = Grid.from_text(ref.grid)
        shape = grid.shape if bounds is None else (bounds[1] - bounds[0], bounds[3] - bounds[2])
        with ExitStack() as files:
            reader: StoredPlanes = _PlaneReader(self._files, shape, bounds, files)
            if bounds is not None and not _is_squeezed(ref):
                reader = PlaneWindows(files=self._planes, bounds=bounds)
            flux, mask = self._read_light(ref, reader)
            variance = read_variance(ref, reader, flux, mask)
        return MaskedImage(
            flux,
            variance,
            mask,
            fwhm_px=None if ref.fwhm_arcsec is None else ref.fwhm_arcsec / grid.pixel_scale_arcsec,
            zero_point_mag=ref.zero_point_mag,
        )

    def read_light(self, ref: ImageRef) -> Light:
        """Flux and mask as by :meth:`read`, for who does not ask for the noise. Raises
        ImageFormatError."""
        with self.open_light(ref) as read:
            return read(0, Grid.from_text(ref.grid).shape[0])

    @contextmanager
    def open_light(self, ref: ImageRef) -> Iterator[Callable[..., Light]]:
        """The same, some rows at a time: what is given reads the rows ``start <= y < stop``, of
        some ``columns`` (first, end) if they are told, the mask 0 with ``masked=False``.

        Files that are compressed as a whole are held as a whole. Raises ImageFormatError, also
        while rows are read.
        """
        ny, nx = Grid.from_text(ref.grid).shape
        with ExitStack() as files:
            reader = _PlaneReader(self._files, (ny, nx), None, files)

            def read(
                start: int, stop: int, *, columns: tuple[int, int] = (0, nx), masked: bool = True
            ) -> Light:
                span = columns if nx > WHOLE_ROWS_PX else (0, nx)
                bounds = start, stop, *span
                part = reader.part(bounds) if bounds != (0, ny, 0, nx) else reader
                if masked:
                    flux, mask = self._light(ref, part)
                else:
                    flux = _scaled(part.read(_image_plane(ref)), ref.flux_scale)
                    mask = np.zeros(flux.shape, dtype=np.int32)
                wanted = np.s_[:, columns[0] - span[0] : columns[1] - span[0]]
                return flux[wanted], mask[wanted]

            if _is_squeezed(ref):
                flux, mask = read(0, ny)

                def cut(
                    start: int, stop: int, *, columns: tuple[int, int] = (0, nx), **_: bool
                ) -> Light:
                    part = np.s_[start:stop, slice(*columns)]
                    return flux[part], mask[part]

                yield cut
            else:
                yield read

    def _light(self, ref: ImageRef, reader: _PlaneReader) -> Light:
        flux, mask = self._read_light(ref, reader)
        if find_plane(ref, "weight") is not None:  # it says which pixels are BAD
            read_variance(ref, reader, flux, mask)
        return flux, mask

    def _read_light(self, ref: ImageRef, reader: StoredPlanes) -> Light:
        stored = reader.read(_image_plane(ref))
        saturated = find_saturated(ref, stored)
        flux = _scaled(stored, ref.flux_scale)
        return flux, read_mask(ref, reader, flux, saturated)

    def read_psf(self, ref: ImageRef) -> CoaddPsf | None:
        """The PSF that the file of the image brings, None when it brings none.

        See :mod:`app.stores.psf_files`. Raises ImageFormatError for one that cannot be read.
        """
        image = find_plane(ref, "image")
        if image is None:
            return None
        with format_faults(name_of(image.path)), self._files.open_fits(image.path) as hdulist:
            return find_psf(hdulist, image.hdu, Grid.from_text(ref.grid).shape)

    def read_kernel(self, ref: ImageRef) -> StoredKernel | None:
        """The matching kernel that the file of a difference keeps, None when it keeps none."""
        path = self._path(ref)
        if path is None:
            return None
        with format_faults(name_of(path)), self._files.open_fits(path) as hdulist:
            return find_kernel(hdulist)

    def read_cards(self, ref: ImageRef, names: Iterable[str]) -> dict[str, float]:
        """Those of the numbers ``names`` that the primary header has."""
        path = self._path(ref)
        if path is None:
            return {}
        with format_faults(name_of(path)), self._files.open_fits(path) as hdulist:
            header = hdulist[0].header
            return {name: float(header[name]) for name in names if name in header}

    @staticmethod
    def _path(ref: ImageRef) -> str | None:
        image = find_plane(ref, "image")
        return None if image is None else image.path

    def write(self, path: str, product: bytes | Iterable[Piece]) -> KeptFile:
        """Write a file that is whole or not there, here or in S3-style storage.

        Raises StorageFullError, RemoteUnavailableError, and then leaves nothing behind.
        """
        return self._kept.write(path, product)


class StoredPlanes(Protocol):
    """Where the stored values of planes come from."""

    def read(self, plane: PlaneRef) -> NDArray[Any]:
        """Stored values (ny, nx) of a plane, free to be changed. Raises ImageFormatError."""


class _PlaneReader:
    """Planes of one image; each file is opened once and closed with ``open_files``."""

    def __init__(
        self,
        files: ImageFiles,
        shape: tuple[int, int],
        bounds: Bounds | None,
        open_files: ExitStack,
    ) -> None:
        self._files = files
        self._shape = shape
        self._bounds = bounds
        self._open_files = open_files
        self._open: dict[str, Any] = {}

    def part(self, bounds: Bounds) -> _PlaneReader:
        """A reader of a part, of the same open files."""
        shape = bounds[1] - bounds[0], bounds[3] - bounds[2]
        other = _PlaneReader(self._files, shape, bounds, self._open_files)
        other._open = self._open
        return other

    def read(self, plane: PlaneRef) -> NDArray[Any]:
        """Stored values (ny, nx) of a plane, free to be changed. Raises ImageFormatError."""
        with format_faults(name_of(plane.path)):
            if plane.path not in self._open:
                opened = self._open_files.enter_context(self._files.open_fits(plane.path))
                self._open[plane.path] = opened
            data = take_plane(self._open[plane.path], plane.hdu, plane.planes, self._bounds)
            if data.shape != self._shape:
                raise ImageFormatError("", f"its {plane.role} plane has the shape {data.shape}")
        return data


def _is_squeezed(ref: ImageRef) -> bool:
    """Whether a file is compressed as a whole, so that it is best read once for all planes."""
    return any(plane.path.endswith(PACKED_SUFFIXES) for plane in ref.planes)


def find_saturated(ref: ImageRef, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Which stored values reach ``ref.saturation``, if that is known."""
    if ref.saturation is None:
        return None
    with np.errstate(invalid="ignore"):
        saturated: NDArray[np.bool_] = stored >= ref.saturation
    return saturated


def read_mask(
    ref: ImageRef, reader: StoredPlanes, flux: Float, saturated: NDArray[np.bool_] | None
) -> Mask:
    """The mask plane's bits (nil without one), with NaN and saturated pixels marked."""
    plane = find_plane(ref, "mask")
    if plane is None:
        mask: Mask = np.zeros(flux.shape, dtype=np.int32)
    else:
        values = reader.read(plane)
        if ref.mask_planes:
            mask = remap_bits(values, ref.mask_planes)
        else:
            mask = remap_codes(values, ref.mask_codes) if ref.mask_codes else remap_good_bad(values)
    absent = np.isnan(flux)
    if absent.any():
        if plane is not None:
            _mark(mask, absent & (mask == 0), "UNMASKEDNAN")
        _mark(mask, absent, "NO_DATA")
    if saturated is not None:
        _mark(mask, saturated, "SAT")
    return mask


def read_variance(ref: ImageRef, reader: StoredPlanes, flux: Float, mask: Mask) -> Float:
    """Variance in flux units squared, of the noise plane or of ``flux`` where ``mask`` is 0; marks
    pixels without weight BAD."""
    scale = np.float32(ref.flux_scale**2)
    if (plane := find_plane(ref, "variance")) is not None:
        return _times(reader.read(plane), scale)
    if (plane := find_plane(ref, "stddev")) is not None:
        return _times(_native(reader.read(plane)) ** 2, scale)
    if (plane := find_plane(ref, "weight")) is not None:
        variance = _native(reader.read(plane))
        if invert_weight(variance, scale):
            _mark(mask, np.isnan(variance), "BAD")
        return variance
    good = (mask == 0) & np.isfinite(flux)
    return estimate_variance(flux, good, gain_e_per_unit=ref.gain_e_per_unit)


def _mark(mask: Mask, where: NDArray[np.bool_], plane: str) -> None:
    """Set a mask plane at some pixels, most often none."""
    if where.any():
        mask[where] |= bits(plane)


def _scaled(stored: NDArray[Any], scale: float) -> Float:
    """Flux as native float32, of what is stored if that is; what is not finite becomes NaN."""
    flux = _times(stored, np.float32(scale))
    forget_infinite(flux)
    return flux


def _times(stored: NDArray[Any], factor: np.float32) -> Float:
    values = _native(stored)
    if factor != 1.0:
        values *= factor
    return values


def _native(stored: NDArray[Any]) -> Float:
    return np.asarray(stored, dtype=np.float32)


def _image_plane(ref: ImageRef) -> PlaneRef:
    image = find_plane(ref, "image")
    if image is None:
        raise ImageFormatError(ref.dataset_id, "it is not a plain image: no plane can be read")
    return image


def find_plane(ref: ImageRef, role: str) -> PlaneRef | None:
    """The first plane of a role, or None."""
    return next((plane for plane in ref.planes if plane.role == role), None)
