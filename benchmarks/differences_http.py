"""Seconds from request to FITS of a difference of one simulated pair, by HTTP, the server warm.

usage: python -m benchmarks.differences_http [--tools DIR] [--size 4096] [--runs 5]

Science image and template (``make_pair.py``; the template as two exposures whose mean it is) are
published on one WCS, with variance and mask. Each request asks for another border, and so for a
build of its own: planes read, PSFs modelled, template warped, matched, subtracted, whitened,
sources found and measured, the product written and sent. The peer beside each is what astropy alone
needs to read those nine planes and to write three.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import httpx
import numpy as np
import pyvo
from astropy.io import fits

from app.pixels.image import MASK_PLANES, MaskedImage
from benchmarks.diffim import SCIENCE_FWHM_PX, SEEDS, TEMPLATE_FWHM_PX, Pair
from benchmarks.figures import machine, workspace
from benchmarks.templates import TOOLS
from tests.flows.service import Service

SCALE_ARCSEC = 0.2
PLANES = ("IMAGE", "VARIANCE", "MASK")


def publish(pair: Pair, folder: Path) -> Service:
    """A service that has the pair: visits 1 and 2 make the template, 3 is the science image."""
    survey = folder / "survey"
    survey.mkdir()
    science, template = pair.images()
    rng = np.random.default_rng(1)
    apart = rng.normal(size=template.shape).astype(np.float32) * np.sqrt(template.variance)
    for visit, sign in ((1, 1), (2, -1)):  # of twice the variance, their mean is the template
        half = replace(template, flux=template.flux + sign * apart, variance=2 * template.variance)
        write_exposure(survey / f"visit{visit}.fits", visit, half, TEMPLATE_FWHM_PX)
    write_exposure(survey / "visit3.fits", 3, science, SCIENCE_FWHM_PX)
    service = Service(data_dir=folder / "data")
    service.run("init")
    service.run("ingest", str(survey), "--collection", "pair")
    return service.start()


def write_exposure(path: Path, visit: int, image: MaskedImage, fwhm_px: float) -> None:
    """An exposure as a pipeline leaves it, uncompressed."""
    about = fits.Header(
        {
            "TELESCOP": "Simulated 8m", "INSTRUME": "SimCam", "VISIT": visit, "DETECTOR": 1,
            "FILTER": "r", "MJD-OBS": 60000.0 + visit, "TIMESYS": "UTC", "EXPTIME": 30.0,
            "PROCTYPE": "calibrated",
        }
    )  # fmt: skip
    ny, nx = image.shape
    wcs = fits.Header(
        {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 62.0, "CRVAL2": -37.0,
            "CRPIX1": nx / 2, "CRPIX2": ny / 2, "CD1_1": -SCALE_ARCSEC / 3600, "CD1_2": 0.0,
            "CD2_1": 0.0, "CD2_2": SCALE_ARCSEC / 3600, "RADESYS": "ICRS",
        }
    )  # fmt: skip
    known = {"BUNIT": "adu", "MAGZERO": 27.0, "FWHM": fwhm_px * SCALE_ARCSEC, "GAIN": 1.0}
    bits = {
        f"HIERARCH MP_{name}" if len(name) > 5 else f"MP_{name}": bit
        for name, bit in MASK_PLANES.items()
    }
    headers = (known, {"BUNIT": "adu2"}, bits)
    hdus = [fits.PrimaryHDU(header=about)]
    for name, data, more in zip(
        PLANES, (image.flux, image.variance, image.mask), headers, strict=True
    ):
        hdus.append(fits.ImageHDU(data, header=wcs + fits.Header(more), name=name))
    fits.HDUList(hdus).writeto(path)


def build(service: Service, ids: dict[int, str], border_px: int) -> tuple[float, bytes]:
    """Seconds and bytes of one difference that was not built before."""
    asked = {"ID": ids[3], "TEMPLATE_IDS": f"{ids[1]},{ids[2]}", "BORDER": str(border_px)}
    start = time.perf_counter()
    answer = httpx.get(f"{service.url}/builds/difference/sync", params=asked, timeout=600)
    if answer.status_code != 200:
        raise RuntimeError(answer.text)
    return time.perf_counter() - start, answer.content


def read_and_write(folder: Path) -> float:
    """Seconds that astropy needs for the planes alone."""
    start = time.perf_counter()
    planes = []
    for path in sorted((folder / "survey").iterdir()):
        with fits.open(path, memmap=False) as hdus:
            planes = [np.array(hdus[name].data) for name in PLANES]
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(plane) for plane in planes)]
    fits.HDUList(hdus).writeto(folder / "planes.fits", overwrite=True, checksum=True)
    return time.perf_counter() - start


def main() -> None:
    """Publish, build, print; see the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", type=Path, default=os.environ.get("TEMPLATE_TOOLS", TOOLS))
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(machine(), flush=True)
    name = "p4k" if options.size == 4096 else f"p{options.size}"
    pair = Pair.made(workspace() / "diffim" / name, Path(options.tools), options.size, SEEDS[0])
    with tempfile.TemporaryDirectory(prefix="skyloom-difference-") as made:
        folder = Path(made)
        service = publish(pair, folder)
        try:
            rows = pyvo.dal.TAPService(f"{service.url}/tap").search(
                "SELECT obs_publisher_did, lsst_visit FROM ivoa.ObsCore WHERE calib_level = 2"
            )
            ids = {int(r["lsst_visit"]): str(r["obs_publisher_did"]) for r in rows}
            first, content = build(service, ids, 20)
            ours, peers = [], []
            for number in range(options.runs):
                peers.append(read_and_write(folder))
                ours.append(build(service, ids, 21 + number)[0])
        finally:
            service.stop()
    with fits.open(io.BytesIO(content)) as hdus:
        sources = len(hdus["DIASOURCES"].data)
    print(
        f"{options.size} x {options.size} over HTTP: first {first:.2f} s, then median "
        f"{median(ours):.2f} s ({sources} sources, {len(content) / 1e6:.0f} MB); astropy reads and "
        f"writes the planes in {median(peers):.2f} s: {median(ours) / median(peers):.1f} x"
    )


if __name__ == "__main__":
    main()
