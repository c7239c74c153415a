"""The matching kernel of a difference in its FITS file, with the stars that it was fitted to.

KERNEL is a cube (terms, size, size) of what each term of a polynomial in the position multiplies,
KERNEL_STARS a table of the stamps. ``docs/kernel.md`` has the layout with a recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from app.pixels.kernels import polynomial_terms
from app.pixels.matching import Match

Floats = NDArray[np.float64]
DISAGREES = "does not agree with the others"


@dataclass(frozen=True, slots=True)
class KeptKernel:
    """A match of images that reach ``border_px`` further, on each side, than the difference."""

    match: Match
    border_px: int


def kernel_hdus(kept: KeptKernel) -> list[Any]:
    """The two HDUs of a matching kernel."""
    match, kernel = kept.match, kept.match.kernel
    stamps = np.einsum("nt,nyx->tyx", kernel.weights, kernel.elements)
    cube = fits.ImageHDU(stamps.astype(">f4"), name="KERNEL")
    ny, nx = kernel.shape
    cube.header["KERNORD"] = (kernel.order, "order of the polynomials in x and y")
    cube.header["KERNNX"] = (nx, "[pix] width of the images that were matched")
    cube.header["KERNNY"] = (ny, "[pix] height of the images that were matched")
    cube.header["KERNX0"] = (kept.border_px, "[pix] where the first pixel of IMAGE lies there")
    cube.header["KERNY0"] = (kept.border_px, "[pix] the same along y")
    cube.header["CONVOLVD"] = (match.convolved, "image that the kernel is for")
    cube.header["BKGORD"] = (match.background_order, "order of the differential background")
    for number, value in enumerate(match.background):
        cube.header[f"BKG{number}"] = (float(value), "coefficient of the background")
    return [cube, _stars_hdu(match, kept.border_px)]


def _stars_hdu(match: Match, border_px: int) -> Any:
    """KERNEL_STARS: stamps that were used, that did not agree, and candidates that were not fit."""
    rows = [(x, y, "") for x, y in match.used]
    rows += [(x, y, DISAGREES) for x, y in match.rejected]
    rows += [(each.x, each.y, each.reason) for each in match.unfit]
    places = np.array([row[:2] for row in rows], dtype=np.float64).reshape(-1, 2) - border_px
    reasons = np.array([row[2] for row in rows])
    width = max(1, *(len(reason) for reason in reasons.tolist()))
    return fits.BinTableHDU.from_columns(
        [
            fits.Column("X", "D", unit="pix", array=places[:, 0]),
            fits.Column("Y", "D", unit="pix", array=places[:, 1]),
            fits.Column("USED", "L", array=reasons == ""),
            fits.Column("REASON", f"{width}A", array=reasons),
        ],
        name="KERNEL_STARS",
    )


@dataclass(frozen=True, slots=True)
class StoredKernel:
    """What a file tells of its matching kernel.

    ``stamps`` (terms, size, size) are what the terms of polynomials of ``order`` over images of
    ``shape`` multiply; the difference's first pixel lies ``border_px`` (x, y) from their corner.
    ``x``, ``y``: pixels of the difference where stamps were; ``used`` tells which agreed.
    """

    stamps: Floats
    order: int
    shape: tuple[int, int]
    border_px: tuple[int, int]
    x: Floats
    y: Floats
    used: NDArray[np.bool_]

    def at(self, x: Floats, y: Floats) -> Floats:
        """The kernels (P, size, size) at P pixel positions of the difference."""
        place = (x + self.border_px[0], y + self.border_px[1])
        here: Floats = np.einsum(
            "tp,tyx->pyx", polynomial_terms(self.order, *place, self.shape), self.stamps
        )
        return here


def find_kernel(hdulist: Any) -> StoredKernel | None:
    """The kernel that :func:`kernel_hdus` wrote; None when the file has none."""
    if "KERNEL" not in hdulist or "KERNEL_STARS" not in hdulist:
        return None
    header, stars = hdulist["KERNEL"].header, hdulist["KERNEL_STARS"].data
    return StoredKernel(
        stamps=np.asarray(hdulist["KERNEL"].data, dtype=np.float64),
        order=int(header["KERNORD"]),
        shape=(int(header["KERNNY"]), int(header["KERNNX"])),
        border_px=(int(header["KERNX0"]), int(header["KERNY0"])),
        x=np.asarray(stars["X"], dtype=np.float64),
        y=np.asarray(stars["Y"], dtype=np.float64),
        used=np.asarray(stars["USED"], dtype=np.bool_),
    )
