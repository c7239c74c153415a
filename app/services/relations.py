"""What datasets have to do with each other, of all datasets of a request at once, as links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.schema.obscore import CALIBRATED
from app.schema.rows import DatasetRow, ProductInput
from app.services.builds_rows import is_built_difference
from app.services.link_rows import (
    coderived_links,
    dataset_link,
    describe_input,
    sources_link,
)
from app.stores.tables.datasets import DatasetStore
from app.stores.tables.rows import fold
from app.votable.datalink import Link


@dataclass(frozen=True, slots=True)
class Relations:
    """By folded identifier: the ``inputs`` that products were made of and the ``uses`` of datasets
    in products, those left out absent; the ``products``; the rows of ``exposures`` of virtual
    differences, and the ``differences`` of exposures."""

    inputs: Mapping[str, Sequence[ProductInput]]
    uses: Mapping[str, Sequence[ProductInput]]
    products: Mapping[str, DatasetRow]
    exposures: Mapping[str, DatasetRow]
    differences: Mapping[str, DatasetRow]

    @classmethod
    def of(cls, datasets: DatasetStore, rows: Sequence[DatasetRow]) -> Relations:
        """The relations of ``rows``."""
        names = [row.dataset_id for row in rows]
        uses = _used(datasets.products_of_all(names))
        products = {use.product_id for each in uses.values() for use in each}
        virtual = [row.difference_of for row in rows if row.origin == "virtual"]
        calibrated = [row.dataset_id for row in rows if _is_calibrated(row)]
        return cls(
            _used(datasets.inputs_of_all(names)),
            uses,
            _by_name(datasets.get_many(sorted(products))),
            _by_name(datasets.get_many([name for name in virtual if name is not None])),
            datasets.differences_of(calibrated),
        )

    def links(self, row: DatasetRow, service_url: str, *, is_public: bool) -> Iterator[Link]:
        """To what ``row`` was made of, what was or can be made of it, and its like; to what was
        found on it where its pixels are for everybody."""
        name = fold(row.dataset_id)
        for used in self.inputs.get(name, ()):
            told = describe_input(used)
            yield dataset_link(row, used.input_id, service_url, "#progenitor", told)
        yield from self._derivations(row, service_url)
        yield from self._promised(row, service_url)
        if is_public and is_built_difference(row):
            yield sources_link(row, service_url)
        yield from coderived_links(row, service_url)

    def _derivations(self, row: DatasetRow, service_url: str) -> Iterator[Link]:
        for use in self.uses.get(fold(row.dataset_id), ()):
            product = self.products.get(fold(use.product_id))
            if product is not None:
                kind = product.columns.get("dataproduct_subtype") or "product"
                told = f"{kind} that has this dataset as {use.role} input"
                yield dataset_link(row, product.dataset_id, service_url, "#derivation", told)

    def _promised(self, row: DatasetRow, service_url: str) -> Iterator[Link]:
        """Of a virtual row its exposure, and of an exposure its virtual row."""
        if row.origin == "virtual" and row.difference_of is not None:
            science = self.exposures.get(fold(row.difference_of))
            if science is not None:
                told = f"{science.dataset_id}: the science image"
                yield dataset_link(row, science.dataset_id, service_url, "#progenitor", told)
        elif _is_calibrated(row):
            other = self.differences.get(fold(row.dataset_id))
            if other is not None and other.origin == "virtual":
                told = "Its difference image, built on first use"
                yield dataset_link(row, other.dataset_id, service_url, "#derivation", told)


def _is_calibrated(row: DatasetRow) -> bool:
    return row.columns.get("calib_level") == CALIBRATED


def _used(found: Mapping[str, Sequence[ProductInput]]) -> dict[str, list[ProductInput]]:
    return {name: [each for each in uses if not each.rejected] for name, uses in found.items()}


def _by_name(rows: Sequence[DatasetRow]) -> dict[str, DatasetRow]:
    return {fold(row.dataset_id): row for row in rows}
