"""Which images make the triplets of a place: exposures, their differences, what was subtracted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from app.errors import ParameterError, RecipeError
from app.pixels.grid import Grid
from app.recipes.recipe import ImageRef
from app.schema.access import ANYBODY, Identity
from app.schema.obscore import CALIBRATED
from app.schema.rows import DatasetRow, ProductInput
from app.services.access import GATE, Gate
from app.services.builds_candidates import image_ref_of
from app.services.builds_rows import MATCHED_SUBTYPE, SUBTYPES
from app.services.catalog_rows import CatalogRows
from app.services.place_images import find_images, middle_mjd
from app.services.stamp_request import StampRequest
from app.sky.shapes import Point
from app.stores.images import ImageStore
from app.stores.remote.addresses import is_remote
from app.stores.tables.datasets import DatasetStore
from app.stores.tables.rows import fold

Role = Literal["science", "template", "difference"]
TemplateOrigin = Literal["matched", "alike", "subtracted", "coadd"]
"""The template of a difference as a product of its own; the same where the difference was made by
another kernel; science less difference; or a template of the place that nothing was yet subtracted
with, resampled."""

MATCH_CARDS: Final = ("KERNSUM", "PHOTSCAL", "NSTAMPS")
"""Two products of the same inputs with these in common have the same matching kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StampEpoch:
    """The images of a triplet at position number ``position`` (from 1); ``ref`` and ``grid`` are
    those of the science image. ``missing`` tells why one is not there, ``note`` what else is to be
    said."""

    position: int
    point: Point
    science: DatasetRow
    ref: ImageRef
    grid: Grid
    difference: DatasetRow | None = None
    template: DatasetRow | None = None
    template_origin: TemplateOrigin | None = None
    missing: Mapping[Role, str] = field(default_factory=dict)
    note: str = ""

    @property
    def mid_mjd(self) -> float:
        """Middle of the exposure (UTC)."""
        return middle_mjd(self.ref.t_min, self.ref.t_max)


@dataclass(frozen=True, slots=True)
class StampEpochs:
    """In the order of positions, then of time; ``truncated``: older ones were left out; ``empty``:
    the numbers of positions that no image contains."""

    epochs: tuple[StampEpoch, ...]
    truncated: bool
    empty: tuple[int, ...]


