"""The examples of ``/tap/examples`` (DALI 1.1, section 2.3), about images that are really there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from app.pages.result_table import fetch
from app.schema.batches import arrow_schema
from app.schema.columns import real, text
from app.services.query import QueryService
from app.votable.writer import write_results

TARGETS: Final = (
    text("name", "Name of the target", ucd="meta.id;meta.main"),
    real("ra", "Right ascension", unit="deg", ucd="pos.eq.ra;meta.main"),
    real("dec", "Declination", unit="deg", ucd="pos.eq.dec;meta.main"),
)
"""Columns of the table that the example of an upload brings along."""

_MAX_TARGETS: Final = 5
_SAMPLE: Final = (
    f"SELECT TOP {_MAX_TARGETS} obs_publisher_did, s_ra, s_dec, lsst_band, t_min "
    "FROM ivoa.ObsCore WHERE s_ra IS NOT NULL AND s_dec IS NOT NULL AND calib_level = 2"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One example: a name, what it shows, the query, the tables it reads."""

    slug: str
    name: str
    about: str
    query: str
    tables: tuple[str, ...] = ("ivoa.ObsCore",)

    @property
    def uploads(self) -> bool:
        """Whether a table of the reader's has to come along."""
        return "TAP_UPLOAD" in self.query


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the examples ask for: positions, a band, a time (MJD)."""

    positions: tuple[tuple[float, float], ...]
    band: str
    t_min: float


_EMPTY: Final = Sample(positions=((62.0, -37.0),), band="r", t_min=60000.0)


def find_sample(queries: QueryService, service_url: str) -> Sample:
    """A few calibrated images; a fixed place in the sky as long as there are none."""
    rows = fetch(queries, _SAMPLE, service_url=service_url, maxrec=_MAX_TARGETS).by_name()
    if not rows:
        return _EMPTY
    places = {
        (round(float(row["s_ra"] or 0), 4), round(float(row["s_dec"] or 0), 4)) for row in rows
    }
    first = rows[0]
    return Sample(
        positions=tuple(sorted(places)),
        band=str(first["lsst_band"] or _EMPTY.band),
        t_min=float(first["t_min"] or _EMPTY.t_min),
    )


def write_targets(sample: Sample) -> Iterator[bytes]:
    """The table of targets as a VOTable, ready to be sent along."""
    columns = [
        pa.array([f"target {number}" for number in range(1, len(sample.positions) + 1)]),
        pa.array([lon for lon, _ in sample.positions], pa.float64()),
        pa.array([lat for _, lat in sample.positions], pa.float64()),
    ]
    batch = pa.RecordBatch.from_arrays(columns, schema=arrow_schema(TARGETS))
    return write_results(TARGETS, [batch], maxrec=len(sample.positions))


def make_examples(sample: Sample) -> tuple[Example, ...]:
    """The examples, from the simplest on."""
    lon, lat = sample.positions[0]
    return (
        *_about_positions(lon, lat, sample.band),
        *_about_images(sample),
        *_about_products(),
        _with_upload(),
        Example(
            slug="columns",
            name="What the columns mean",
            about="Every table describes itself in TAP_SCHEMA: type, unit and meaning of columns.",
            query="SELECT column_name, datatype, unit, ucd, description\nFROM tap_schema.columns\n"
            "WHERE table_name = 'ivoa.ObsCore'\nORDER BY column_index",
            tables=("tap_schema.columns",),
        ),
    )


def _about_positions(lon: float, lat: float, band: str) -> tuple[Example, ...]:
    return (
        Example(
            slug="contains",
            name="Images that contain a position",
            about="The footprints are those of the valid pixels: every image found really shows "
            "the position. access_url leads to the files of each.",
            query="SELECT obs_publisher_did, lsst_band, t_min, s_resolution, access_url\n"
            f"FROM ivoa.ObsCore\nWHERE CONTAINS(POINT('ICRS', {lon}, {lat}), s_region) = 1\n"
            "ORDER BY t_min",
        ),
        Example(
            slug="cone",
            name="Images around a position (cone search)",
            about="Images whose centre lies within half a degree, the nearest first.",
            query="SELECT TOP 100 obs_publisher_did, lsst_band,\n"
            f"  DISTANCE(POINT('ICRS', s_ra, s_dec), POINT('ICRS', {lon}, {lat})) AS distance_deg\n"
            "FROM ivoa.ObsCore\n"
            f"WHERE DISTANCE(POINT('ICRS', s_ra, s_dec), POINT('ICRS', {lon}, {lat})) < 0.5\n"
            "ORDER BY distance_deg",
        ),
        Example(
            slug="sharpest",
            name="The sharpest images of a field",
            about=f"Exposures in band {band} that overlap a circle, by the seeing (arcsec). They "
            "are what a template is best made of.",
            query="SELECT TOP 20 obs_publisher_did, t_min, s_resolution\nFROM ivoa.ObsCore\n"
            f"WHERE INTERSECTS(CIRCLE('ICRS', {lon}, {lat}, 0.1), s_region) = 1\n"
            f"  AND lsst_band = '{_quoted(band)}' AND calib_level = 2\nORDER BY s_resolution",
        ),
    )


def _about_images(sample: Sample) -> tuple[Example, ...]:
    start = int(sample.t_min)
    return (
        Example(
            slug="night",
            name="Exposures taken within some days",
            about="Times are modified Julian dates (UTC).",
            query="SELECT TOP 200 obs_publisher_did, lsst_band, t_min, t_exptime, s_ra, s_dec\n"
            f"FROM ivoa.ObsCore\nWHERE calib_level = 2 AND t_min BETWEEN {start} AND {start + 7}\n"
            "ORDER BY t_min",
        ),
        Example(
            slug="bands",
            name="How many exposures each band has",
            about="Number, mean seeing and the time they span.",
            query="SELECT lsst_band, COUNT(*) AS n, AVG(s_resolution) AS seeing,\n"
            "  MIN(t_min) AS earliest, MAX(t_max) AS latest\nFROM ivoa.ObsCore\n"
            "WHERE calib_level = 2\nGROUP BY lsst_band\nORDER BY lsst_band",
        ),
        Example(
            slug="volume",
            name="How much there is to download",
            about="Number and size (kbyte) of the files of each band, before any is fetched.",
            query="SELECT lsst_band, COUNT(*) AS n, SUM(access_estsize) AS kbyte\n"
            "FROM ivoa.ObsCore\nWHERE calib_level = 2\nGROUP BY lsst_band\nORDER BY kbyte DESC",
        ),
    )


def _about_products() -> tuple[Example, ...]:
    return (
        Example(
            slug="products",
            name="Templates and differences",
            about="Built images are found like all others, here by what they are. A difference "
            "that nobody built yet is buildable: access_url leads to what builds it.",
            query="SELECT TOP 100 obs_publisher_did, dataproduct_subtype, lsst_band, lsst_visit,\n"
            "  build_state, access_url\nFROM ivoa.ObsCore\nWHERE dataproduct_subtype IN\n"
            "  ('lsst.template_coadd', 'lsst.difference_image')\n"
            "ORDER BY build_state DESC, obs_publisher_did",
        ),
        Example(
            slug="provenance",
            name="What the differences are made of",
            about="Each input of a built image with its part in it: the science exposure, and the "
            "exposures of the template with their weights and seeing.",
            query="SELECT TOP 200 p.product_id, p.role, p.weight, i.obs_publisher_did,\n"
            "  i.t_min, i.s_resolution\nFROM skyloom.product_input AS p\n"
            "JOIN ivoa.ObsCore AS i ON i.obs_publisher_did = p.input_id\n"
            "WHERE p.rejected IS NULL\nORDER BY product_id, role",
            tables=("skyloom.product_input", "ivoa.ObsCore"),
        ),
    )


def _with_upload() -> Example:
    return Example(
        slug="upload",
        name="Images of each target in a list of your own",
        about="Your table comes along with the query and is TAP_UPLOAD.targets there.",
        query="SELECT t.name, o.obs_publisher_did, o.lsst_band, o.t_min\n"
        "FROM TAP_UPLOAD.targets AS t\nJOIN ivoa.ObsCore AS o\n"
        "  ON CONTAINS(POINT('ICRS', t.ra, t.dec), o.s_region) = 1",
    )


def _quoted(text: str) -> str:
    return text.replace("'", "''")
