"""Candidates for many builds of a moment, neighbours on the sky: read once for all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from app.errors import LimitError
from app.recipes.select import Candidate
from app.schema.catalog import CatalogSource
from app.services.builds_candidates import MAX_CANDIDATES, CandidateFinder
from app.sky.predicates import bounding_circle
from app.sky.shapes import Circle, Region
from app.sky.vectors import unit_vector
from app.stores.tables.base import TableStore
from app.stores.tables.datasets import DatasetStore

REACH: Final = 6.0
"""How much wider than what is asked about is read."""
_MARGIN_RAD: Final = 1e-9


@dataclass(frozen=True, slots=True)
class _Area:
    """Every candidate of a band that touches a circle, with the circles about them (unit vectors
    of their centres, radii in rad)."""

    circle: Circle
    band: str
    candidates: tuple[Candidate, ...]
    centres: Any
    radii: Any

    def contains(self, circle: Circle, band: str) -> bool:
        apart = _separation(_centre(self.circle), _centre(circle))
        inside = math.radians(self.circle.radius_deg - circle.radius_deg)
        return band == self.band and bool(apart <= inside)

    def near(self, circle: Circle) -> list[Candidate]:
        """Those whose circles touch another."""
        reach = self.radii + math.radians(circle.radius_deg) + _MARGIN_RAD
        touching = _separation(self.centres, _centre(circle)) <= reach
        return [self.candidates[place] for place in np.flatnonzero(touching)]


class RememberingFinder(CandidateFinder):
    """Knows exposures as they were when a wider area about them was read first.

    What lies near a region is told by the circles about the images, so that a few more are told
    than truly touch it. To be made to :meth:`forget`.
    """

    def __init__(
        self, *, datasets: DatasetStore, tables: TableStore, catalogs: CatalogSource
    ) -> None:
        super().__init__(datasets=datasets, tables=tables, catalogs=catalogs)
        self._areas: list[_Area] = []
        self._known: dict[str, Candidate] = {}

    def forget(self) -> None:
        """Read again what is asked for."""
        self._areas.clear()
        self._known.clear()

    def get(self, dataset_id: str) -> Candidate:
        """See :meth:`CandidateFinder.get`."""
        found = self._known.get(dataset_id)
        return super().get(dataset_id) if found is None else found

    def find(self, region: Region, band: str) -> tuple[Candidate, ...]:
        """See :meth:`CandidateFinder.find`."""
        circle = bounding_circle(region)
        area = self._area(circle, band)
        return super().find(region, band) if area is None else tuple(area.near(circle))

    def find_near(self, circle: Circle, band: str) -> list[str]:
        """See :meth:`CandidateFinder.find_near`."""
        area = self._area(circle, band)
        if area is None:
            return super().find_near(circle, band)
        return [each.dataset_id for each in area.near(circle)]

    def _area(self, circle: Circle, band: str) -> _Area | None:
        """One that contains a circle; None where so many images are that they are asked for one
        by one."""
        for area in reversed(self._areas):
            if area.contains(circle, band):
                return area
        wide = Circle(circle.lon_deg, circle.lat_deg, min(180.0, REACH * circle.radius_deg))
        try:
            found = self._read(wide, band)
        except LimitError:
            return None
        if len(self._known) + len(found.candidates) > MAX_CANDIDATES:
            self.forget()
        self._areas.append(found)
        self._known |= {each.dataset_id: each for each in found.candidates}
        return found

    def _read(self, circle: Circle, band: str) -> _Area:
        names = super().find_near(circle, band)
        if len(names) > MAX_CANDIDATES:
            raise LimitError("images remembered", len(names), MAX_CANDIDATES)
        candidates = [each for each in self._load(names) if each.region is not None]
        circles = [bounding_circle(each.region) for each in candidates if each.region is not None]
        return _Area(
            circle=circle,
            band=band,
            candidates=tuple(candidates),
            centres=np.array([_centre(each) for each in circles]).reshape(-1, 3),
            radii=np.radians([each.radius_deg for each in circles]),
        )


def _centre(circle: Circle) -> Any:
    return np.array(unit_vector(circle.lon_deg, circle.lat_deg))


def _separation(vectors: Any, other: Any) -> Any:
    """Angles (rad) between unit vectors; by their chord, which is exact for small ones."""
    chord = np.linalg.norm(vectors - other, axis=-1)
    return 2.0 * np.arcsin(np.clip(0.5 * chord, 0.0, 1.0))
