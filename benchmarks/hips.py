"""A progressive survey of simulated images, beside reproject.

``python -m benchmarks hips``. reproject, in an environment of its own beside the data, makes FITS
tiles of one image at a time and no pictures; so the comparison is of one image. Pixels of the same
tiles must also go together, so that both lie the same way round.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from app.pixels.grid import Grid
from app.pixels.healpix_grid import pixel_scale_arcsec
from app.recipes.recipe import ImageRef, PlaneRef
from app.recipes.select import Candidate
from app.services.builds_candidates import CandidateFinder
from app.services.hips.service import HipsService
from app.services.hips.survey import Survey, SurveyRequest, plan_survey
from app.services.setup import init_database
from app.stores.hips_files import HipsFolder
from app.stores.metadata import open_stores
from benchmarks.figures import Figure, workspace
from tests.services.survey import add_star

SIZE_PX = 4000
SCALE_ARCSEC = 0.2
IMAGES = 4
STARS = 400
FLUX = 1e5
FWHM_PX = 4.0
WORKERS = 2
REPROJECT = """
import sys, time
from astropy.io import fits
from astropy.wcs import WCS
from reproject import reproject_interp
from reproject.hips import reproject_to_hips
image, out, level = sys.argv[1], sys.argv[2], int(sys.argv[3])
start = time.perf_counter()
with fits.open(image) as opened:
    pixels = opened[1].data.astype(float), WCS(opened[1].header)
    reproject_to_hips(pixels, coord_system_out='equatorial', level=level, output_directory=out,
                      reproject_function=reproject_interp, threads=2)
