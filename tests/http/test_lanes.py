"""Places for queries: short ones pass long ones, and waiting has its bounds."""

from __future__ import annotations

import asyncio
import threading

import pytest

from app.errors import TooBusyError
from app.http.lanes import QueryLanes, Slot
from app.stores.tables.control import Pace


def test_a_short_query_passes_the_long_ones() -> None:
    order: list[str] = []

    async def ask(lanes: QueryLanes, name: str, until: threading.Event | None) -> None:
        slot = await lanes.enter()
        try:
            await lanes.run(until.wait if until else (lambda: None))
            order.append(name)
        finally:
            slot.leave()

    async def story() -> None:
        lanes = QueryLanes(short=1, long=2, long_after_s=0.01)
        gates = [threading.Event(), threading.Event()]
        long = [asyncio.create_task(ask(lanes, f"long {n}", gate)) for n, gate in enumerate(gates)]
        await asyncio.sleep(0)
        await ask(lanes, "short", None)
        for gate, task in zip(gates, long, strict=True):
            gate.set()
            await task

    asyncio.run(story())
    assert order == ["short", "long 0", "long 1"]


def test_too_many_that_wait_are_sent_away() -> None:
    async def story() -> None:
        lanes = QueryLanes(short=1, long=0, waiting=1, patience_s=30, long_after_s=30)
        first = await lanes.enter()
        second = asyncio.create_task(lanes.enter())
        await asyncio.sleep(0)
        with pytest.raises(TooBusyError):
            await lanes.enter()
        first.leave()
        (await second).leave()
        (await lanes.enter()).leave()

    asyncio.run(story())


def test_waiting_ends_with_patience_and_leaves_nothing_behind() -> None:
    async def story() -> None:
        lanes = QueryLanes(short=1, long=0, waiting=5, patience_s=0.01, long_after_s=30)
        first = await lanes.enter()
        with pytest.raises(TooBusyError):
            await lanes.enter()
        leaver = asyncio.create_task(lanes.enter())
        await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.wait([leaver])
        first.leave()
        first.leave()
        (await lanes.enter()).leave()

    asyncio.run(story())


def test_an_overdue_query_moves_when_a_long_place_is_free() -> None:
    async def story() -> None:
        lanes = QueryLanes(short=1, long=1, patience_s=30, long_after_s=0.0)
        slots: list[Slot] = []
        for _ in range(2):
            slots.append(await lanes.enter())
            await asyncio.sleep(0.01)
        waiting = asyncio.create_task(lanes.enter())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        slots[0].leave()  # the second one becomes long, its short place is free
        slots.append(await waiting)
        for slot in slots[1:]:
            slot.leave()
        again = await lanes.enter()
        again.leave()

    asyncio.run(story())


def test_a_place_goes_to_who_holds_the_fewest_and_the_last_ones_to_nobody_alone() -> None:
    order: list[str] = []

    async def ask(lanes: QueryLanes, account: str) -> None:
        slot = await lanes.enter(account)
        order.append(account)
        await asyncio.sleep(0)
        slot.leave()

    async def story() -> None:
        lanes = QueryLanes(short=2, long=0, waiting=100, long_after_s=30)
        greedy = [asyncio.create_task(ask(lanes, "greedy")) for _ in range(50)]
        await asyncio.sleep(0)
        assert order == ["greedy"]
        await ask(lanes, "other")
        assert order.index("other") <= 2
        await asyncio.gather(*greedy)

    asyncio.run(story())
    assert sorted(order) == ["greedy"] * 50 + ["other"]


def test_who_waits_the_most_is_sent_away_first() -> None:
    async def story() -> None:
        lanes = QueryLanes(short=1, long=0, waiting=3, long_after_s=30)
        first = await lanes.enter("greedy")
        greedy = [asyncio.create_task(lanes.enter("greedy")) for _ in range(3)]
        await asyncio.sleep(0)
        other = asyncio.create_task(lanes.enter("other"))
        with pytest.raises(TooBusyError):
            await greedy[-1]
        assert not any(task.done() for task in (*greedy[:-1], other))
        first.leave()
        (await greedy[0]).leave()
        (await other).leave()
        (await greedy[1]).leave()

    asyncio.run(story())


def test_long_queries_of_one_account_do_not_take_the_places_of_another() -> None:
    async def story() -> None:
        lanes = QueryLanes(short=4, long=5, long_each=2, waiting=9, long_after_s=0.0)
        greedy = [await _settled(lanes, "greedy") for _ in range(4)]
        waiting = asyncio.create_task(lanes.enter("greedy"))
        others = [await _settled(lanes, "other") for _ in range(3)]
        assert not waiting.done()
        greedy[0].leave()  # a third one of its moves to the long places
        slot = await waiting
        for each in (*greedy, *others, slot):
            each.leave()

    asyncio.run(story())


def test_long_queries_rest_while_others_ask_something_short() -> None:
    async def story() -> None:
        lanes = QueryLanes(short=4, long=4, long_after_s=0.0, cores=2)
        paces = [Pace() for _ in range(3)]
        long = [await _settled(lanes, "greedy", pace) for pace in paces]
        await _all_run(paces)
        short = await lanes.enter("other")
        assert [pace.rest for pace in paces] == [2.0, 2.0, 2.0]  # one core for three
        short.leave()
        assert paces[0].rest == 2.0  # a moment longer
        await _all_run(paces)
        for slot in long[1:]:
            slot.leave()
        (await lanes.enter("other")).leave()
        assert paces[0].rest == 0.0  # one leaves a core free
        long[0].leave()

    asyncio.run(asyncio.wait_for(story(), 30))


async def _settled(lanes: QueryLanes, account: str, pace: Pace | None = None) -> Slot:
    """The place of a query that is overdue by now."""
    slot = await lanes.enter(account, pace)
    await asyncio.sleep(0.01)
    return slot


async def _all_run(paces: list[Pace]) -> None:
    while any(pace.rest > 0 for pace in paces):
        await asyncio.sleep(0)