class EpochFinder:
    """Finds them through the spatial index and provenance."""

    def __init__(
        self,
        *,
        datasets: DatasetStore,
        rows: CatalogRows,
        images: ImageStore,
        gate: Gate = GATE,
    ) -> None:
        self._gate = gate
        self._datasets = datasets
        self._rows = rows
        self._images = images

    def find(self, request: StampRequest, most: int, identity: Identity = ANYBODY) -> StampEpochs:
        """The epochs of a request, ``most`` of them: of a place the latest. Of images whose pixels
        someone may not have there are none.

        Raises ParameterError for an ID that is none of an exposure or a difference,
        DatasetNotFoundError, AuthenticationError, ForbiddenError, LimitError.
        """
        chosen = self._chosen(request.ids, identity)
        found: list[StampEpoch] = []
        empty: list[int] = []
        truncated = False
        for number, point in enumerate(request.positions, 1):
            there = self._science_at(point, request, chosen, identity)
            empty += [] if there else [number]
            kept = there[max(0, len(there) - (most - len(found))) :]
            truncated |= len(kept) < len(there)
            epochs = [
                StampEpoch(position=number, point=point, science=row, ref=ref, grid=grid)
                for row, ref, grid in kept
            ]
            found += self._completed(epochs, point, request, chosen, identity)
        return StampEpochs(tuple(found), truncated, tuple(empty))

    def _chosen(self, ids: Sequence[str], identity: Identity) -> dict[str, DatasetRow | None]:
        """Folded identifier of each exposure that is meant -> its difference, if that was named."""
        rows = self._datasets.resolve(ids)
        chosen: dict[str, DatasetRow | None] = {}
        for name in ids:
            row = rows.get(fold(name)) or self._datasets.get(name)
            self._gate.require(identity, row)
            if row.columns.get("calib_level") == CALIBRATED:
                chosen.setdefault(fold(row.dataset_id), None)
                continue
            science = row.difference_of or self._datasets.science_of([row.dataset_id]).get(
                row.dataset_id
            )
            if science is None or row.columns.get("dataproduct_subtype") != SUBTYPES["difference"]:
                reason = (
                    f"{row.dataset_id} is neither a calibrated exposure nor a difference of one"
                )
                raise ParameterError("ID", reason)
            chosen[fold(science)] = None if row.is_buildable else row
        return chosen

    def _science_at(
        self,
        point: Point,
        request: StampRequest,
        chosen: Mapping[str, DatasetRow | None],
        identity: Identity,
    ) -> list[tuple[DatasetRow, ImageRef, Grid]]:
        """The exposures of a place that have pixels there."""
        names = [
            name
            for name, _ in find_images(self._rows, point, request)
            if not request.ids or fold(name) in chosen
        ]
        found = []
        for row in self._gate.visible(identity, self._datasets.get_many(names)):
            try:
                ref = image_ref_of(row)
            except RecipeError:  # it has no pixel grid on the sky
                continue
            grid = Grid.from_text(ref.grid)
            x, y = (float(each) for each in grid.sky_to_pixel(point.lon_deg, point.lat_deg))
            ny, nx = grid.shape
            if -0.5 <= x < nx - 0.5 and -0.5 <= y < ny - 0.5:
                found.append((row, ref, grid))
        return found

    def _completed(
        self,
        epochs: Sequence[StampEpoch],
        point: Point,
        request: StampRequest,
        chosen: Mapping[str, DatasetRow | None],
        identity: Identity,
    ) -> Iterator[StampEpoch]:
        """With differences and templates."""
        names = [epoch.science.dataset_id for epoch in epochs]
        found = self._datasets.differences_of(names) if names else {}
        current = {
            name: row for name, row in found.items() if self._gate.may_read(identity, row.rights)
        }
        made = self._products(names, identity)
        coadds: dict[str, DatasetRow] | None = None
        for each in epochs:
            name = fold(each.science.dataset_id)
            products = made.get(name, [])
            difference = _difference(chosen.get(name), current.get(name), products)
            epoch = _with_difference(each, difference, current.get(name))
            if epoch.difference is not None:
                yield self._with_subtracted(epoch, epoch.difference, products)
                continue
            coadds = self._coadds(point, request, identity) if coadds is None else coadds
            yield _with_coadd(epoch, coadds.get(str(epoch.ref.band)))

    def _products(self, names: Sequence[str], identity: Identity) -> dict[str, list[DatasetRow]]:
        """Folded identifier of each exposure -> what was subtracted or matched with it, the newest
        first."""
        uses = self._datasets.products_of_all(names) if names else {}
        made = {
            name: [fold(use.product_id) for use in each if use.role == "science"]
            for name, each in uses.items()
        }
        wanted = [product for each in made.values() for product in each]
        seen = self._gate.visible(identity, self._datasets.get_many(wanted))
        rows = {fold(row.dataset_id): row for row in seen}
        return {
            name: sorted(
                (rows[product] for product in each if product in rows),
                key=lambda row: str(row.columns.get("obs_creation_date")),
                reverse=True,
            )
            for name, each in made.items()
        }

    def _with_subtracted(
        self, epoch: StampEpoch, difference: DatasetRow, products: Sequence[DatasetRow]
    ) -> StampEpoch:
        """The matched template of the same inputs, else science less difference."""
        matched = [r for r in products if _is_there(r, MATCHED_SUBTYPE)]
        alike = self._of_same_inputs(matched, difference)
        if alike:
            cards = self._cards(difference)
            same = next((row for row in alike if cards and self._cards(row) == cards), None)
            origin: TemplateOrigin = "alike" if same is None else "matched"
            return replace(epoch, template=same or alike[0], template_origin=origin)
        if image_ref_of(difference).grid == epoch.ref.grid:
            return replace(epoch, template_origin="subtracted")
        reason = "the difference has other pixels than the science image"
        return replace(epoch, missing={**epoch.missing, "template": reason})

    def _of_same_inputs(
        self, matched: Sequence[DatasetRow], difference: DatasetRow
    ) -> list[DatasetRow]:
        if not matched:
            return []
        names = [difference.dataset_id, *(row.dataset_id for row in matched)]
        inputs = self._datasets.inputs_of_all(names)
        wanted = _inputs(inputs.get(fold(difference.dataset_id), ()))
        return [r for r in matched if _inputs(inputs.get(fold(r.dataset_id), ())) == wanted]

    def _cards(self, row: DatasetRow) -> dict[str, float]:
        """What tells its matching kernel; nothing where the file does not tell all of it."""
        cards = self._images.read_cards(image_ref_of(row), MATCH_CARDS)
        return cards if len(cards) == len(MATCH_CARDS) else {}

    def _coadds(
        self, point: Point, request: StampRequest, identity: Identity
    ) -> dict[str, DatasetRow]:
        """Band -> the newest template of the place."""
        choice = StampRequest(positions=(point,), bands=request.bands, kinds=("template",))
        names = [name for name, _ in find_images(self._rows, point, choice)]
        rows = sorted(
            self._gate.visible(
                identity, [row for row in self._datasets.get_many(names) if row.image_ref]
            ),
            key=lambda row: (str(row.columns.get("obs_creation_date") or ""), row.dataset_id),
        )
        return {str(row.columns.get("lsst_band")): row for row in rows}


def _difference(
    named: DatasetRow | None, current: DatasetRow | None, products: Sequence[DatasetRow]
) -> DatasetRow | None:
    """The one that was asked for, else the default one, else the newest of those with options."""
    if named is not None:
        return named
    if current is not None and not current.is_buildable and not current.is_stale:
        return current
    built = [row for row in products if _is_there(row, SUBTYPES["difference"])]
    fresh = next((row for row in built if not row.is_stale), None)
    stale = current if current is not None and not current.is_buildable else None
    return fresh or stale or (built[0] if built else None)


def _is_there(row: DatasetRow, subtype: str) -> bool:
    return (
        row.columns.get("dataproduct_subtype") == subtype
        and not row.is_buildable
        and (is_remote(row.file_path) or Path(row.file_path).is_file())
    )


def _with_difference(
    epoch: StampEpoch, difference: DatasetRow | None, current: DatasetRow | None
) -> StampEpoch:
    if difference is not None:
        note = "the difference is stale: an input was changed since" if difference.is_stale else ""
        return replace(epoch, difference=difference, note=note)
    can_be = current is not None and current.is_buildable
    reason = "not built yet; BUILD=true builds it" if can_be else "none was made"
    return replace(epoch, missing={"difference": reason})


def _with_coadd(epoch: StampEpoch, coadd: DatasetRow | None) -> StampEpoch:
    if coadd is not None:
        return replace(epoch, template=coadd, template_origin="coadd")
    reason = f"nothing was subtracted, and no template of band {epoch.ref.band} was built here"
    return replace(epoch, missing={**epoch.missing, "template": reason})


def _inputs(uses: Sequence[ProductInput]) -> set[tuple[str, str]]:
    return {(fold(use.input_id), use.input_checksum) for use in uses if not use.rejected}
