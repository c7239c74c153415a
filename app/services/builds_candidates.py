"""Which published images may become inputs: found by the same compiled ADQL that users send."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from app.errors import RecipeError
from app.recipes.coadds import PatchCoadd
from app.recipes.recipe import ImageRef
from app.recipes.select import Candidate
from app.schema.catalog import CatalogSource
from app.schema.obscore import BUILT
from app.schema.rows import DatasetRow, Value
from app.services.builds_rows import SUBTYPES
from app.services.catalog_rows import CatalogRows, literal
from app.sky.predicates import bounding_circle
from app.sky.shapes import Circle, Region
from app.sky.stcs import parse_region
from app.stores.tables.base import TableStore
from app.stores.tables.datasets import DatasetStore

MAX_CANDIDATES = 20_000

OWN = "access_url LIKE '/%'"
"""Addresses of this service are stored without its name; those of others are absolute."""


CURRENT = f"(build_state IS NULL OR build_state = '{BUILT}')"
"""Neither stale nor still to be built."""

_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class TemplateRef:
    """A template of a patch that was built."""

    dataset_id: str
    tract: int
    patch: int
    band: str


class CandidateFinder:
    """Reads candidates from the metadata store."""

    def __init__(
        self, *, datasets: DatasetStore, tables: TableStore, catalogs: CatalogSource
    ) -> None:
        self._datasets = datasets
        self._catalog = CatalogRows(tables=tables, catalogs=catalogs)

    def find(self, region: Region, band: str) -> tuple[Candidate, ...]:
        """Calibrated exposures of ``band`` near ``region`` (its bounding circle), of this service.

        Raises LimitError when there are more than MAX_CANDIDATES, and RecipeError when there are
        images but all of them lie at other services.
        """
        there = (
            f"{_in_circle(bounding_circle(region))} AND lsst_band = {literal(band)} "
            "AND calib_level = 2"
        )
        found = self._identifiers(f"{there} AND {OWN}", MAX_CANDIDATES)
        if not found and self._rows(f"SELECT TOP 1 obs_id FROM ivoa.ObsCore WHERE {there}", 1):
            raise RecipeError(
                f"the images in {band} there lie at other services; "
                "only images of this one can be built from"
            )
        return tuple(self._load(found))

    def find_near(self, circle: Circle, band: str) -> list[str]:
        """Identifiers of the calibrated exposures of ``band`` that touch a circle, of this
        service."""
        return self._identifiers(
            f"{_in_circle(circle)} AND lsst_band = {literal(band)} AND calib_level = 2 AND {OWN}",
            None,
        )

    def find_all(self, circle: Circle) -> tuple[Candidate, ...]:
        """Calibrated exposures of every band in a circle, of this service. Raises LimitError when
        there are more than MAX_CANDIDATES."""
        condition = f"{_in_circle(circle)} AND lsst_band IS NOT NULL AND calib_level = 2 AND {OWN}"
        return tuple(self._load(self._identifiers(condition, MAX_CANDIDATES)))

    def of_band(self, band: str) -> Iterator[Candidate]:
        """Every calibrated exposure of ``band`` of this service, wherever it lies."""
        condition = f"lsst_band = {literal(band)} AND calib_level = 2 AND {OWN}"
        found = self._identifiers(f"{condition} AND s_region IS NOT NULL", None)
        for start in range(0, len(found), _AT_ONCE):
            yield from self._load(found[start : start + _AT_ONCE])

    def of_collection(self, collection: str, band: str | None) -> list[Candidate]:
        """Every calibrated exposure of a collection, in one band if that is given, of this
        service."""
        condition = f"obs_collection = {literal(collection)} AND calib_level = 2 AND {OWN}"
        condition += "" if band is None else f" AND lsst_band = {literal(band)}"
        return self._load(self._identifiers(f"{condition} AND s_region IS NOT NULL", None))

    def bands_of(self, collection: str) -> list[str]:
        """The bands of the calibrated exposures of a collection of this service."""
        found = self._rows(
            f"SELECT DISTINCT lsst_band FROM ivoa.ObsCore WHERE obs_collection = "
            f"{literal(collection)} AND calib_level = 2 AND lsst_band IS NOT NULL AND {OWN}",
            None,
        )
        return sorted(str(band) for (band,) in found)

    def find_templates(self, circle: Circle) -> list[TemplateRef]:
        """Templates of patches of the sky map in a circle, in the order in which they were built.
        Raises LimitError when there are more than MAX_CANDIDATES."""
        found = self._rows(
            "SELECT obs_publisher_did, lsst_tract, lsst_patch, lsst_band FROM ivoa.ObsCore "
            f"WHERE {_in_circle(circle)} AND dataproduct_subtype = "
            f"{literal(SUBTYPES['template'])} AND {CURRENT} AND lsst_tract IS NOT NULL "
            "AND lsst_patch IS NOT NULL AND lsst_band IS NOT NULL "
            "ORDER BY obs_creation_date, obs_publisher_did",
            MAX_CANDIDATES,
        )
        return [
            TemplateRef(str(name), int(tract), int(patch), str(band))
            for name, tract, patch, band in found
        ]

    def find_coadds(self, region: Region, band: str) -> list[PatchCoadd]:
        """Templates of patches near ``region`` in ``band``, the newest first."""
        found = [r for r in self.find_templates(bounding_circle(region)) if r.band == band]
        rows = {
            row.dataset_id: row for row in self._datasets.get_many([r.dataset_id for r in found])
        }
        return [
            PatchCoadd(r.tract, r.patch, self._with_members(self._candidate(rows[r.dataset_id])))
            for r in reversed(found)
            if r.dataset_id in rows
        ]

    def _identifiers(self, condition: str, limit: int | None) -> list[str]:
        """obs_publisher_did of the rows of a condition; LimitError if they are more."""
        query = f"SELECT obs_publisher_did FROM ivoa.ObsCore WHERE {condition}"
        return [str(name) for (name,) in self._rows(query, limit)]

    def _rows(self, adql: str, limit: int | None) -> list[tuple[Any, ...]]:
        return self._catalog.select(adql, limit, what="images looked at in one region")

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

    def _load(self, dataset_ids: Sequence[str]) -> list[Candidate]:
        return [self._candidate(row) for row in self._datasets.get_many(dataset_ids)]

    def _candidate(self, row: DatasetRow) -> Candidate:
        region = row.columns.get("s_region")
        return Candidate(
            ref=image_ref_of(row),
            region=None if region is None else parse_region(str(region)),
            exposure=exposure_of(row),
            calib_level=int(row.columns.get("calib_level") or 0),
            rights=row.rights,
        )


def image_ref_of(row: DatasetRow) -> ImageRef:
    """The image reference of a row; what it leaves open is taken from the published columns."""
    if row.is_external:
        where = row.columns.get("access_url") or "an address nobody gave"
        raise RecipeError(
            f"{row.dataset_id} lies at another service ({where}); "
            "only images of this one can be built from"
        )
    if row.is_buildable:
        raise RecipeError(f"{row.dataset_id} is not built; its link builds it")
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
    of a mosaic) were taken together. Plans and products tell the name: where the file lies is
    hashed.
    """
    visit = row.columns.get("lsst_visit")
    if visit is not None:
        return f"{row.columns.get('instrument_name')}/{visit}"
    place = hashlib.sha256(row.file_path.encode()).hexdigest()[:8]
    return f"{PurePath(row.file_path).name}/{place}"


def _in_circle(circle: Circle) -> str:
    centre = f"{circle.lon_deg!r}, {circle.lat_deg!r}"
    return f"INTERSECTS(s_region, CIRCLE({centre}, {circle.radius_deg!r})) = 1"


def _text(value: Value) -> str | None:
    return None if value is None else str(value)


def _first(known: float | None, value: Value) -> float | None:
    return known if known is not None or value is None else float(value)