print(time.perf_counter() - start)
"""


def figures() -> Iterator[Figure]:
    """One image beside reproject, then all."""
    folder = workspace() / "hips"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    images = [_image(folder, number) for number in range(IMAGES)]
    url = f"sqlite:///{folder / 'skyloom.sqlite3'}"
    init_database(url)
    stores = open_stores(url)
    service = HipsService(
        finder=CandidateFinder(
            datasets=stores.datasets, tables=stores.tables, catalogs=stores.catalogs
        ),
        data_dir=folder,
        authority="bench.local",
        workers=WORKERS,
        clock=lambda: datetime.now(UTC),
    )
    try:
        _made(service, _survey(images[:1]), folder / "compiled")
        one, survey = _made(service, _survey(images[:1]), folder / "one")
        theirs = _reproject(folder, images[0], survey.order)
        yield Figure(
            name=f"one image of {SIZE_PX} x {SIZE_PX}, with pictures",
            ours=one,
            unit="s",
            peer_name="reproject, FITS alone",
            peer=theirs,
        )
        if theirs is not None:
            together = _correlation(folder / "one", folder / "reproject", survey.order)
            yield Figure(name="correlation of its pixels and ours", ours=together, unit="")
        ours_off = _flux_error("one", survey.order)
        peer_off = None if theirs is None else 100 * _flux_error("reproject", survey.order)
        yield Figure(
            name="light lost or won, median of stars",
            ours=100 * ours_off,
            unit="%",
            peer_name="reproject",
            peer=peer_off,
        )
        seconds, survey = _made(service, _survey(images), folder / "all")
        tiles = sum(1 for _ in HipsFolder(folder / "all").tiles())
        yield Figure(name=f"{IMAGES} images over each other, {tiles} tiles", ours=seconds, unit="s")
        again, _ = _made(service, survey, folder / "all")
        yield Figure(name="the same again, nothing to do", ours=again, unit="s")
    finally:
        stores.close()


def _made(service: HipsService, survey: Survey, out: Path) -> tuple[float, Survey]:
    start = time.perf_counter()
    report = service.run(survey, out, lambda *_: None)
    if report.faults:
        raise ValueError(report.faults[0])
    return time.perf_counter() - start, survey


def _survey(candidates: list[Candidate]) -> Survey:
    request = SurveyRequest(collection="bench", band="r", title=None, order=None)
    return plan_survey(request, candidates)


def _wcs(number: int) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [SIZE_PX / 2 + 150.0 * number, SIZE_PX / 2 - 90.0 * number]
    angle, step = np.radians(20.0 * number), SCALE_ARCSEC / 3600.0
    turn = [[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    wcs.wcs.cd = step * np.array(turn)
    wcs.wcs.radesys = "ICRS"
    return wcs


def _stars() -> tuple[Any, Any]:
    """Longitudes and latitudes (deg), not near each other."""
    side = int(STARS**0.5)
    step = 0.7 * SIZE_PX * SCALE_ARCSEC / 3600.0 / side
    rng = np.random.default_rng(3)
    east, north = (np.mgrid[0:side, 0:side] - side / 2).reshape(2, -1) * step
    east, north = (each + rng.uniform(-0.2, 0.2, each.size) * step for each in (east, north))
    return 150.0 + east / np.cos(np.radians(2.0)), 2.0 + north


def _image(folder: Path, number: int) -> Candidate:
    """Written with its variance."""
    wcs = _wcs(number)
    flux = np.random.default_rng(number).normal(0.0, 3.0, (SIZE_PX, SIZE_PX))
    reach = 20
    for x, y in zip(*wcs.world_to_pixel_values(*_stars()), strict=True):
        left, low = int(x) - reach, int(y) - reach
        if 0 <= left < SIZE_PX - 2 * reach and 0 <= low < SIZE_PX - 2 * reach:
            part = flux[low : low + 2 * reach, left : left + 2 * reach]
            add_star(part, x - left, y - low, FLUX, FWHM_PX)
    path, header = folder / f"{number}.fits", wcs.to_header()
    planes = (flux, np.full(flux.shape, 9.0))
    units = [fits.ImageHDU(each.astype(np.float32), header) for each in planes]
    fits.HDUList([fits.PrimaryHDU(), *units]).writeto(path)
    grid = Grid.from_header(header, flux.shape)
    ref = ImageRef(
        dataset_id=f"ivo://bench.local/{number}",
        planes=(
            PlaneRef(path=str(path), hdu=1, role="image"),
            PlaneRef(path=str(path), hdu=2, role="variance"),
        ),
        grid=grid.to_text(),
        band="r",
        checksum=str(number),
    )
    return Candidate(ref=ref, region=grid.footprint(), exposure=str(number), calib_level=2)


def _reproject(folder: Path, image: Candidate, order: int) -> float | None:
    """Its own seconds, without start; None where it cannot be had."""
    python = workspace() / "reproject-venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
    install = [str(python), "-m", "pip", "install", "-q", "reproject", "pillow"]
    if subprocess.run(install, check=False, env={}).returncode:
        return None
    path = image.ref.planes[0].path
    command = [str(python), "-c", REPROJECT, path, str(folder / "reproject"), str(order)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={})
    return float(done.stdout.split()[-1])


def _correlation(ours: Path, theirs: Path, order: int) -> float:
    """Of the pixels that both have. Raises ValueError where they have nothing to do with each
    other."""
    pairs = []
    for tile in HipsFolder(ours).tiles():
        a, b = HipsFolder(ours).read_tile(tile), HipsFolder(theirs).read_tile(tile)
        if tile.order == order and a is not None and b is not None and a.shape == b.shape:
            known = np.isfinite(a) & np.isfinite(b)
            pairs.append((a[known], b[known]))
    a, b = (np.concatenate(each) for each in zip(*pairs, strict=True))
    found = float(np.corrcoef(a, b)[0, 1])
    if found < 0.9:
        raise ValueError(f"tiles do not lie the same way round: correlation {found:.3f}")
    return found


def _flux_error(name: str, order: int) -> float:
    """Median of |flux / truth - 1| of stars that lie well inside a tile."""
    folder = HipsFolder(workspace() / "hips" / name)
    lon, lat = _stars()
    errors = []
    area = pixel_scale_arcsec(order, 512) ** 2
    unit = area if name == "one" else area / SCALE_ARCSEC**2
    for tile in folder.tiles():
        if tile.order != order:
            continue
        with fits.open(folder.tile_path(tile, "fits")) as opened:
            pixels, wcs = np.asarray(opened[0].data, float), WCS(opened[0].header)
        for x, y in zip(*wcs.world_to_pixel_values(lon, lat), strict=True):
            if 20 < x < 491 and 20 < y < 491:
                left, low = round(float(x)) - 15, round(float(y)) - 15
                part = pixels[low : low + 31, left : left + 31]
                if np.isfinite(part).all():
                    errors.append(abs(part.sum() * unit / FLUX - 1.0))
    if not errors:
        raise ValueError(f"{name}: no star is where it should be")
    return float(np.median(errors))
