"""What tells whether a difference went well: numbers, noise, kernel, PSF and residuals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.errors import CoverageError, NotFoundError
from app.pixels.image import MaskedImage, bits, lattice
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.statistics import robust_sigma
from app.recipes.recipe import ImageRef
from app.schema.rows import DatasetRow
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
    ``kernels`` (9, size, size) from the image's lower left to its upper right; ``stars`` (size,
    size) are IMAGE / error around the brightest stamps of the fit, NaN where not usable.
    """

    shape: tuple[int, int]
    numbers: tuple[tuple[str, float, str], ...]
    pulls: NDArray[np.int64]
    pull_sigma: float
    kernel: StoredKernel | None
    kernels: Floats | None
    stars: tuple[Floats, ...]
    psf: tuple[PsfPlace, ...]


def has_checks(row: DatasetRow) -> bool:
    """Whether an image is a difference that was built here."""
    kind = str(row.columns.get("dataproduct_subtype"))
    return row.recipe_key is not None and kind.endswith("difference_image")


def check_difference(images: ImageStore, row: DatasetRow) -> BuildChecks:
    """Of a difference that was built here. Raises NotFoundError for any other image,
    ImageFormatError when its file cannot be read."""
    if not has_checks(row):
        raise NotFoundError(f"Checks of {row.dataset_id}: it is no difference, so there are none")
    ref = ImageRef.from_text(row.image_ref)
    image, kernel = images.read(ref), images.read_kernel(ref)
    numbers = images.read_cards(ref, QUALITY_COMMENTS)
    pulls = _pulls(lattice(image))
    return BuildChecks(
        shape=image.shape,
        numbers=tuple((name, value, QUALITY_COMMENTS[name]) for name, value in numbers.items()),
        pulls=np.histogram(pulls, bins=BINS, range=(-MOST_PULL, MOST_PULL))[0],
        pull_sigma=robust_sigma(pulls) if pulls.size else float("nan"),
        kernel=kernel,
        kernels=None if kernel is None else _kernels(kernel, image.shape),
        stars=() if kernel is None else _stars(kernel, image),
        psf=_psf_places(images.read_psf(ref), image.shape),
    )


def _pulls(image: MaskedImage) -> NDArray[np.float32]:
    good = image.usable() & ((image.mask & HIDDEN) == 0)
    pulls: NDArray[np.float32] = image.flux[good] / np.sqrt(image.variance[good])
    return pulls


def _kernels(kernel: StoredKernel, shape: tuple[int, int]) -> Floats:
    ny, nx = shape
    share = (np.arange(KERNELS) + 0.5) / KERNELS
    y, x = np.meshgrid(share * ny, share * nx, indexing="ij")
    return kernel.at(x.ravel(), y.ravel())


def _stars(kernel: StoredKernel, image: MaskedImage) -> tuple[Floats, ...]:
    """Stamps were chosen by brightness, so the first ones are the brightest."""
    ny, nx = image.shape
    usable = image.usable()
    found: list[Floats] = []
    for x, y in zip(kernel.x[kernel.used], kernel.y[kernel.used], strict=True):
        column, row = round(float(x)), round(float(y))
        if min(column, row, nx - 1 - column, ny - 1 - row) >= HALF_PX:
            box = np.s_[row - HALF_PX : row + HALF_PX + 1, column - HALF_PX : column + HALF_PX + 1]
            star = np.full((2 * HALF_PX + 1,) * 2, np.nan)
            good = usable[box]
            star[good] = image.flux[box][good] / np.sqrt(image.variance[box][good])
            found.append(star)
        if len(found) == MOST_STARS:
            break
    return tuple(found)


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
