"""Which published images may become inputs: found by the same compiled ADQL that users send."""

from __future__ import annotations

from dataclasses import replace

from app.adql.compile import compile_query
from app.errors import LimitError, RecipeError
from app.recipes.recipe import ImageRef
from app.recipes.select import Candidate
from app.schema.catalog import CatalogSource
from app.schema.rows import DatasetRow, Value
from app.sky.predicates import bounding_circle
from app.sky.shapes import Region
from app.sky.stcs import parse_region
from app.stores.tables.base import TableStore
from app.stores.tables.datasets import DatasetStore

MAX_CANDIDATES = 20_000
QUERY_TIME_LIMIT_S = 60.0

_OWN = "access_url LIKE '/%'"
"""Addresses of this service are stored without its name; those of others are absolute."""


class CandidateFinder:
    """Reads candidates from the metadata store."""

    def __init__(
        self, *, datasets: DatasetStore, tables: TableStore, catalogs: CatalogSource
    ) -> None:
        self._datasets = datasets
        self._tables = tables
        self._catalogs = catalogs

    def find(self, region: Region, band: str) -> tuple[Candidate, ...]:
        """Calibrated exposures of ``band`` near ``region`` (its bounding circle), of this service.

        Raises LimitError when there are more than MAX_CANDIDATES, and RecipeError when there are
        images but all of them lie at other services.
        """
        circle = bounding_circle(region)
        there = (
            f"INTERSECTS(s_region, CIRCLE({circle.lon_deg!r}, {circle.lat_deg!r}, "
            f"{circle.radius_deg!r})) = 1 AND lsst_band = {_literal(band)} AND calib_level = 2"
        )
        found = self._identifiers(f"{there} AND {_OWN}", MAX_CANDIDATES)
        if len(found) > MAX_CANDIDATES:
            raise LimitError("candidate images of one build", len(found), MAX_CANDIDATES)
        if not found and self._identifiers(there, 1):
            raise RecipeError(
                f"the images in {band} there lie at other services; "
                "only images of this one can be built from"
            )
        return tuple(self._candidate(row) for row in self._datasets.get_many(found))

    def _identifiers(self, condition: str, limit: int) -> list[str]:
        """obs_publisher_did of the rows of a condition; one more than ``limit`` if there are."""
        query = compile_query(
            f"SELECT obs_publisher_did FROM ivoa.ObsCore WHERE {condition}",
            catalog=self._catalogs.current(),
            target=self._tables.target,
            maxrec=limit,
        )
        batches = self._tables.stream(query, time_limit_s=QUERY_TIME_LIMIT_S)
        return [str(name) for batch in batches for name in batch.column(0).to_pylist()]

    def get(self, dataset_id: str) -> Candidate:
        """One dataset. Raises DatasetNotFoundError; RecipeError if its image lies elsewhere."""
        return self._candidate(self._datasets.get(dataset_id))

    def get_listed(self, dataset_ids: tuple[str, ...]) -> tuple[Candidate, ...]:
        """Each dataset of an explicit list, products with the exposures they were made from."""
        return tuple(self._with_members(self.get(name)) for name in dataset_ids)

    def _with_members(self, candidate: Candidate) -> Candidate:
        if candidate.calib_level < 3:
            return candidate
        names = [
            use.input_id
            for use in self._datasets.inputs_of(candidate.dataset_id)
            if use.rejected is None
        ]
        members = frozenset(exposure_of(row) for row in self._datasets.get_many(names))
        return replace(candidate, members=members)

    def _candidate(self, row: DatasetRow) -> Candidate:
        region = row.columns.get("s_region")
        return Candidate(
            ref=image_ref_of(row),
            region=None if region is None else parse_region(str(region)),
            exposure=exposure_of(row),
            calib_level=int(row.columns.get("calib_level") or 0),
        )


def image_ref_of(row: DatasetRow) -> ImageRef:
    """The image reference of a row; what it leaves open is taken from the published columns."""
    if row.is_external:
        where = row.columns.get("access_url") or "an address nobody gave"
        raise RecipeError(
            f"{row.dataset_id} lies at another service ({where}); "
            "only images of this one can be built from"
        )
    ref = ImageRef.from_text(row.image_ref)
    if not ref.grid:
        raise RecipeError(f"{row.dataset_id} has no pixel grid on the sky")
    columns = row.columns
    return replace(
        ref,
        dataset_id=row.dataset_id,
        band=ref.band or _text(columns.get("lsst_band")),
        t_min=_first(ref.t_min, columns.get("t_min")),
        t_max=_first(ref.t_max, columns.get("t_max")),
        exposure_s=_first(ref.exposure_s, columns.get("t_exptime")),
        fwhm_arcsec=_first(ref.fwhm_arcsec, columns.get("s_resolution")),
        checksum=ref.checksum or row.file_checksum,
    )


def exposure_of(row: DatasetRow) -> str:
    """What names the exposure an image is part of.

    The visit of its instrument when it is known; otherwise the file, whose images (the detectors
    of a mosaic) were taken together.
    """
    visit = row.columns.get("lsst_visit")
    if visit is not None:
        return f"{row.columns.get('instrument_name')}/{visit}"
    return row.file_path


def _literal(text: str) -> str:
    """An ADQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def _text(value: Value) -> str | None:
    return None if value is None else str(value)


def _first(known: float | None, value: Value) -> float | None:
    return known if known is not None or value is None else float(value)
