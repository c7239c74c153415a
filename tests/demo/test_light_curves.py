"""Light curves of the simulated survey's variables against what is true of them."""

from __future__ import annotations

from collections import defaultdict
from itertools import compress
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from starlette.testclient import TestClient

from app.config import Config
from app.demo.settings import BANDS, Camera, SurveySettings
from app.demo.truth import SurveyTruth, light_curve
from app.main import create_app
from app.wiring_images import prepare_demo

SETTINGS = SurveySettings(
    camera=Camera(columns=1, rows=1, nx_px=320, ny_px=300),
    bands=BANDS[1:],
    quiet_epochs=5,
    active_epochs=7,
    dither_arcsec=8.0,
    stars_per_arcmin2=20.0,
    transients=1,
    variables=16,
)


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> tuple[TestClient, SurveyTruth]:
    """The survey served, and what is true of it."""
    config = Config(data_dir=tmp_path_factory.mktemp("survey"), workers=1)
    truth, _ = prepare_demo(config, seed=4, settings=SETTINGS, progress=lambda _done, _all: None)
    return TestClient(create_app(config), base_url="http://curves.test"), truth


def measured(client: TestClient, truth: SurveyTruth) -> list[list[dict[str, Any]]]:
    """The rows of each variable."""
    positions = [f"{each.lon_deg!r} {each.lat_deg!r}" for each in truth.variables]
    asked = {"POS": positions, "RESPONSEFORMAT": "json"}
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


def test_variables_show_their_light_curves(survey: tuple[TestClient, SurveyTruth]) -> None:
    client, truth = survey
    pulls: list[float] = []
    changes: list[float] = []
    alone, curves_of = stand_alone(truth), measured(client, truth)
    assert sum(alone) >= 10
    for variable, rows in compress(zip(truth.variables, curves_of, strict=True), alone):
        true = {(band, round(mjd, 5)): flux for _, band, mjd, flux in light_curve(variable, truth)}
        curves = defaultdict(list)
        for row in rows:
            if row["flags"] is None:
                flux = true[row["lsst_band"], round(row["mjd"], 5)]
                curves[row["lsst_band"]].append((row["psf_flux"], row["psf_flux_error"], flux))
        for points in curves.values():
            found, error, flux = np.array(points).T
            if len(points) < 4:
                continue
            # A neighbour's light in the PSF is the same at every epoch: it shifts the whole curve.
            off = (found - flux) - np.average(found - flux, weights=error**-2)
            pulls += list(off / error * np.sqrt(len(points) / (len(points) - 1)))
            changes += list((flux - flux.mean()) / error)
    assert len(pulls) > 200
    assert np.std(changes) > 10, "the variables should vary"
    assert np.std(pulls) == pytest.approx(1.0, abs=0.1)
