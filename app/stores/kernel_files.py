"""The matching kernel of a difference in its FITS file, with the stars that it was fitted to.

KERNEL is a cube (terms, size, size) of what each term of a polynomial in the position multiplies,
KERNEL_STARS a table of the stamps. ``docs/kernel.md`` has the layout with a recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits

from app.pixels.matching import Match


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
    places = np.array([*match.used, *match.rejected], dtype=np.float64).reshape(-1, 2)
    used = np.arange(len(places)) < len(match.used)
    x, y = (places - kept.border_px).T
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("X", "D", unit="pix", array=x),
            fits.Column("Y", "D", unit="pix", array=y),
            fits.Column("USED", "L", array=used),
        ],
        name="KERNEL_STARS",
    )
    return [cube, table]
