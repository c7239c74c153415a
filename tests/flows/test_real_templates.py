"""Templates of real exposures, as users ask for them, against the files they are made of."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import pyvo
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.decam import decam_service, identifiers, sources
from tests.flows.service import Service
from tests.machine import SHARED
from tests.waiting import web

PROFILES = Path(__file__).resolve().parents[1] / "profiles"
CUTOUTS = SHARED / "realdata" / "decam_bok_cutouts"
DECAM = SHARED / "realdata" / "decam_i_2016_2018"
REACH_PX = 4
"""Farther from a defect or an edge than the taps of Lanczos-3."""
FIELDS = {
    f"{field}-{band}": (field, band)
    for field in ("mzlsbass", "mzlsbass3", "testcase3", "testcase6")
    for band in "grz"
}

pytestmark = pytest.mark.needs("shared")


def template(service: Service, science: str, inputs: list[str]) -> fits.HDUList:
    """A template on the pixels of an image, of exactly these inputs."""
    asked = {"ID": science, "TEMPLATE_IDS": ",".join(inputs)}
    answer: httpx.Response = web.get(
        f"{service.url}/builds/template/sync", params=asked, timeout=300
    )
    assert answer.status_code == 200, answer.text
    return fits.open(io.BytesIO(answer.content))


def robust(values: NDArray[np.float64]) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def test_five_decam_exposures_agree_with_their_published_stack(tmp_path: Path) -> None:
    """Both are of the same photons, combined differently: they must agree to better than the
    noise of either, have no other outliers than noise has, and the same fluxes of stars."""
    service = decam_service(tmp_path / "data")
    try:
        inputs = identifiers(service, 2016)
        hdus = template(service, inputs[0], inputs)
    finally:
        service.stop()
    published = fits.getdata(DECAM / "published" / "Stack-DEC-OBS18.fits").astype(float)
    flux, noise = hdus["IMAGE"].data.astype(float), np.sqrt(hdus["VARIANCE"].data)
    assert np.isfinite(flux).all() and len(hdus["INPUTS"].data) == 5
    stars = sources(published)
    inner = np.zeros(flux.shape, dtype=bool)
    inner[REACH_PX:-REACH_PX, REACH_PX:-REACH_PX] = True
    blank, bright = inner & ~stars, inner & (published > 1000.0)
    assert np.std(flux[blank] / noise[blank]) == pytest.approx(1.0, abs=0.1)
    scale = float(np.sum(flux[bright] * published[bright]) / np.sum(published[bright] ** 2))
    apart = flux - scale * published
    apart -= np.median(apart[blank])
    normalised = apart[blank] / robust(apart[blank])
    assert np.std(normalised) == pytest.approx(1.0, abs=0.1)
    assert np.std(apart[blank] / noise[blank]) < 1.0
    labels, count = ndimage.label(ndimage.binary_dilation(bright, iterations=5))
    sums = [ndimage.sum(each, labels, range(1, count + 1)) for each in (flux, scale * published)]
    assert count >= 5
    assert np.median(np.abs(sums[0] / sums[1] - 1.0)) < 0.01


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The cutouts of DECam, Bok and Mosaic-3 with their companions, ingested."""
    made = Service(data_dir=tmp_path_factory.mktemp("cutouts"))
    profile = str(PROFILES / "decam_bok_cutouts.toml")
    made.run("ingest", str(CUTOUTS), "--collection", "bok", "--profile", profile)
    yield made.start()
    made.stop()


@pytest.fixture(scope="module")
def exposures(service: Service) -> dict[tuple[str, str], list[str]]:
    """Identifiers by field and band."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    rows = pyvo.dal.TAPService(f"{service.url}/tap").search(
        "SELECT obs_publisher_did, lsst_band FROM ivoa.ObsCore WHERE calib_level = 2 ORDER BY 1"
    )
    for row in rows:
        name = str(row["obs_publisher_did"])
        found[name.partition("?")[2].partition("/")[0], str(row["lsst_band"])].append(name)
    return found


def companions(image: Path) -> tuple[Path, Path | None]:
    """Weight and mask of an image."""
    if (weight := image.with_name(f"{image.stem}.wht.fits")).exists():
        return weight, None
    kind = next(kind for kind in ("_ooi_", "_oki_") if kind in image.name)
    weight, mask = (image.with_name(image.name.replace(kind, k)) for k in ("_oow_", "_ood_"))
    return weight, mask


def clean(image: Path) -> tuple[NDArray[np.bool_], WCS]:
    """Pixels of a file around which nothing is missing or masked, and where they lie."""
    weight, mask = companions(image)
    with fits.open(image) as hdus:
        good, wcs = np.isfinite(hdus[1].data), WCS(hdus[1].header)
    good &= fits.getdata(weight) > 0
    if mask is not None:
        good &= fits.getdata(mask) == 0
    return ndimage.binary_erosion(good, np.ones((2 * REACH_PX + 1,) * 2)), wcs


@pytest.mark.parametrize(("field", "band"), FIELDS.values(), ids=FIELDS)
def test_every_band_of_two_exposures_has_a_template_without_holes(
    service: Service, exposures: dict[tuple[str, str], list[str]], field: str, band: str
) -> None:
    inputs = exposures[field, band]
    assert len(inputs) >= 2
    hdus = template(service, inputs[0], inputs)
    rows = hdus["INPUTS"].data
    assert [str(name) for name in rows["dataset_id"]] == inputs
    assert (rows["weight"] > 0).all() and rows["weight"].sum() == pytest.approx(1.0)
    flux, variance = hdus["IMAGE"].data, hdus["VARIANCE"].data
    counted, mask = hdus["NIMAGE"].data, hdus["MASK"]
    missing = (mask.data & (1 << mask.header["MP_NO_DATA"])) != 0
    assert (np.isfinite(flux) & (variance > 0))[counted > 0].all()
    assert missing[counted == 0].all() and not missing[counted > 0].any()
    y, x = np.indices(flux.shape)
    sky = WCS(hdus["IMAGE"].header).pixel_to_world(x, y)
    expected = np.zeros(flux.shape, dtype=int)
    for name in inputs:
        path = next(p for p in CUTOUTS.rglob("*.fits") if p.stem in name and field in p.parts)
        good, wcs = clean(path)
        at_x, at_y = (np.rint(v).astype(int) for v in wcs.world_to_pixel(sky))
        inside = (at_x >= 0) & (at_y >= 0) & (at_x < good.shape[1]) & (at_y < good.shape[0])
        expected[inside] += good[at_y[inside], at_x[inside]]
    assert (expected > 0).mean() > 0.2
    assert (counted >= expected).all()
