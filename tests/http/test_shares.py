"""Threads that accounts share: who has much to do does not hold up who has little."""

from __future__ import annotations

import asyncio
import threading

import pytest

from app.http.shares import SharedPlaces


def test_a_free_place_goes_to_who_holds_the_fewest() -> None:
    order: list[str] = []

    async def story() -> None:
        places, gate = SharedPlaces(2, "test"), threading.Event()

        async def ask(account: str, number: int) -> None:
            await places.of(account).run(gate.wait)
            order.append(f"{account} {number}")

        greedy = [asyncio.create_task(ask("greedy", number)) for number in range(6)]
        await asyncio.sleep(0)
        others = [asyncio.create_task(ask(account, 0)) for account in ("one", "two")]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*greedy, *others)

    asyncio.run(story())
    assert {"one 0", "two 0"} < set(order[:5])
    assert len(order) == 8


def test_who_gives_up_leaves_nothing_behind() -> None:
    async def story() -> None:
        places, gate = SharedPlaces(1, "test"), threading.Event()
        first = asyncio.create_task(places.run("a", gate.wait))
        await asyncio.sleep(0)
        second = asyncio.create_task(places.run("b", gate.wait))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        gate.set()
        assert await first
        with pytest.raises(ZeroDivisionError):
            await places.run("a", lambda: 1 // 0)
        assert await places.run("b", lambda: 3) == 3

    asyncio.run(story())


def test_who_is_cancelled_in_its_turn_passes_it_on() -> None:
    async def story() -> None:
        places, gate = SharedPlaces(1, "test"), threading.Event()
        first = asyncio.create_task(places.run("a", gate.wait))
        await asyncio.sleep(0)
        second = asyncio.create_task(places.run("b", gate.wait))
        await asyncio.sleep(0)
        gate.set()
        first.add_done_callback(lambda _: second.cancel())  # its turn has come, it did not run
        await first
        with pytest.raises(asyncio.CancelledError):
            await second
        assert await places.run("c", lambda: 3) == 3

    asyncio.run(story())
