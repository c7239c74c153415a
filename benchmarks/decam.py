"""The ten real DECam exposures through the whole service: ingest, template, differences, by REST.

Prints, for each 2018 exposure against the template of the five of 2016, the standard deviation of
difference / sqrt(variance) outside sources, and for their mean the significance of the transient at
318.10824 -66.01572 beside the one that the published difference of the same data gives.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pyvo
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.figures import Figure
from tests.flows.service import Service
from tests.machine import SHARED

ROOT = Path(__file__).resolve().parents[1]
DECAM = SHARED / "realdata" / "decam_i_2016_2018"
PROFILE = ROOT / "tests" / "profiles" / "decam_i_2016_2018.toml"
TARGET = SkyCoord(318.10824, -66.01572, unit="deg")
MOVING_STAR = SkyCoord(318.11754, -66.01047, unit="deg")
"""The dipole of the published difference."""
SMOOTHING_FWHM_PX = 4.5


@dataclass(frozen=True, slots=True)
class Measured:
    """One difference image and what was measured on it."""

    name: str
    flux: NDArray[np.float64]
    header: fits.Header
    noise_ratio: float
    seconds: float
    sources: Table
    """The HDU DIASOURCES."""

    @property
    def trusted(self) -> Table:
        """The sources with a reliability of at least 0.5."""
        return self.sources[self.sources["reliability"] >= 0.5]

    def near(self, place: SkyCoord, arcsec: float) -> Table:
        """The sources within a distance of a place."""
        found = SkyCoord(self.sources["ra"], self.sources["dec"], unit="deg")
        return self.sources[found.separation(place).arcsec < arcsec]


def sources(flux: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pixels of sources: smoothed flux above 3 robust sigma, grown by 6 pixels."""
    smooth = ndimage.gaussian_filter(np.nan_to_num(flux), 2.0)
    scatter = 1.4826 * np.median(np.abs(smooth - np.median(smooth)))
    bright = np.abs(smooth - np.median(smooth)) > 3 * scatter
    bright = ndimage.binary_opening(bright, iterations=1)
    return np.asarray(ndimage.binary_dilation(bright, iterations=6))


def noise_ratio(product: fits.HDUList, science: NDArray[np.float64]) -> float:
    """Standard deviation of D / sqrt(V) on unmasked pixels outside the science image's sources."""
    difference = product["IMAGE"].data.astype(float)
    pull = difference / np.sqrt(product["VARIANCE"].data)
    use = np.isfinite(pull) & (product["MASK"].data == 0) & ~sources(science)
    assert use.sum() > 5000, use.sum()
    return float(np.std(pull[use]))


def significance(flux: NDArray[np.float64], header: fits.Header) -> float:
    """Peak within 2 px of the target of the PSF-smoothed map, in its robust scatter."""
    valid = np.isfinite(flux)
    smooth = ndimage.gaussian_filter(np.where(valid, flux, 0.0), SMOOTHING_FWHM_PX / 2.3548)
    smooth -= np.median(smooth[valid])
    scatter = 1.4826 * np.median(np.abs(smooth[valid]))
    x, y = (round(float(v)) for v in WCS(header).world_to_pixel(TARGET))
    box = smooth[y - 2 : y + 3, x - 2 : x + 3]
    return float(box.flat[np.argmax(np.abs(box))] / scatter)


def science_pixels(identifier: str) -> NDArray[np.float64]:
    """The pixels of the exposure that an identifier names."""
    name = next(p for p in DECAM.glob("DEC-*.fits") if p.name.split(".")[0] in identifier)
    return np.asarray(fits.getdata(name), dtype=float)


def identifiers(service: Service, year: int) -> list[str]:
    """The exposures of one year, found by their true epochs."""
    low, high = {2016: (57388, 57754), 2018: (58119, 58484)}[year]
    rows = pyvo.dal.TAPService(f"{service.url}/tap").search(
        "SELECT obs_publisher_did FROM ivoa.ObsCore "
        f"WHERE calib_level = 2 AND t_min > {low} AND t_min < {high} ORDER BY obs_id"
    )
    return [str(i) for i in rows["obs_publisher_did"]]


