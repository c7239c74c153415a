"""Times of warp, coadd and difference, and the difference of simulated pairs for scoring.

usage: python benchmarks/pixels.py [--size 2048] [--order 2] [--repeat 3] [PAIRDIR ...]

Times are the best of ``repeat`` calls in this process after one call that compiles; the processor
time of all threads stands beside the wall clock. A PAIRDIR holds {sci,ref}.fits with .var.fits and
.mask.fits (0 = good, else saturated); the difference is written to PAIRDIR/skyloom.fits without
rescaling its variance, for a scorer to read.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.io.fits import Header

from app.pixels.bands import thread_count
from app.pixels.coadd import coadd
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage, bits
from app.pixels.matching import match
from app.pixels.psf import measure_psf
from app.pixels.subtract import subtract
from app.pixels.warp import warp
from app.pixels.warped import in_memory


def best(name: str, megapixels: float, call: Callable[[], object], repeat: int) -> None:
    """Print the best wall time and its processor time of ``repeat`` calls after one warm-up."""
    call()
    times = []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = min(times)
    print(f"{name:34s} {wall:7.3f} s wall {cpu:7.3f} s CPU  {megapixels / wall:7.1f} Mpx/s")


def tan_grid(size: int, rotation_deg: float) -> Grid:
    """A square TAN grid of 0.2 arcsec pixels."""
    k, angle = 0.2 / 3600.0, np.radians(rotation_deg)
    header = Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = 150.0, 2.0
    header["CRPIX1"] = header["CRPIX2"] = size / 2 + 0.5
    header["CD1_1"], header["CD1_2"] = -k * np.cos(angle), k * np.sin(angle)
    header["CD2_1"], header["CD2_2"] = k * np.sin(angle), k * np.cos(angle)
    return Grid.from_header(header, (size, size))


def time_stack(size: int, repeat: int) -> None:
    """Warp one image by 20 degrees; stack eight."""
    rng = np.random.default_rng(1)
    ones, none = np.ones((size, size), np.float32), np.zeros((size, size), np.int32)
    images = [
        MaskedImage(rng.normal(size=(size, size)).astype(np.float32), ones, none, fwhm_px=4.0)
        for _ in range(8)
    ]
    inputs = in_memory(images)
    area = size * size / 1e6
    source, target = tan_grid(size, 20.0), tan_grid(size, 0.0)
    best("warp flux, variance, mask", area, lambda: warp(images[0], source, target), repeat)
    best("coadd of 8, meanclip", 8 * area, lambda: coadd(inputs), repeat)
    best("coadd of 8, mean", 8 * area, lambda: coadd(inputs, statistic="mean"), repeat)


def read(path: Path) -> MaskedImage:
    """One image of a pair."""
    flux = fits.getdata(path).astype(np.float32)
    variance = fits.getdata(path.with_suffix(".var.fits")).astype(np.float32)
    mask = np.where(fits.getdata(path.with_suffix(".mask.fits")) > 0, bits("SAT"), 0)
    return MaskedImage(flux, variance, mask.astype(np.int32))


def difference(root: Path, order: int, repeat: int) -> None:
    """Time the steps on one pair and write its difference."""
    science, template = read(root / "sci.fits"), read(root / "ref.fits")
    area = science.flux.size / 1e6
    found = match(science, template, spatial_order=order)
    best("PSF of the science image", area, lambda: measure_psf(science), repeat)
    best("match", area, lambda: match(science, template, spatial_order=order), repeat)
    best("subtract", area, lambda: subtract(science, template, found), repeat)
    done = subtract(science, template, found, rescale_variance=False)
    print(f"{root}: {done.quality}")
    fits.writeto(root / "skyloom.fits", done.image.flux, overwrite=True)


def main() -> None:
    """Parse the command line and print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", nargs="*", type=Path)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--order", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    print(f"{thread_count()} threads")
    time_stack(options.size, options.repeat)
    for root in options.pairs:
        difference(root, options.order, options.repeat)


if __name__ == "__main__":
    main()
