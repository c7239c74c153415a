"""The story of an astronomer with pyvo: discover, query, follow links, open pixels, build, find."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyvo
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from pyvo.dal.adhoc import DatalinkResults

from app.schema.obscore import OBSCORE
from tests.flows.service import Service
from tests.waiting import web

SEED_COLUMNS = [
    "access_format",
    "access_url",
    "calib_level",
    "dataproduct_subtype",
    "dataproduct_type",
    "em_max",
    "em_min",
    "em_res_power",
    "em_xel",
    "facility_name",
    "instrument_name",
    "lsst_band",
    "lsst_ccdvisitid",
    "lsst_detector",
    "lsst_filter",
    "lsst_patch",
    "lsst_tract",
    "lsst_visit",
    "o_ucd",
    "obs_collection",
    "obs_id",
    "obs_publisher_did",
    "obs_title",
    "pol_xel",
    "s_dec",
    "s_fov",
    "s_ra",
    "s_region",
    "s_resolution",
    "s_xel1",
    "s_xel2",
    "t_exptime",
    "t_max",
    "t_min",
    "t_resolution",
    "t_xel",
    "target_name",
]


def contains_query(target: dict[str, Any], extra: str) -> str:
    """The query of the tutorial: images that contain the target."""
    return (
        "SELECT * FROM ivoa.ObsCore WHERE CONTAINS(POINT('ICRS', "
        f"{target['ra_deg']}, {target['dec_deg']}), s_region) = 1 AND {extra}"
    )


def run_async(tap: pyvo.dal.TAPService, query: str) -> pyvo.dal.TAPResults:
    """submit, run, wait, fetch: as the tutorial does."""
    job = tap.submit_job(query)
    job.run()
    job.wait(phases=["COMPLETED", "ERROR"])
    job.raise_if_error()
    results = job.fetch_result()
    job.delete()
    return results


def open_this(row: Any) -> fits.HDUList:
    """The FITS file behind a row: DataLink document, its #this row, the signed address."""
    links = DatalinkResults.from_result_url(row.getdataurl())
    this = next(links.bysemantics("#this", include_narrower=False))
    answer = web.get(this.access_url)
    assert answer.status_code == 200, answer.text
    return fits.open(io.BytesIO(answer.content))


def test_the_service_describes_itself(tap: pyvo.dal.TAPService) -> None:
    schemas = tap.search("SELECT * FROM tap_schema.schemas").to_table()
    assert {"ivoa", "tap_schema"} <= set(schemas["schema_name"])
    tables = tap.search(
        "SELECT * FROM tap_schema.tables WHERE tap_schema.tables.schema_name = 'ivoa'"
    )
    assert list(tables["table_name"]) == ["ivoa.ObsCore"]
    columns = tap.search(
        "SELECT column_name, datatype, description, unit FROM tap_schema.columns "
        "WHERE table_name = 'ivoa.ObsCore'"
    ).to_table()
    assert set(SEED_COLUMNS) <= set(columns["column_name"])
    assert set(columns["column_name"]) == {f.name for f in OBSCORE.fields}
    assert all(columns["description"])
    assert "ivoa.ObsCore" in tap.tables


def test_images_that_contain_the_target_really_do(
    tap: pyvo.dal.TAPService, truth: dict[str, Any]
) -> None:
    target = truth["transients"][0]
    results = run_async(tap, contains_query(target, "lsst_band = 'i' AND calib_level = 2"))
    assert len(results) >= 6
    assert set(results["dataproduct_subtype"]) == {"lsst.visit_image"}
    coordinate = SkyCoord(target["ra_deg"], target["dec_deg"], unit="deg")
    with open_this(results[0]) as hdus:
        image = next(h for h in hdus if h.name == "IMAGE")
        assert WCS(image.header).footprint_contains(coordinate)
        assert [h.name for h in hdus[1:4]] == ["IMAGE", "MASK", "VARIANCE"]


def test_sync_and_async_give_one_answer(tap: pyvo.dal.TAPService, truth: dict[str, Any]) -> None:
    query = contains_query(truth["transients"][1], "calib_level = 2 ORDER BY obs_publisher_did")
    sync, asynchronous = tap.search(query), run_async(tap, query)
    assert list(sync["obs_publisher_did"]) == list(asynchronous["obs_publisher_did"])


