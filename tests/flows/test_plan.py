"""A plan is kept: what PLAN=true promised is what the build then gives."""

from __future__ import annotations

import io
from typing import Any

import httpx
import numpy as np
import pytest
import pyvo
from astropy.io import fits
from astropy.io.votable import parse

from tests.flows.service import Service

QUIET = {"POS": "61.98 -37.07", "EXCLUDE_TIME": "61300 +Inf"}
"""The season without transients, at the middle of the demo survey."""
LOCAL_NOISE = 0.03
"""How well the noise of a pixel is told, relative, at the median."""
DEPTH_MAG = 0.25
"""And the depth: the plan does not know which pixels are masked."""
FWHM = 0.02
WEIGHT = 0.06


def plan(service: Service, **parameters: str) -> dict[str, Any]:
    """The tables of a plan by name."""
    asked = {**QUIET, **parameters, "PLAN": "true"}
    answer = httpx.get(f"{service.url}/builds/template/sync", params=asked, timeout=120)
    assert answer.status_code == 200, answer.text
    document = parse(io.BytesIO(answer.content))
    return {table.name: table.to_table() for table in document.iter_tables()}


def build(service: Service, **parameters: str) -> tuple[str, bytes]:
    """Identifier and file of the template."""
    asked = {**QUIET, **parameters}
    answer = httpx.get(
        f"{service.url}/builds/template/sync", params=asked, timeout=600, follow_redirects=True
    )
    assert answer.status_code == 200, answer.text
    return answer.headers["x-skyloom-dataset"], answer.content


def noise_ratio(cells: Any, variance: Any) -> float:
    """Median of built over promised noise, pixel by pixel."""
    promised = np.full(variance.shape, np.nan)
    for cell in cells:
        if cell["n_exposures"] > 0:
            box = np.s_[cell["y_min"] : cell["y_max"], cell["x_min"] : cell["x_max"]]
            promised[box] = cell["noise"]
    return float(np.nanmedian(np.sqrt(variance) / promised))


@pytest.mark.parametrize("band", ["g", "i"])
def test_the_build_gives_what_the_plan_promised(
    service: Service, tap: pyvo.dal.TAPService, band: str
) -> None:
    tables = plan(service, BAND=band)
    (promised,) = tables["summary"]
    product, content = build(service, BAND=band)
    assert product == promised["obs_publisher_did"]
    with fits.open(io.BytesIO(content)) as hdus:
        variance = hdus["VARIANCE"].data
        assert variance.shape == (promised["s_xel2"], promised["s_xel1"])
        assert noise_ratio(tables["coverage"], variance) == pytest.approx(1, abs=LOCAL_NOISE)

    where = f"WHERE obs_publisher_did = '{product}'"
    (built,) = tap.search(f"SELECT * FROM skyloom.build_quality {where}")
    assert built["fwhm_arcsec"] == pytest.approx(promised["fwhm_arcsec"], rel=FWHM)
    assert built["depth_mag"] == pytest.approx(promised["depth_mag"], abs=DEPTH_MAG)
    assert built["coverage"] == pytest.approx(promised["coverage"], abs=0.03)
    assert built["n_inputs"] == promised["n_inputs"]
    assert built["n_exposures"] == promised["n_exposures"]
    assert built["n_psf"] == built["n_inputs"] and built["n_psf_stars"] > 10 * built["n_psf"]
    assert 1.0 < built["box_noise_ratio"] < 1.3 and built["position_error_px"] < 1e-3
    assert 0.0 < built["effective_time_s"] < 1.5 * sum(tables["inputs"]["t_exptime"])
    described = {column.name: column for column in tap.tables["skyloom.build_quality"].columns}
    assert (described["effective_time_s"].unit, described["build_s"].unit) == ("s", "s")

    uses = tap.search(
        "SELECT input_id, weight, rejected FROM skyloom.product_input "
        f"WHERE product_id = '{product}'"
    ).to_table()
    used = {row["input_id"]: row["weight"] for row in uses if not row["rejected"]}
    weights = {row["obs_publisher_did"]: row["weight"] for row in tables["inputs"]}
    assert {name: pytest.approx(weight, rel=WEIGHT) for name, weight in weights.items()} == used
    left_out = {row["input_id"]: row["rejected"] for row in uses if row["rejected"]}
    assert left_out == {row["obs_publisher_did"]: row["reason"] for row in tables["rejected"]}

    (again,) = plan(service, BAND=band)["summary"]
    assert again["built"] and again["quote_bytes"] == len(content)


def test_the_sky_map_knows_the_template(service: Service) -> None:
    product, content = build(service, BAND="r")
    header = fits.getheader(io.BytesIO(content))
    url = f"{service.url}/skymap/{header['TRACT']}/{header['PATCH']}"
    bands = {band["band"]: band for band in httpx.get(url).json()["bands"]}
    assert product in [each["obs_publisher_did"] for each in bands["r"]["templates"]]
    assert bands["r"]["n_exposures"] >= 4
    sent = httpx.get(f"{url}/r", follow_redirects=True)
    assert fits.getheader(io.BytesIO(sent.content))["PATCH"] == header["PATCH"]
