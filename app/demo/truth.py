"""What is true of the simulated survey, kept beside its images."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from astropy.table import Table

from app.demo.files import Exposure
from app.demo.lightcurves import Transient, Variable, mag_of
from app.demo.settings import SURVEY_VERSION
from app.demo.universe import Universe

TRUTH_FILE: Final = "truth.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyTruth:
    """A finished survey: where it lies, its files, and what changes on its sky.

    ``truth.json`` holds this; beside it lie ``stars.ecsv``, ``galaxies.ecsv`` and
    ``lightcurves.ecsv`` (one row per changing source and visit, flux in nJy).
    """

    folder: Path
    seed: int
    centre_deg: tuple[float, float]
    """ICRS (lon, lat) of the middle of the field, in the overlap of two tracts."""
    exposures: tuple[Exposure, ...]
    transients: tuple[Transient, ...]
    variables: tuple[Variable, ...]

    @property
    def images(self) -> Path:
        """The folder to ingest."""
        return self.folder / "images"

    def first_mjd(self) -> float:
        """Start of the first exposure."""
        return min(e.mjd for e in self.exposures)


def write_truth(truth: SurveyTruth, universe: Universe) -> None:
    """Write the tables, then ``truth.json``: its presence means that the survey is whole."""
    _star_table(universe).write(truth.folder / "stars.ecsv", overwrite=True)
    _galaxy_table(universe).write(truth.folder / "galaxies.ecsv", overwrite=True)
    _light_curve_table(truth).write(truth.folder / "lightcurves.ecsv", overwrite=True)
    record = asdict(truth) | {"version": SURVEY_VERSION}
    del record["folder"]
    partial = truth.folder / f"{TRUTH_FILE}.part"
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(truth.folder / TRUTH_FILE)


def find_survey(folder: Path) -> SurveyTruth | None:
    """The finished survey of a folder; None when there is none or an older program wrote it."""
    path = folder / TRUTH_FILE
    if not path.exists():
        return None
    record: dict[str, Any] = json.loads(path.read_text())
    if record.get("version") != SURVEY_VERSION:
        return None
    return SurveyTruth(
        folder=folder,
        seed=record["seed"],
        centre_deg=(record["centre_deg"][0], record["centre_deg"][1]),
        exposures=tuple(_exposure(e) for e in record["exposures"]),
        transients=tuple(Transient(**_pairs(t)) for t in record["transients"]),
        variables=tuple(Variable(**_pairs(v)) for v in record["variables"]),
    )


def _exposure(record: dict[str, Any]) -> Exposure:
    missed = tuple((int(x), int(y)) for x, y in record["missed_cosmic_rays"])
    return Exposure(**(record | {"missed_cosmic_rays": missed}))


def _pairs(record: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists only; values by band are tuples of pairs."""
    return {
        name: tuple((band, float(number)) for band, number in value)
        if isinstance(value, list)
        else value
        for name, value in record.items()
    }


def _star_table(universe: Universe) -> Table:
    stars = universe.stars
    table = Table({"ra": stars.lon_deg, "dec": stars.lat_deg})
    for k, band in enumerate(universe.bands):
        table[f"mag_{band}"] = stars.mag[:, k]
    return table


def _galaxy_table(universe: Universe) -> Table:
    galaxies = universe.galaxies
    table = Table({"ra": galaxies.lon_deg, "dec": galaxies.lat_deg})
    for k, band in enumerate(universe.bands):
        table[f"mag_{band}"] = galaxies.mag[:, k]
    table["half_light_arcsec"] = galaxies.half_light_arcsec
    table["sersic_index"] = galaxies.sersic_index
    table["g1"], table["g2"] = galaxies.g1, galaxies.g2
    return table


def _light_curve_table(truth: SurveyTruth) -> Table:
    visits = {e.visit: e for e in truth.exposures}.values()
    sources: tuple[Transient | Variable, ...] = (*truth.transients, *truth.variables)
    rows = []
    for source in sources:
        kind = "transient" if isinstance(source, Transient) else "variable"
        for visit in visits:
            mid_mjd = visit.mjd + visit.exposure_s / 2 / 86400
            flux = source.flux_njy(visit.band, mid_mjd)
            rows.append((source.name, kind, visit.visit, visit.band, mid_mjd, flux, mag_of(flux)))
    names = ("name", "kind", "visit", "band", "mjd", "flux_njy", "mag")
    types = ("str", "str", "int64", "str", "float64", "float64", "float64")
    return Table(rows=rows or None, names=names, dtype=types)
