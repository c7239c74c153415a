"""What is true of the simulated survey, kept beside its images."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
    record = asdict(truth) | {
        "version": SURVEY_VERSION,
        "transients": [_source_record(s, truth) for s in truth.transients],
        "variables": [_source_record(s, truth) for s in truth.variables],
    }
    del record["folder"]
    partial = truth.folder / f"{TRUTH_FILE}.part"
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(truth.folder / TRUTH_FILE)


def _source_record(source: Transient | Variable, truth: SurveyTruth) -> dict[str, Any]:
    """A changing source with its position under the usual names and its light curve."""
    record = asdict(source)
    position = {"ra_deg": record.pop("lon_deg"), "dec_deg": record.pop("lat_deg")}
    points = [
        {"visit": visit, "band": band, "mjd": mjd, "flux_njy": flux}
        for visit, band, mjd, flux in light_curve(source, truth)
    ]
    return record | position | {"light_curve": points}


def light_curve(
    source: Transient | Variable, truth: SurveyTruth
) -> Iterator[tuple[int, str, float, float]]:
    """(visit, band, mid-exposure MJD, flux in nJy) of a source in every visit."""
    for visit in {e.visit: e for e in truth.exposures}.values():
        mid_mjd = visit.mjd + visit.exposure_s / 2 / 86400
        yield visit.visit, visit.band, mid_mjd, source.flux_njy(visit.band, mid_mjd)


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
        transients=tuple(Transient(**_source_fields(t)) for t in record["transients"]),
        variables=tuple(Variable(**_source_fields(v)) for v in record["variables"]),
    )


def _exposure(record: dict[str, Any]) -> Exposure:
    missed = tuple((int(x), int(y)) for x, y in record["missed_cosmic_rays"])
    return Exposure(**(record | {"missed_cosmic_rays": missed}))


def _source_fields(record: dict[str, Any]) -> dict[str, Any]:
    """The inverse of :func:`_source_record`. JSON has lists only; values by band are pairs."""
    fields = {name: value for name, value in record.items() if name != "light_curve"}
    fields["lon_deg"], fields["lat_deg"] = fields.pop("ra_deg"), fields.pop("dec_deg")
    return {
        name: tuple((band, float(number)) for band, number in value)
        if isinstance(value, list)
        else value
        for name, value in fields.items()
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
    sources: tuple[Transient | Variable, ...] = (*truth.transients, *truth.variables)
    rows = [
        (source.name, _kind(source), visit, band, mjd, flux, mag_of(flux))
        for source in sources
        for visit, band, mjd, flux in light_curve(source, truth)
    ]
    names = ("name", "kind", "visit", "band", "mjd", "flux_njy", "mag")
    types = ("str", "str", "int64", "str", "float64", "float64", "float64")
    return Table(rows=rows or None, names=names, dtype=types)


def _kind(source: Transient | Variable) -> str:
    return "transient" if isinstance(source, Transient) else "variable"
