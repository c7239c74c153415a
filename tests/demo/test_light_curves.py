"""Light curves of the simulated survey's variables against what is true of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from numpy.typing import NDArray
from starlette.testclient import TestClient

from app.config import Config
from app.demo.settings import BANDS, Camera, SurveySettings
from app.demo.truth import SurveyTruth, light_curve
from app.main import create_app
from app.wiring_builds import run_builds
from app.wiring_images import prepare_demo

SETTINGS = SurveySettings(
    camera=Camera(columns=1, rows=1, nx_px=480, ny_px=480),
    bands=BANDS[1:],
    quiet_epochs=5,
    active_epochs=7,
    dither_arcsec=8.0,
    stars_per_arcmin2=20.0,
    transients=1,
    variables=16,
)


@dataclass(frozen=True)
class Served:
    """A survey that is served, and what is true of it."""

    config: Config
    client: TestClient
    truth: SurveyTruth


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Made and served."""
    config = Config(data_dir=tmp_path_factory.mktemp("survey"), workers=1)
    truth, _ = prepare_demo(config, seed=4, settings=SETTINGS, progress=lambda _done, _all: None)
    return Served(config, TestClient(create_app(config), base_url="http://curves.test"), truth)


@pytest.fixture(scope="module")
def subtracted(survey: Served) -> Served:
    """The survey, whose second season is subtracted from by the mean of the first, exposures of one
    PSF."""
    middle = SETTINGS.active_start_mjd - 0.5 * SETTINGS.season_gap_d
    query = f"SELECT obs_publisher_did FROM ivoa.ObsCore WHERE calib_level = 2 AND t_min > {middle}"
    told = survey.client.get("/tap/sync", params={"LANG": "ADQL", "QUERY": query, "FORMAT": "csv"})
    options = (("TIME", f"-Inf {middle}"), ("WARP", "psfmatched"), ("STATISTIC", "mean"))
    options += (("KERNEL_ORDER", "0"),)
    found = [("ID", line) for line in told.text.split()[1:]]
    assert len(found) == SETTINGS.active_epochs * len(SETTINGS.bands)
    patient = survey.config.model_copy(update={"sync_time_limit_s": 0.01})  # that of requests
    built = list(run_builds(patient, [("difference", (each, *options)) for each in found]))
    assert len(built) == len(found)
    return survey


def measured(
    client: TestClient, truth: SurveyTruth, kind: str = "science"
) -> list[list[dict[str, Any]]]:
    """The rows of each variable."""
    positions = [f"{each.lon_deg!r} {each.lat_deg!r}" for each in truth.variables]
    asked = {"POS": positions, "RESPONSEFORMAT": "json", "KIND": kind}
    told = client.post("/lightcurve", data=asked).json()
    names = [column["name"] for column in told["metadata"]]
    found: list[list[dict[str, Any]]] = [[] for _ in truth.variables]
    for values in told["data"]:
        row = dict(zip(names, values, strict=True))
        found[row["position"] - 1].append(row)
    return found


def stand_alone(truth: SurveyTruth) -> list[bool]:
    """Whether nothing else that is a tenth as bright shines into each variable's PSF."""
    tables = [Table.read(truth.folder / f"{name}.ecsv") for name in ("stars", "galaxies")]
    own = [(v.lon_deg, v.lat_deg, dict(v.mean_mag)["r"]) for v in truth.variables]
    there = [np.array([t["ra"], t["dec"], t["mag_r"]]) for t in tables]
    lon, lat, mag = np.concatenate([np.array(own).T, *there], axis=1)
    found = []
    for number, (ra, dec, r) in enumerate(own):
        east = (lon - ra) * np.cos(np.radians(dec))
        near = (np.hypot(east, lat - dec) < 4 / 3600) & (mag < r + 2.5)
        near[number] = False
        found.append(not near.any())
    return found


@dataclass
class Curves:
    """Measured points (flux, error, true flux) of the curves of single bands."""

    points: dict[Any, list[tuple[float, float, float]]] = field(default_factory=dict)

    def pulls(self, least: int) -> NDArray[np.float64]:
        """Of all curves of ``least`` points, a constant taken off each."""
        found: list[float] = []
        for points in self.points.values():
            flux, error, true = np.array(points).T
            if len(points) >= least:
                off = (flux - true) - np.average(flux - true, weights=error**-2)
                found += list(off / error * np.sqrt(len(points) / (len(points) - 1)))
        return np.array(found)

    def changes(self) -> NDArray[np.float64]:
        """How far the true fluxes are from the mean of their curve, in errors of the points."""
        curves = [np.array(points).T for points in self.points.values()]
        return np.concatenate([(true - true.mean()) / error for _, error, true in curves])


def curves_of(served: Served, kind: str) -> Curves:
    """Those of the variables that stand alone, of points without flags."""
    truth, found = served.truth, Curves(defaultdict(list))
    rows_of = measured(served.client, truth, kind)
    for number, alone in enumerate(stand_alone(truth)):
        curve = light_curve(truth.variables[number], truth)
        true = {(band, round(mjd, 5)): flux for _, band, mjd, flux in curve}
        for row in rows_of[number] if alone else ():
            if row["flags"] is None:
                flux = true[row["lsst_band"], round(row["mjd"], 5)]
                found.points[number, row["lsst_band"]].append(
                    (row["psf_flux"], row["psf_flux_error"], flux)
                )
    return found


def test_variables_show_their_light_curves(survey: Served) -> None:
    """But for a neighbour's light in the PSF, which is the same at every epoch."""
    assert sum(stand_alone(survey.truth)) >= 10
    curves = curves_of(survey, "science")
    pulls = curves.pulls(4)
    assert len(pulls) > 200
    assert np.std(curves.changes()) > 10, "the variables should vary"
    assert np.std(pulls) == pytest.approx(1.0, abs=0.1)


def test_differences_show_the_same_changes(subtracted: Served) -> None:
    """But for the flux that the template shows, which is the same at every epoch."""
    curves = curves_of(subtracted, "difference")
    pulls = curves.pulls(2)
    assert len(pulls) > 50
    assert np.std(curves.changes()) > 5, "the variables should vary"
    assert np.std(pulls) == pytest.approx(1.0, abs=0.15)
