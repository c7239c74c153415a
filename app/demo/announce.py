"""What to try once the demo is served, with identifiers and positions that exist."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import quote, urlencode

from astropy.io import fits
from astropy.wcs import WCS

from app.demo.files import Exposure
from app.demo.lightcurves import Transient, mag_of
from app.demo.settings import COLLECTION
from app.demo.truth import SurveyTruth, light_curve
from app.pixels.image import bits

_MARGIN_PX: Final = 25
_UNUSABLE: Final = bits("BAD", "SAT", "CR", "NO_DATA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Showpiece:
    """A transient and the image that shows it best. ``quiet_mjd`` spans the season before it."""

    transient: Transient
    exposure: Exposure
    mag: float
    quiet_mjd: tuple[float, float]


def find_showpiece(truth: SurveyTruth) -> Showpiece | None:
    """The brightest appearance of a transient well inside an image; None when there is none."""
    appearances = sorted(
        (
            (flux, source, visit)
            for source in truth.transients
            for visit, _, _, flux in light_curve(source, truth)
            if flux > 0
        ),
        key=lambda appearance: -appearance[0],
    )
    for flux, source, visit in appearances:
        for exposure in truth.exposures:
            if exposure.visit == visit and _shows(truth, exposure, source):
                return Showpiece(
                    transient=source,
                    exposure=exposure,
                    mag=mag_of(flux),
                    quiet_mjd=_quiet_season(truth, source),
                )
    return None


def _shows(truth: SurveyTruth, exposure: Exposure, source: Transient) -> bool:
    """Whether a source lies on good pixels, away from the edge."""
    with fits.open(truth.folder / exposure.path) as hdus:
        wcs, mask = WCS(hdus["IMAGE"].header), hdus["MASK"].data
        ny, nx = mask.shape
        x, y = (
            round(float(c))
            for c in wcs.all_world2pix(source.lon_deg, source.lat_deg, 0, quiet=True)
        )
        if not (_MARGIN_PX <= x < nx - _MARGIN_PX and _MARGIN_PX <= y < ny - _MARGIN_PX):
            return False
        return not (mask[y - 3 : y + 4, x - 3 : x + 4] & _UNUSABLE).any()


def _quiet_season(truth: SurveyTruth, source: Transient) -> tuple[float, float]:
    """Whole days from the first exposure to the last in which the source is not seen."""
    dark = [mjd for _, _, mjd, flux in light_curve(source, truth) if flux == 0]
    return float(int(truth.first_mjd())), float(int(max(dark, default=source.t0_mjd)) + 1)


def dataset_id(exposure: Exposure, authority: str) -> str:
    """obs_publisher_did that ingest gives an image of the survey."""
    path = PurePosixPath(exposure.path).relative_to("images").with_suffix("")
    return f"ivo://{authority}/{COLLECTION}?{path}"


def announce(truth: SurveyTruth, *, base_url: str, authority: str = "skyloom.local") -> str:
    """A page of text for the terminal."""
    bands = " ".join(dict.fromkeys(e.band for e in truth.exposures))
    visits = len({e.visit for e in truth.exposures})
    lines = [
        f"Skyloom serves a simulated survey at {base_url}/",
        f"{len(truth.exposures)} images of {visits} visits in {bands}, "
        f"with {len(truth.transients)} transients and {len(truth.variables)} variables.",
        f"What is true of them stands in {truth.folder / 'truth.json'}.",
    ]
    piece = find_showpiece(truth)
    if piece is not None:
        lines += _try_showpiece(piece, base_url, dataset_id(piece.exposure, authority))
    lines += ["", "Ctrl-C stops the service; the next start is quick."]
    return "\n".join(lines)


def _try_showpiece(piece: Showpiece, base_url: str, identifier: str) -> list[str]:
    source, band = piece.transient, piece.exposure.band
    position = f"{source.lon_deg:.5f} {source.lat_deg:.5f}"
    lon, lat = position.split()
    page = urlencode({"ID": identifier, "POS": position})
    build = urlencode(
        {"ID": identifier, "TIME": f"{piece.quiet_mjd[0]:g} {piece.quiet_mjd[1]:g}"},
        quote_via=quote,
    )
    return [
        "",
        f"Transient {source.name} shines at {band} = {piece.mag:.1f} in visit "
        f"{piece.exposure.visit}.",
        "See it (and build from there, with one button):",
        f"  {base_url}/images?{page}",
        "Build its difference image, from the season before it, and save it:",
        f'  curl -o difference.fits "{base_url}/builds/difference/sync?{build}"',
        "",
        "Every exposure that contains it, as CSV:",
        f"  curl {base_url}/tap/sync -d LANG=ADQL -d RESPONSEFORMAT=csv --data-urlencode \\",
        '    "QUERY=SELECT obs_id, lsst_band, t_min, s_resolution FROM ivoa.ObsCore'
        f" WHERE calib_level = 2 AND CONTAINS(POINT('ICRS', {lon}, {lat}), s_region) = 1"
        ' ORDER BY t_min"',
        "",
        "The same in Python (pip install pyvo), and the sharpest image opened:",
        "  import pyvo",
        "  from astropy.io import fits",
        "  from pyvo.dal.adhoc import DatalinkResults",
        f'  tap = pyvo.dal.TAPService("{base_url}/tap")',
        '  found = tap.search("SELECT * FROM ivoa.ObsCore WHERE CONTAINS("',
        f"      \"POINT('ICRS', {lon}, {lat}), s_region) = 1\"",
        '      " AND calib_level = 2 ORDER BY s_resolution")',
        "  links = DatalinkResults.from_result_url(found[0].getdataurl())",
        '  this = next(links.bysemantics("#this", include_narrower=False))',
        "  hdus = fits.open(this.access_url)",
    ]
