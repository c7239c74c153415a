"""What the front page counts, and how often."""

from __future__ import annotations

from app.pages.holdings import KEPT_FOR, HoldingsCounter
from app.services.query import QueryService
from app.stores.metadata import MetadataStores
from tests.stores.contract import dataset

HERE = "http://sky.test"


class _Clock:
    """Each look at it is ``step_s`` after the one before."""

    def __init__(self) -> None:
        self.now_s, self.step_s = 0.0, 0.001

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


def _counter(stores: MetadataStores) -> tuple[HoldingsCounter, _Clock]:
    clock = _Clock()
    queries = QueryService(
        tables=stores.tables,
        catalogs=stores.catalogs,
        default_rows=50,
        max_rows=70,
        time_limit_s=300,
    )
    return HoldingsCounter(queries=queries, clock_s=clock), clock


def test_a_small_table_is_counted_whenever_it_is_asked(stores: MetadataStores) -> None:
    counter, _ = _counter(stores)
    for n in range(3):
        stores.datasets.upsert([dataset(n, lsst_band="r")])
        assert counter.count(HERE).images == n + 1


def test_counts_that_took_long_are_kept_and_made_anew_later(stores: MetadataStores) -> None:
    counter, clock = _counter(stores)
    stores.datasets.upsert([dataset(1, lsst_band="r")])
    clock.step_s = 2.0
    assert counter.count(HERE).images == 1
    stores.datasets.upsert([dataset(2, lsst_band="g")])
    clock.step_s = 0.001
    assert counter.count(HERE).images == 1
    clock.now_s += KEPT_FOR * 2.0
    found = counter.count(HERE)
    assert found.images == 2 and found.bands == ["g", "r"]