def build(service: Service, kind: str, **parameters: str) -> tuple[fits.HDUList, float]:
    """Ask for a product; returns it with the seconds that the answer took."""
    start = time.perf_counter()
    answer = httpx.get(f"{service.url}/builds/{kind}/sync", params=parameters, timeout=300)
    if answer.status_code != 200:
        raise RuntimeError(answer.text)
    return fits.open(io.BytesIO(answer.content)), time.perf_counter() - start


def run(service: Service) -> list[Measured]:
    """The template of 2016, then the difference of each 2018 exposure against those five."""
    old, new = identifiers(service, 2016), identifiers(service, 2018)
    assert len(old) == len(new) == 5, (old, new)
    template, _ = build(service, "template", ID=new[0], TEMPLATE_IDS=",".join(old))
    assert len(template["INPUTS"].data) == 5
    return [_difference(service, identifier, old) for identifier in new]


def run_null(service: Service) -> list[Measured]:
    """The difference of each exposure of 2016 against the four others."""
    old = identifiers(service, 2016)
    return [
        _difference(service, identifier, [each for each in old if each != identifier])
        for identifier in old
    ]


def _difference(service: Service, identifier: str, template: list[str]) -> Measured:
    product, seconds = build(service, "difference", ID=identifier, TEMPLATE_IDS=",".join(template))
    return Measured(
        identifier,
        product["IMAGE"].data.astype(float),
        product["IMAGE"].header,
        noise_ratio(product, science_pixels(identifier)),
        seconds,
        Table(product["DIASOURCES"].data),
    )


def mean_significance(measured: list[Measured]) -> float:
    """Significance of the target in the mean of the differences."""
    stack = np.ma.masked_invalid([m.flux for m in measured])
    mean = np.asarray(stack.mean(axis=0).filled(np.nan))
    return significance(mean, measured[0].header)


def published_significance() -> float:
    """The same number measured on the published difference."""
    data, header = fits.getdata(DECAM / "published" / "FinalDifference.fits", header=True)
    return significance(np.asarray(data, dtype=float), header)


def decam_service(folder: Path) -> Service:
    """A service that holds the folder of DECam images, started."""
    service = Service(data_dir=folder)
    service.run("ingest", str(DECAM), "--collection", "decam", "--profile", str(PROFILE))
    return service.start()


def figures() -> Iterator[Figure]:
    """Run it all on a fresh data folder."""
    folder = Path(tempfile.mkdtemp(prefix="skyloom-decam-"))
    service = decam_service(folder)
    try:
        measured, null = run(service), run_null(service)
    finally:
        service.stop()
        shutil.rmtree(folder)
    for m in null:
        name = f"{m.name.rsplit('?', 1)[-1]} less the others of 2016"
        yield Figure(name=f"std(D/sqrt V), {name}", ours=m.noise_ratio, unit="")
        yield Figure(name=f"trusted sources in {name}", ours=len(m.trusted), unit="")
    for m in measured:
        name = m.name.rsplit("?", 1)[-1]
        yield Figure(name=f"std(D/sqrt V) outside sources, {name}", ours=m.noise_ratio, unit="")
        found = significance(m.flux, m.header)
        yield Figure(name=f"transient in {name}", ours=found, unit="sigma")
        yield Figure(name=f"sources found in {name}", ours=len(m.sources), unit="")
    yield Figure(
        name="transient in the mean of the five differences",
        ours=mean_significance(measured),
        unit="sigma",
        peer_name="published",
        peer=published_significance(),
        larger_is_better=True,
    )
    yield Figure(
        name="difference of 256 x 256 px from 6 exposures, request to bytes",
        ours=float(np.median([m.seconds for m in measured])),
        unit="s",
    )
