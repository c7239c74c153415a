"""Light curves: forced photometry at places on all images that contain them."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import hypot, isnan, nan
from typing import Final

from app.errors import RecipeError
from app.schema.access import ANYBODY, Identity
from app.schema.rows import DatasetRow
from app.services.access import GATE, Gate
from app.services.builds_candidates import image_ref_of
from app.services.catalog_rows import CatalogRows, literal
from app.services.forced_photometry import ForcedPhotometer, Measurement
from app.services.light_curve_request import LightCurveRequest
from app.services.place_images import ImageKind, find_images, middle_mjd
from app.sky.shapes import Point
from app.stores.tables.datasets import DatasetStore

AT_ONCE: Final = 32
"""Images measured before their rows leave."""
THREADS: Final = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What was measured at position number ``position`` (from 1) on one image.

    ``template_flux`` (nJy): at the place on the template of a difference, as the flux of its
    science image less that of the difference; NaN for other images.
    """

    position: int
    point: Point
    kind: ImageKind
    row: DatasetRow
    measured: Measurement
    template_flux: float = nan

    @property
    def mid_mjd(self) -> float:
        """Middle of the exposure (UTC); of a template's, from the first to the last."""
        return middle_mjd(self.row.columns.get("t_min"), self.row.columns.get("t_max"))


class LightCurveService:
    """Finds the images of a place through the spatial index and measures them in threads."""

    def __init__(
        self,
        *,
        datasets: DatasetStore,
        rows: CatalogRows,
        photometer: ForcedPhotometer,
        gate: Gate = GATE,
    ) -> None:
        self._gate = gate
        self._datasets = datasets
        self._rows = rows
        self._photometer = photometer
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="photometry")

    def measure(
        self, request: LightCurveRequest, identity: Identity = ANYBODY
    ) -> Generator[list[Epoch], None, None]:
        """Epochs by position, then by time; images without pixels at a place give none, nor do
        those whose pixels someone may not have.

        They come as they are measured, in short lists. Raises LimitError when MAX_IMAGES contain a
        position.
        """
        for number, point in enumerate(request.positions, 1):
            yield from self._measure_at(number, point, request, identity)

    def _measure_at(
        self, number: int, point: Point, request: LightCurveRequest, identity: Identity
    ) -> Iterator[list[Epoch]]:
        found = find_images(self._rows, point, request)
        for start in range(0, len(found), AT_ONCE):
            kinds = dict(found[start : start + AT_ONCE])
            differences = [name for name, kind in kinds.items() if kind == "difference"]
            science_of = self._datasets.science_of(differences)
            names = list(dict.fromkeys((*kinds, *science_of.values())))
            seen = self._gate.visible(identity, self._datasets.get_many(names))
            rows = {row.dataset_id: row for row in seen}
            measured = self._measure_rows(list(rows.values()), point, request)
            left = self._star_residuals(differences)
            epochs = []
            for name, kind in kinds.items():
                if name in measured:
                    template_flux = _template_flux(measured, name, science_of.get(name))
                    told = _with_residual(measured[name], left.get(name), template_flux)
                    epochs.append(
                        Epoch(
                            position=number,
                            point=point,
                            kind=kind,
                            row=rows[name],
                            measured=told,
                            template_flux=template_flux,
                        )
                    )
            yield epochs

    def _star_residuals(self, differences: Sequence[str]) -> dict[str, float]:
        """What is left of stars on differences, as far as that is known."""
        if not differences:
            return {}
        adql = (
            "SELECT obs_publisher_did, star_residual FROM skyloom.build_quality "
            f"WHERE obs_publisher_did IN ({', '.join(map(literal, differences))}) "
            "AND star_residual IS NOT NULL"
        )
        return dict(self._rows.select(adql, len(differences), what="differences of a position"))

    def _measure_rows(
        self, rows: Sequence[DatasetRow], point: Point, request: LightCurveRequest
    ) -> dict[str, Measurement]:
        def measure(row: DatasetRow) -> Measurement | None:
            try:
                ref = image_ref_of(row)
            except RecipeError:  # it has no pixel grid on the sky
                return None
            return self._photometer.measure(
                ref, point, subtract_background=request.subtract_background
            )

        found = zip(rows, self._threads.map(measure, rows), strict=True)
        return {row.dataset_id: each for row, each in found if each is not None}


def _with_residual(
    measured: Measurement, star_residual: float | None, template_flux: float
) -> Measurement:
    """With the error of what the subtraction leaves of the template's flux."""
    if star_residual is None or isnan(template_flux):
        return measured
    error = hypot(measured.error, star_residual * template_flux)
    return replace(measured, error=error, snr=measured.flux / error if error > 0 else nan)


def _template_flux(
    measured: Mapping[str, Measurement], difference: str, science: str | None
) -> float:
    if science is None or science not in measured:
        return nan
    return measured[science].flux - measured[difference].flux
