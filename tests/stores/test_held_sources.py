"""Sources of differences that are not public: no query finds them before their release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from alembic import command
from alembic.config import Config

from app.schema.rows import DatasetRow, ProductQuality, SourceRow
from app.stores.database import write_transaction
from app.stores.metadata import MetadataStores
from app.stores.migrations import migrations_dir, upgrade
from tests.stores.contract import dataset, execute

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SHOWN = "SELECT dia_source_id FROM dia_source ORDER BY row_id"


def product(number: int, **columns: str | None) -> DatasetRow:
    """A difference with the rights of ``columns``."""
    return replace(dataset(number, **columns), origin="built", recipe_key=f"key-{number}")


def publish(stores: MetadataStores, row: DatasetRow, numbers: Sequence[int], now: datetime) -> None:
    """Publish a difference with the sources of these numbers."""
    sources: list[SourceRow] = [
        {"dia_source_id": each, "obs_publisher_did": row.dataset_id, "ra": 10.0, "dec": 0.1 * each}
        for each in numbers
    ]
    quality = ProductQuality(product_id=row.dataset_id, numbers={"n_dia_sources": len(sources)})
    stores.datasets.publish(
        row, [], quality, sources=sources, result_media_type="image/fits", now=now
    )


def shown(stores: MetadataStores) -> list[int]:
    """The sources that queries find."""
    return [int(row[0]) for row in execute(stores, SHOWN)]


@pytest.mark.parametrize(
    "rights",
    [
        {"data_rights": "proprietary"},
        {"data_rights": "secure"},
        {"data_rights": "proprietary", "obs_release_date": "2026-05-01T12:00:01"},
        {"obs_release_date": "some day"},
    ],
)
def test_sources_of_what_is_not_public_are_held(
    stores: MetadataStores, rights: dict[str, str]
) -> None:
    publish(stores, product(1), [1, 2], NOW)
    publish(stores, product(2, **rights), [3, 4], NOW)
    assert stores.datasets.release_sources(NOW) == 0
    assert shown(stores) == [1, 2]


def test_they_are_shown_from_their_release_on(stores: MetadataStores) -> None:
    until = {"data_rights": "proprietary", "obs_release_date": "2026-05-01T12:00:01"}
    publish(stores, product(1, **until), [1, 2], NOW)
    publish(stores, product(2, **until), [3], NOW)
    publish(stores, product(3, data_rights="proprietary"), [4], NOW)
    later = NOW + timedelta(seconds=1)
    assert stores.datasets.release_sources(later) == 3
    assert sorted(shown(stores)) == [1, 2, 3]
    assert stores.datasets.release_sources(later) == 0
    publish(stores, product(4, **until), [5], later)
    assert sorted(shown(stores)) == [1, 2, 3, 5]


def test_a_difference_that_is_built_again_has_its_sources_once(stores: MetadataStores) -> None:
    publish(stores, product(1, data_rights="proprietary"), [1, 2], NOW)
    publish(stores, product(1), [2, 3], NOW)
    assert shown(stores) == [2, 3]
    publish(stores, product(1, data_rights="proprietary"), [4], NOW)
    assert shown(stores) == []
    assert [tuple(row) for row in execute(stores, "SELECT dia_source_id FROM held_source")] == [
        (4,)
    ]


def test_they_go_with_their_image(stores: MetadataStores) -> None:
    row = product(1, data_rights="proprietary")
    publish(stores, row, [1], NOW)
    assert stores.datasets.withdraw([row.dataset_id]) == 1
    assert execute(stores, "SELECT * FROM held_source") == []


def test_sources_of_an_older_database_are_held_by_the_upgrade(stores: MetadataStores) -> None:
    publish(stores, product(1), [1], NOW)
    publish(stores, product(2, data_rights="proprietary"), [2, 3], NOW)
    past = {"data_rights": "proprietary", "obs_release_date": "2026-05-01"}
    publish(stores, product(3, **past), [4], NOW)
    with write_transaction(stores.engine) as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(migrations_dir()))
        command.downgrade(config, "0025")
    assert sorted(shown(stores)) == [1, 2, 3, 4]
    upgrade(stores.engine)
    assert sorted(shown(stores)) == [1, 4]
    held = execute(stores, "SELECT dia_source_id, release_date FROM held_source ORDER BY row_id")
    assert [tuple(row) for row in held] == [(2, None), (3, None)]
