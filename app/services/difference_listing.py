"""Which exposures have a difference that can be built: each is a row of ObsCore.

It is looked at wherever exposures came, changed or went, with the very choice that a build makes.
An exposure that came makes templates possible for those that had none; of the others nothing needs
to be asked. One that changed or went may leave any of those around it without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app.errors import ServiceError, TransientError
from app.schema.access import OPERATOR
from app.schema.rows import DatasetRow
from app.services.build_planner import BuildPlanner, default_difference
from app.services.build_sizes import bytes_per_pixel
from app.services.builds import find_product
from app.services.remembered_candidates import RememberingFinder
from app.services.virtual_rows import virtual_row
from app.sky.predicates import bounding_circle
from app.sky.stcs import parse_region
from app.stores.data_folder import PRODUCTS
from app.stores.kept_files import THIS_MACHINE, KeptFiles
from app.stores.tables.datasets import DatasetStore
from app.stores.tables.difference_store import ChangedPlace, DifferenceStore, Settlement
from app.stores.tables.rows import fold

PLACES_AT_ONCE: Final = 200
"""Written in one transaction."""


class DifferenceListing:
    """Keeps the list. ``planner`` chooses among the exposures that ``finder`` remembers."""

    def __init__(
        self,
        *,
        datasets: DatasetStore,
        differences: DifferenceStore,
        finder: RememberingFinder,
        planner: BuildPlanner,
        files: KeptFiles = THIS_MACHINE,
    ) -> None:
        self._files = files
        self._datasets = datasets
        self._differences = differences
        self._finder = finder
        self._planner = planner

    def update(self) -> int:
        """Look at every place that changed; how many rows came, changed or went.

        What breaks off is gone on with by the next call. Raises StoreUnavailableError.
        """
        changed = 0
        while (until := self._differences.newest_place()) is not None:
            self._finder.forget()
            examined: set[str] = set()
            while places := self._differences.places(until=until, most=PLACES_AT_ONCE):
                names = [name for name in self._due(places) if name not in examined]
                examined.update(names)
                changed += self._differences.settle(self._examine(names), places)
        return changed

    def check_files(self) -> None:
        """Differences whose files were deleted can be built again.

        Raises RemoteUnavailableError.
        """
        files = self._differences.current_files()
        find = self._files.look(PRODUCTS)
        lost = [name for name, path in files.items() if find(path) is None]
        self._differences.note_files(lost=lost, there=sorted(files.keys() - set(lost)))

    def _due(self, places: Sequence[ChangedPlace]) -> list[str]:
        """Exposures at these places whose difference is not known, or not any more."""
        near: dict[str, bool] = {}
        for place in places:
            circle = bounding_circle(parse_region(place.s_region))
            for name in self._finder.find_near(circle, place.band):
                near[name] = near.get(name, False) or place.thorough
        current = self._datasets.differences_of(list(near))
        return [
            name for name, thorough in near.items() if _is_due(current.get(fold(name)), thorough)
        ]

    def _examine(self, names: Sequence[str]) -> Settlement:
        listed: list[str] = []
        built: dict[str, str] = {}
        impossible: list[str] = []
        for name in names:
            key = self._key(name)
            product = None if key is None else find_product(self._datasets, key, self._files)
            if key is None:
                impossible.append(name)
            elif product is None:
                listed.append(name)
            else:
                built[name] = product.dataset_id
        each = bytes_per_pixel(self._datasets, "difference") if listed else 0.0
        rows = [virtual_row(row, bytes_per_pixel=each) for row in self._datasets.get_many(listed)]
        return Settlement(
            listed=[row for row in rows if row is not None], built=built, impossible=impossible
        )

    def _key(self, name: str) -> str | None:
        """The recipe of the default difference of an exposure; None when there is none."""
        try:
            recipe, _ = self._planner.prepare("difference", default_difference(name), OPERATOR)
        except TransientError:
            raise
        except ServiceError:
            return None
        return recipe.key()


def _is_due(current: DatasetRow | None, thorough: bool) -> bool:
    if current is None or current.is_stale:
        return True
    return thorough and current.origin == "virtual"
