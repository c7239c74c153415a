"""The list of differences that can be built, and the states of products, on both engines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from app.schema.rows import DatasetRow, ProductInput, ProductQuality
from app.stores.metadata import MetadataStores
from app.stores.tables.difference_store import ChangedPlace, Settlement
from tests.stores.contract import NOW, dataset, execute, product

FIRST, SECOND = dataset(1), dataset(2)


def promise(exposure: DatasetRow, number: int = 9) -> DatasetRow:
    """The row of a difference that can be built."""
    row = dataset(number, build_state="buildable")
    return replace(row, origin="virtual", file_path="", difference_of=exposure.dataset_id)


def publish(
    stores: MetadataStores,
    key: str,
    inputs: Sequence[DatasetRow],
    *,
    of: DatasetRow | None = None,
    rejected: str | None = None,
) -> DatasetRow:
    """A product of some inputs."""
    row = product(int(key), key)
    columns = {**row.columns, "build_state": "built"}
    row = replace(row, columns=columns, difference_of=None if of is None else of.dataset_id)
    uses = [
        ProductInput(
            product_id=row.dataset_id,
            input_id=each.dataset_id,
            role="template",
            rejected=rejected,
            input_checksum=each.file_checksum,
        )
        for each in inputs
    ]
    quality = ProductQuality(product_id=row.dataset_id, numbers={})
    stores.datasets.publish(row, uses, quality, result_media_type="application/fits", now=NOW)
    return row


def state_of(stores: MetadataStores, row: DatasetRow) -> object:
    return stores.datasets.get_many([row.dataset_id])[0].columns.get("build_state")


def places(stores: MetadataStores) -> list[ChangedPlace]:
    until = stores.differences.newest_place()
    return [] if until is None else stores.differences.places(until=until, most=1000)


def looked_at(stores: MetadataStores) -> None:
    stores.differences.settle(Settlement(), places(stores))
    assert stores.differences.newest_place() is None


def test_places_are_noted_until_they_are_looked_at(stores: MetadataStores) -> None:
    assert stores.differences.newest_place() is None
    stores.datasets.upsert([FIRST, SECOND, dataset(3, calib_level=1), dataset(4, lsst_band=None)])
    assert [(each.s_region, each.band, each.thorough) for each in places(stores)] == [
        (row.columns["s_region"], "i", False) for row in (FIRST, SECOND)
    ]
    looked_at(stores)
    stores.datasets.upsert([FIRST])
    assert stores.differences.newest_place() is None
    moved = dataset(1, region="POLYGON ICRS 50 0 50.2 0 50.2 0.2 50 0.2")
    stores.datasets.upsert([moved])
    assert {each.s_region for each in places(stores)} == {
        FIRST.columns["s_region"],
        moved.columns["s_region"],
    }
    assert all(each.thorough for each in places(stores))
    looked_at(stores)
    stores.datasets.withdraw([moved.dataset_id])
    assert [each.thorough for each in places(stores)] == [True]


def test_an_exposure_has_one_row_for_its_difference(stores: MetadataStores) -> None:
    stores.datasets.upsert([FIRST])
    listed = Settlement(listed=[promise(FIRST)])
    assert stores.differences.settle(listed) == 1
    assert stores.differences.settle(listed) == 0
    one = publish(stores, "1", [FIRST], of=FIRST)
    other = publish(stores, "2", [FIRST], of=FIRST)
    assert stores.differences.settle(listed) == 0
    query = "SELECT obs_publisher_did, difference_of FROM obscore WHERE origin <> 'ingested'"
    assert {tuple(row) for row in execute(stores, query)} == {
        (one.dataset_id, None),
        (other.dataset_id, FIRST.dataset_id.lower()),
    }
    publish(stores, "2", [FIRST])
    (kept,) = stores.datasets.differences_of([FIRST.dataset_id.upper()]).values()
    assert kept.dataset_id == other.dataset_id


def test_nothing_is_promised_of_what_is_not_there(stores: MetadataStores) -> None:
    assert stores.differences.settle(Settlement(listed=[promise(FIRST)])) == 0
    stores.datasets.upsert([FIRST])
    stores.differences.settle(Settlement(listed=[promise(FIRST)]))
    assert stores.datasets.withdraw([FIRST.dataset_id]) == 1
    assert execute(stores, "SELECT * FROM obscore") == []


def change(row: DatasetRow) -> Callable[[MetadataStores], object]:
    return lambda stores: stores.datasets.upsert([replace(row, file_checksum="other")])


def remove(row: DatasetRow) -> Callable[[MetadataStores], object]:
    return lambda stores: stores.datasets.withdraw([row.dataset_id.upper()])


@pytest.mark.parametrize("happens", [change(FIRST), remove(FIRST)])
def test_states_follow_inputs_through_all_products(
    stores: MetadataStores, happens: Callable[[MetadataStores], object]
) -> None:
    stores.datasets.upsert([FIRST, SECOND])
    of_first, of_second = publish(stores, "1", [FIRST]), publish(stores, "2", [SECOND])
    of_product = publish(stores, "3", [of_first, SECOND], of=SECOND)
    left_out = publish(stores, "4", [FIRST], rejected="too small")
    looked_at(stores)
    happens(stores)
    assert [state_of(stores, row) for row in (of_first, of_product)] == ["stale"] * 2
    assert [state_of(stores, row) for row in (of_second, left_out)] == ["built"] * 2
    assert of_product.columns["s_region"] in {each.s_region for each in places(stores)}
    stores.datasets.upsert([FIRST])
    assert [state_of(stores, row) for row in (of_first, of_product)] == ["built"] * 2


def test_what_is_published_after_its_input_changed_is_stale(stores: MetadataStores) -> None:
    stores.datasets.upsert([replace(FIRST, file_checksum="new")])
    assert state_of(stores, publish(stores, "1", [FIRST])) == "stale"


def test_products_and_promises_at_the_same_moment(stores: MetadataStores) -> None:
    """Whoever is first, the product stays."""
    exposures = [dataset(number) for number in range(20, 28)]
    stores.datasets.upsert(exposures)
    together = threading.Barrier(2)

    def write(work: Callable[[int, DatasetRow], object]) -> None:
        together.wait(60)
        for number, row in enumerate(exposures):
            work(number, row)

    def build(number: int, row: DatasetRow) -> object:
        return publish(stores, str(number), [row], of=row)

    def listing(number: int, row: DatasetRow) -> object:
        return stores.differences.settle(Settlement(listed=[promise(row, 50 + number)]))

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(write, work) for work in (build, listing)]:
            done.result()
    found = stores.datasets.differences_of([row.dataset_id for row in exposures])
    assert [row.origin for row in found.values()] == ["built"] * len(exposures)
    assert execute(stores, "SELECT * FROM obscore WHERE origin = 'virtual'") == []
