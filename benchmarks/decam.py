"""Differences of real DECam images: five i exposures of 2018 minus a template of five of 2016.

usage: python benchmarks/decam.py DIRECTORY

DIRECTORY holds DEC-OBS04a-e (2018) and DEC-OBS18a-e (2016) on one grid and published/. The images
come without a variance plane: it is the robust sky variance plus the photon noise of what stands
above the sky (GAIN). Prints for each exposure the seeing, the photometric scale to the template,
the kernel sum, the stamps, the pixel scatter outside sources (robust and plain standard deviation,
with all pixels but those masked) and the significance of the source at RA 318.10824
Dec -66.01572; then the same for the weighted mean of the differences and the difference of the
2018 stack, and their correlation with the published difference. Exits with 1 when the source is
below 5 sigma, of the wrong sign, or a scatter is outside 1 +- 0.1.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from astropy.io import fits

from app.pixels.background import source_free
from app.pixels.coadd import coadd
from app.pixels.detect import map_scatter, measure_at, significance
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage, bits
from app.pixels.matching import match
from app.pixels.psf import measure_fwhm_px
from app.pixels.scaling import photometric_scale, rescaled
from app.pixels.statistics import clipped_mean, robust_sigma
from app.pixels.subtract import Difference, subtract

SOURCE_DEG = (318.10824, -66.01572)


def read(path: Path) -> MaskedImage:
    """One exposure with an estimated variance plane and its measured seeing."""
    with fits.open(path) as hdus:
        flux = np.asarray(hdus[0].data, dtype=np.float32)
        gain, limit = float(hdus[0].header["GAIN"]), float(hdus[0].header["SATURATE"])
    sky = clipped_mean(flux[flux != 0])
    variance = robust_sigma(flux[np.abs(flux - sky.mean) < 4 * sky.sigma]) ** 2 * np.ones_like(flux)
    variance += np.maximum(flux - sky.mean, 0) / gain
    mask = np.where(flux == 0, bits("NO_DATA"), 0) | np.where(flux > 0.9 * limit, bits("SAT"), 0)
    image = MaskedImage(flux, variance.astype(np.float32), mask.astype(np.int32))
    return MaskedImage(image.flux, image.variance, image.mask, fwhm_px=measure_fwhm_px(image))


def blank_scatter(image: MaskedImage, template: MaskedImage) -> tuple[float, float, int]:
    """Robust and plain standard deviation of flux / sqrt(variance) outside sources."""
    free = source_free(template) & source_free(image, threshold=4.0) & image.usable()
    pulls = image.flux[free] / np.sqrt(image.variance[free])
    return robust_sigma(pulls), float(pulls.std()), int(free.sum())


def report(name: str, image: MaskedImage, template: MaskedImage, x: float, y: float) -> bool:
    """Print one line; True when it meets what is required of a single difference's noise."""
    fwhm_px = image.fwhm_px or 4.5
    robust, plain, pixels = blank_scatter(image, template)
    flux, error = measure_at(image, x, y, fwhm_px)
    scatter = map_scatter(significance(image, fwhm_px, calibrate=False))
    print(
        f"{name:12s} blank {robust:.3f} (robust) {plain:.3f} (std, {pixels} px)  "
        f"filtered scatter {scatter:.3f}  source {flux:8.1f} +- {error:6.1f} = {flux / error:5.1f}"
    )
    return abs(plain - 1.0) <= 0.1


def stack(images: list[MaskedImage]) -> MaskedImage:
    """Clipped mean of the images scaled to the first."""
    scales = [photometric_scale(image, images[0]) for image in images]
    for scale in scales:
        print(f"   scale {scale.value:.4f} +- {scale.error:.4f}  ({scale.stars} stars)")
    done = coadd([rescaled(i, s.value, None) for i, s in zip(images, scales, strict=True)])
    print(f"   clipped {' '.join(f'{f:.4f}' for f in done.clipped_fraction)}")
    return done.image


def main() -> int:
    """Run the differences of one directory and print the table."""
    root = Path(sys.argv[1])
    new = [read(path) for path in sorted(root.glob("DEC-OBS04*.fits"))]
    old = [read(path) for path in sorted(root.glob("DEC-OBS18*.fits"))]
    print("seeing 2018", [f"{image.fwhm_px:.2f}" for image in new if image.fwhm_px])
    print("seeing 2016", [f"{image.fwhm_px:.2f}" for image in old if image.fwhm_px])
    with fits.open(root / "DEC-OBS04a.mini.fits") as hdus:
        grid = Grid.from_header(hdus[0].header, hdus[0].data.shape)
    x, y = (float(v) for v in grid.sky_to_pixel(*SOURCE_DEG))
    print(f"source at pixel ({x:.2f}, {y:.2f}), 0-based")
    template = stack(old)
    good = True
    differences: list[Difference] = []
    for index, science in enumerate(new):
        found = match(science, template)
        difference = subtract(science, template, found)
        q = difference.quality
        print(
            f"2018 {'abcde'[index]}: {found.convolved} convolved, kernel sum {q.kernel_sum:.4f}, "
            f"stamps {q.stamps_used} + {q.stamps_rejected} rejected, stamp chi {q.stamp_chi:.2f}, "
            f"variance factor {q.variance_factor:.3f}, bright chi {q.bright_chi:.2f}"
        )
        good &= report("  difference", difference.image, difference.matched_template, x, y)
        differences.append(difference)
    science = stack(new)
    found = match(science, template)
    last = subtract(science, template, found)
    print(found.convolved, last.quality)
    report("stack", last.image, last.matched_template, x, y)
    flux, error = measure_at(last.image, x, y, last.image.fwhm_px or 4.5)
    with fits.open(root / "published" / "FinalDifference.fits") as hdus:
        published = np.asarray(hdus[0].data, dtype=np.float64)
    both = np.isfinite(last.image.flux) & ((last.image.mask & bits("EDGE")) == 0)
    pair = np.corrcoef(published[both], last.image.flux[both])
    print(
        f"published at the source {published[round(y), round(x)]:.1f}; correlation {pair[0, 1]:.3f}"
    )
    good &= flux / error >= 5.0 and np.sign(flux) == np.sign(published[round(y), round(x)])
    print("PASS" if good else "FAIL")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
