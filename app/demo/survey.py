"""Making the survey: plan it, then render its files in parallel."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from astropy.wcs import WCS

from app.demo.detector import read_out
from app.demo.files import Exposure, exposure_path, write_exposure
from app.demo.optics import wcs_cards
from app.demo.render import render
from app.demo.schedule import Visit, plan_visits
from app.demo.settings import DEFAULT_SEED, SurveySettings, demo_sky_map
from app.demo.truth import SurveyTruth, find_survey, write_truth
from app.demo.universe import Universe, make_universe
from app.errors import CoverageError
from app.sky.shapes import Point
from app.sky.skymap import SkyMap
from app.workers.engine import Progress

_STEP_DEG: Final = 20 / 3600
_MAX_STEPS: Final = 2000


def make_survey(
    folder: Path,
    *,
    seed: int = DEFAULT_SEED,
    workers: int = 2,
    progress: Progress | None = None,
    settings: SurveySettings | None = None,
    sky_map: SkyMap | None = None,
) -> SurveyTruth:
    """Simulate the survey into ``folder`` and return what is true of it.

    A folder that already holds the survey of this seed is left as it is. ``progress`` is called
    with ("simulate", files done, files in all). The same seed gives the same bytes, whatever the
    number of worker processes. Raises CoverageError when the sky map has no overlapping tracts.
    """
    found = find_survey(folder)
    if found is not None and found.seed == seed:
        return found
    settings = settings or SurveySettings()
    centre = find_tract_boundary(
        sky_map or demo_sky_map(), settings.near_lon_deg, settings.near_lat_deg
    )
    universe = make_universe(settings, centre, seed)
    visits = plan_visits(settings, centre, seed)
    tasks = [(v, d) for v in visits for d in range(settings.camera.detectors)]
    studio = _Studio(folder=folder, settings=settings, universe=universe, seed=seed)
    exposures: list[Exposure] = []
    for exposure in _run(studio, tasks, workers):
        exposures.append(exposure)
        if progress is not None:
            progress("simulate", len(exposures), len(tasks))
    truth = SurveyTruth(
        folder=folder,
        seed=seed,
        centre_deg=centre,
        exposures=tuple(exposures),
        transients=universe.transients,
        variables=universe.variables,
    )
    write_truth(truth, universe)
    return truth


def find_tract_boundary(sky_map: SkyMap, lon_deg: float, lat_deg: float) -> tuple[float, float]:
    """The middle of the first stretch east of a position that lies in two tracts (lon, lat)."""
    shared: list[float] = []
    for step in range(_MAX_STEPS):
        lon = (lon_deg + step * _STEP_DEG) % 360
        tracts = {patch.tract for patch in sky_map.find_patches(Point(lon, lat_deg))}
        if len(tracts) > 1:
            shared.append(lon)
        elif shared:
            break
    if not shared:
        raise CoverageError("two overlapping tracts east of the field", 1, 2)
    return shared[len(shared) // 2], lat_deg


@dataclass(frozen=True, slots=True, kw_only=True)
class _Studio:
    """What every worker needs; sent to each process once with its tasks."""

    folder: Path
    settings: SurveySettings
    universe: Universe
    seed: int


def _run(studio: _Studio, tasks: list[tuple[Visit, int]], workers: int) -> Iterator[Exposure]:
    """Render the files, in order, here or in processes of their own."""
    take = partial(_take, studio)
    if workers == 1:
        yield from map(take, tasks)
        return
    # Never fork: the caller may hold threads, which do not survive it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            yield from _in_order(pool.map(take, tasks, chunksize=4))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _in_order(results: Iterable[Exposure]) -> Iterator[Exposure]:
    yield from results


def _take(studio: _Studio, task: tuple[Visit, int]) -> Exposure:
    """Render and write one file."""
    visit, detector = task
    camera = studio.settings.camera
    cards = wcs_cards(visit, camera, detector)
    scene = render(studio.universe, visit, WCS(cards), (camera.ny_px, camera.nx_px))
    rng = np.random.default_rng([studio.seed, 4, visit.visit, detector])
    readout = read_out(scene, visit, camera, detector, rng, studio.seed)
    gain = camera.gain_of(detector)
    exposure = Exposure(
        path=exposure_path(visit, detector),
        visit=visit.visit,
        detector=detector,
        band=visit.band,
        mjd=visit.mjd,
        exposure_s=visit.exposure_s,
        zero_point_mag=float(visit.zero_point_mag - 2.5 * np.log10(gain)),
        fwhm_arcsec=scene.fwhm_arcsec,
        sky_adu=visit.sky_e / gain,
        gain_e_per_adu=gain,
        missed_cosmic_rays=readout.missed_cosmic_rays,
    )
    path = studio.folder / exposure.path
    write_exposure(path, exposure, visit, camera, readout.image, cards)
    return exposure
