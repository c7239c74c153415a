"""Alerts of Rubin Observatory: cut-outs of science image, template and difference with variances
and PSFs, subtracted by us from the first two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from app.pixels.image import MaskedImage, bits
from app.pixels.proper import subtract_properly
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.psf_field import PsfField
from tests.machine import SHARED

FOLDER = SHARED / "realdata" / "rubin_alerts"
HALF_PX = 6
MIDDLE = 15
"""Pixel of the alert, in cut-outs of 30 pixels."""


@dataclass(frozen=True, slots=True)
class Alert:
    """PSF flux (nJy) and its error on the published difference and on ours."""

    name: str
    published: tuple[float, float]
    ours: tuple[float, float]

    @property
    def pull(self) -> float:
        """How far they differ, in units of both errors together."""
        return (self.ours[0] - self.published[0]) / float(np.hypot(self.ours[1], self.published[1]))


def alerts() -> Iterator[Alert]:
    """All triplets, measured."""
    for path in sorted(FOLDER.glob("*_diff.fits")):
        name = path.name.removesuffix("_diff.fits")
        published, own_psf = _read(path)
        science, template = (_read(FOLDER / f"{name}_{kind}.fits") for kind in ("scie", "temp"))
        done = subtract_properly(
            science[0],
            template[0],
            science[1],
            template[1],
            background_order=None,  # the cut-outs are free of it, and too small to tell
            rescale_variance=False,
            known_scale=1.0,  # both are in nJy
        )
        yield Alert(name, _psf_flux(published, own_psf), _psf_flux(done.image, done.psf))


def _read(path: Path) -> tuple[MaskedImage, CoaddPsf]:
    with fits.open(path) as hdus:
        flux = hdus[0].data.astype(np.float32)
        variance = hdus["UNCERT"].data.astype(np.float32)
        stamp = hdus["PSFIMAGE"].data.astype(np.float64)
    field = PsfField((stamp / stamp.sum())[None], 0, (0.0, 0.0), (1.0, 1.0))
    image = MaskedImage(flux, variance, np.zeros(flux.shape, dtype=np.int32))
    return image, CoaddPsf.of_one(field, image.shape)


def _psf_flux(image: MaskedImage, psf: CoaddPsf) -> tuple[float, float]:
    """At the middle, with equal weights, over pixels that have data."""
    stamp = psf.profile(MIDDLE, MIDDLE).stamp()
    middle = stamp.shape[0] // 2
    reach = slice(middle - HALF_PX, middle + HALF_PX + 1)
    box = slice(MIDDLE - HALF_PX, MIDDLE + HALF_PX + 1)
    # Of a cut-out this small every pixel is near an edge.
    good = image.usable(bits("NO_DATA"))[box, box]
    profile = stamp[reach, reach][good]
    power = float((profile**2).sum())
    flux = float((profile * image.flux[box, box][good]).sum()) / power
    noise = float((profile**2 * image.variance[box, box][good]).sum()) ** 0.5 / power
    return flux, noise
