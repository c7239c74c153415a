"""What a server does by itself: products make room, sources are shown from their release on."""

from __future__ import annotations

import time
from datetime import timedelta

from app.services.eviction import EvictionRule, EvictionService
from app.services.keeper import Keeper
from app.stores.kept_files import KeptFiles
from app.stores.tables.product_store import ProductStore
from tests.services.builds_fixture import Field, now
from tests.services.test_eviction import file_of, unused
from tests.services.test_virtual_products import build
from tests.stores.test_held_sources import product, publish, shown
from tests.waiting import wait_for


def test_products_go_and_sources_come(field: Field) -> None:
    path = file_of(field, build(field))
    publish(field.stores, product(1, obs_release_date="2026-05-01"), [1, 2], now())
    held = product(2, obs_release_date=(now() + timedelta(days=1)).isoformat())
    publish(field.stores, held, [3], now())
    files = KeptFiles(field.folder)
    eviction = EvictionService(
        products=ProductStore(engine=field.stores.engine, files=files),
        files=files,
        rule=EvictionRule(max_bytes=0, unused_days=9, grace_s=60.0),
        clock_s=time.time,
        relist=field.listing.update,
    )
    tomorrow = now() + timedelta(days=1)
    keeper = Keeper(
        eviction, field.stores.datasets, clock=lambda: tomorrow, every_s=0.05, first_s=0.0
    )
    keeper.start()
    try:
        wait_for(lambda: 3 in shown(field.stores))
        assert path.exists()
        unused(path, 10)
        wait_for(lambda: not path.exists())
    finally:
        keeper.stop()
