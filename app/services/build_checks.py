"""What tells whether a difference went well: numbers, noise, kernel, PSF and residuals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.errors import CoverageError, NotFoundError
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage, bits, lattice
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.statistics import robust_sigma
from app.recipes.recipe import ImageRef
from app.schema.rows import DatasetRow
from app.services.builds_rows import is_built_difference
from app.stores.images import ImageStore
from app.stores.kernel_files import StoredKernel
from app.workers.product import QUALITY_COMMENTS

Floats = NDArray[np.float64]

MOST_PULL: Final = 6.0
BINS: Final = 48
PLACES: Final = 6
"""Along an axis, where the PSF's shape is told."""
KERNELS: Final = 3
"""Along an axis, where the kernel is shown."""
MOST_STARS: Final = 24
HALF_PX: Final = 15
HIDDEN: Final = bits("NO_DATA", "DETECTED", "DETECTED_NEGATIVE")


@dataclass(frozen=True, slots=True)
class PsfPlace:
    """Ellipticity and width (px) of the PSF at a pixel."""

    x: float
    y: float
    e1: float
    e2: float
    fwhm_px: float


@dataclass(frozen=True, slots=True)
class BuildChecks:
    """What a page can show of a difference of ``shape``.

    ``numbers``: (keyword, value, meaning). ``pulls``: counts of IMAGE / error of pixels that show
    no source, in BINS from -MOST_PULL to MOST_PULL, and ``pull_sigma`` their robust scatter.
    """

    shape: tuple[int, int]
    numbers: tuple[tuple[str, float, str], ...]
    pulls: NDArray[np.int64]
    pull_sigma: float
    kernel: StoredKernel | None
    psf: tuple[PsfPlace, ...]


def check_difference(images: ImageStore, row: DatasetRow) -> BuildChecks:
    """Of a difference that was built here. Raises NotFoundError for any other image,
    ImageFormatError when its file cannot be read."""
    ref = _ref_of(row)
    image, numbers = images.read(ref), images.read_cards(ref, QUALITY_COMMENTS)
    pulls = _pulls(lattice(image))
    return BuildChecks(
        shape=image.shape,
        numbers=tuple((name, value, QUALITY_COMMENTS[name]) for name, value in numbers.items()),
        pulls=np.histogram(pulls, bins=BINS, range=(-MOST_PULL, MOST_PULL))[0],
        pull_sigma=robust_sigma(pulls) if pulls.size else float("nan"),
        kernel=images.read_kernel(ref),
        psf=_psf_places(images.read_psf(ref), image.shape),
    )


def kernels_over(images: ImageStore, row: DatasetRow) -> list[Floats]:
    """The matching kernel at KERNELS x KERNELS places, the lower left of the image first; none
    where the file keeps no kernel. Raises what :func:`check_difference` raises."""
    ref = _ref_of(row)
    kernel = images.read_kernel(ref)
    if kernel is None:
        return []
    ny, nx = Grid.from_text(ref.grid).shape
    share = (np.arange(KERNELS) + 0.5) / KERNELS
    y, x = np.meshgrid(share * ny, share * nx, indexing="ij")
    return list(kernel.at(x.ravel(), y.ravel()))


def star_residuals(images: ImageStore, row: DatasetRow) -> list[Floats]:
    """IMAGE / error around the brightest stamps of the fit, NaN where not usable.

    Stamps were chosen by brightness, so the first ones are the brightest. Raises what
    :func:`check_difference` raises.
    """
    ref = _ref_of(row)
    kernel = images.read_kernel(ref)
    if kernel is None:
        return []
    image = images.read(ref)
    usable, (ny, nx) = image.usable(), image.shape
    found: list[Floats] = []
    for x, y in zip(kernel.x[kernel.used], kernel.y[kernel.used], strict=True):
        column, line = round(float(x)), round(float(y))
        if min(column, line, nx - 1 - column, ny - 1 - line) < HALF_PX:
            continue
        box = np.s_[line - HALF_PX : line + HALF_PX + 1, column - HALF_PX : column + HALF_PX + 1]
        star, good = np.full((2 * HALF_PX + 1,) * 2, np.nan), usable[box]
        star[good] = image.flux[box][good] / np.sqrt(image.variance[box][good])
        found.append(star)
        if len(found) == MOST_STARS:
            break
    return found


def _ref_of(row: DatasetRow) -> ImageRef:
    if row.is_buildable:
        raise NotFoundError(f"Checks of {row.dataset_id} (it is not built yet)")
    if not is_built_difference(row):
        raise NotFoundError(f"Checks of {row.dataset_id}: it is no difference, so there are none")
    return ImageRef.from_text(row.image_ref)


def _pulls(image: MaskedImage) -> NDArray[np.float32]:
    good = image.usable() & ((image.mask & HIDDEN) == 0)
    pulls: NDArray[np.float32] = image.flux[good] / np.sqrt(image.variance[good])
    return pulls


def _psf_places(psf: CoaddPsf | None, shape: tuple[int, int]) -> tuple[PsfPlace, ...]:
    if psf is None:
        return ()
    ny, nx = shape
    share = (np.arange(PLACES) + 0.5) / PLACES
    found = []
    for x, y in ((x * nx - 0.5, y * ny - 0.5) for y in share.tolist() for x in share.tolist()):
        try:
            at = psf.profile(x, y).shape()
        except CoverageError:
            continue
        found.append(PsfPlace(x, y, *at.ellipticity, at.fwhm_px))
    return tuple(found)