def brightest_epoch(
    tap: pyvo.dal.TAPService, target: dict[str, Any], band: str
) -> tuple[Any, float]:
    """The exposure in which the transient shows most, and its flux there (nJy)."""
    rows = tap.search(contains_query(target, f"lsst_band = '{band}' AND calib_level = 2"))
    flux = {int(e["visit"]): e["flux_njy"] for e in target["light_curve"] if e["band"] == band}
    best = max(rows, key=lambda row: flux[int(row["lsst_visit"])])
    return best, flux[int(best["lsst_visit"])]


def season(row: Any) -> str:
    """The months around an exposure: a template of them would hold the transient too."""
    return f"{row['t_min'] - 100} {row['t_max'] + 100}"


def test_build_a_difference_and_find_it_by_tap(
    service: Service, tap: pyvo.dal.TAPService, truth: dict[str, Any]
) -> None:
    target = max(truth["transients"], key=lambda t: max(e["flux_njy"] for e in t["light_curve"]))
    row, true_flux = brightest_epoch(tap, target, "r")
    links = DatalinkResults.from_result_url(row.getdataurl())
    assert any("#proc" in str(link["semantics"]) for link in links)
    answer = web.get(
        f"{service.url}/builds/difference/sync",
        params={"ID": row["obs_publisher_did"], "EXCLUDE_TIME": season(row)},
        timeout=300,
    )
    assert answer.status_code == 200, answer.text
    with fits.open(io.BytesIO(answer.content)) as hdus:
        assert [h.name for h in hdus[1:4]] == ["IMAGE", "MASK", "VARIANCE"]
        flux = aperture_flux(hdus, target)
    assert abs(flux / true_flux - 1) < 0.05, (flux, true_flux)

    found = tap.search(
        contains_query(
            target,
            "calib_level = 3 AND dataproduct_subtype = 'lsst.difference_image' "
            f"AND lsst_visit = {row['lsst_visit']} AND build_state = 'built'",
        )
    )
    assert len(found) == 1
    product = found[0]
    assert product["lsst_band"] == "r"
    progenitors = list(DatalinkResults.from_result_url(product.getdataurl()))
    ids = [link for link in progenitors if link["semantics"] == "#progenitor"]
    inputs = tap.search(
        "SELECT input_id, role FROM skyloom.product_input "
        f"WHERE product_id = '{product['obs_publisher_did']}' AND rejected IS NULL"
    )
    assert len(ids) == len(inputs) >= 3
    assert row["obs_publisher_did"] in list(inputs["input_id"])


def aperture_flux(hdus: fits.HDUList, target: dict[str, Any]) -> float:
    """Sum within 8 px, some three FWHM, around the target (nJy)."""
    image = hdus["IMAGE"]
    njy = 10 ** (0.4 * (31.4 - hdus[0].header["MAGZERO"]))
    x, y = WCS(image.header).world_to_pixel(
        SkyCoord(target["ra_deg"], target["dec_deg"], unit="deg")
    )
    yy, xx = np.indices(image.data.shape)
    inside = np.hypot(xx - x, yy - y) < 8
    return float(np.nansum(image.data[inside]) * njy)


def test_build_a_template_at_a_position_and_find_it(
    service: Service, tap: pyvo.dal.TAPService, truth: dict[str, Any]
) -> None:
    target = truth["transients"][2]
    parameters = {"POS": f"CIRCLE {target['ra_deg']} {target['dec_deg']} 0.001", "BAND": "i"}
    answer = web.post(f"{service.url}/builds/template/sync", json=parameters, timeout=300)
    assert answer.status_code == 200, answer.text
    query = contains_query(
        target, "calib_level = 3 AND dataproduct_subtype = 'lsst.template_coadd'"
    )
    first = tap.search(query + " AND lsst_band = 'i' AND lsst_patch IS NOT NULL")
    assert len(first) >= 1
    product = first[0]
    again = web.post(f"{service.url}/builds/template/sync", json=parameters, timeout=300)
    assert again.content == answer.content
    assert len(tap.search(query + " AND lsst_band = 'i' AND lsst_patch IS NOT NULL")) == len(first)
    with open_this(product) as hdus:
        coordinate = SkyCoord(target["ra_deg"], target["dec_deg"], unit="deg")
        assert WCS(hdus["IMAGE"].header).footprint_contains(coordinate)
        assert "INPUTS" in hdus


def test_a_broken_query_is_explained(tap: pyvo.dal.TAPService) -> None:
    try:
        tap.search("SELECT obs_idd FROM ivoa.ObsCore")
    except pyvo.dal.DALQueryError as fault:
        message = str(fault)
        assert "obs_idd" in message and "obs_id" in message and "line 1" in message
    else:
        raise AssertionError("an unknown column was accepted")
