"""The page of light curves: a plot and a table of a position."""

from __future__ import annotations

import re

from app.pages.position import format_position
from app.sky.shapes import Point
from tests.pages.conftest import Site
from tests.pages.test_pages import get, links_of


def test_a_place_has_a_plot_and_a_table(site: Site) -> None:
    variable = site.truth.variables[0]
    where = format_position(Point(variable.lon_deg, variable.lat_deg))
    asked = {"POS": where, "RESPONSEFORMAT": "json"}
    told = site.client.get("/lightcurve", params=asked).json()
    names = [column["name"] for column in told["metadata"]]
    measured = [dict(zip(names, row, strict=True)) for row in told["data"]]
    assert len(measured) >= 2
    text = get(site, f"/lightcurves?POS={where}")
    drawn = re.findall(r"<circle[^>]*><title>(\w) ([\d.]+): (-?[\d.]+)", text)
    fluxes = [row for row in measured if row["psf_flux"] is not None]
    assert sorted(drawn) == sorted(
        (row["lsst_band"], f"{row['mjd']:.4f}", f"{row['psf_flux']:.1f}") for row in fluxes
    )
    for row in fluxes:
        assert f">{row['psf_flux']:.1f}</td>" in text
    for link in links_of(text) - {"#main"}:
        assert site.client.get(link).status_code < 400, link
    one_band = get(site, f"/lightcurves?POS={where}&BAND=g&KIND=science")
    assert 0 < one_band.count("<circle") < text.count("<circle")


def test_a_place_is_asked_for_as_people_write_it(site: Site) -> None:
    assert "<svg" in get(site, "/lightcurves?POS=4h8m, -37d5m")
    assert "No image that this service has" in get(site, "/lightcurves?POS=1 1")
    assert 'name="POS"' in get(site, "/lightcurves")
    assert "POS" in get(site, "/lightcurves?POS=somewhere", 400)
    assert "science, template, difference" in get(site, "/lightcurves?POS=1 1&KIND=raw", 400)


def test_pages_lead_to_it(site: Site) -> None:
    lon, lat = site.truth.centre_deg
    found = get(site, f"/search?POS={lon} {lat}&BAND=g")
    assert any(link.startswith("/lightcurves?POS=") for link in links_of(found))
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    asked = {"POS": f"{lon} {lat}"}
    led = site.client.get("/lightcurve", params=asked, headers=browser, follow_redirects=False)
    assert led.status_code == 303 and "/lightcurves?POS=" in led.headers["location"]
