"""How many queries run at once, and in which threads: a long one never holds up a short one."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

from app.errors import TooBusyError
from app.http.streaming import OwnThreads

SHORT_SLOTS: Final = min(16, max(4, 2 * (os.cpu_count() or 1)))
"""More of them at once only wait for each other: 8 on 2 cores took a fifth more time of the cores
for each query, and left them idle as often. With the long ones and jobs they are fewer than the
connections that a pool opens."""
LONG_SLOTS: Final = 16
LONG_AFTER_S: Final = 0.25
"""A query that takes longer gives its place to another one."""
MAX_WAITING: Final = 64
PATIENCE_S: Final = 20.0

T = TypeVar("T")


class QueryLanes:
    """Places for queries, each with a thread.

    A query begins in one of ``short`` places. After ``long_after_s`` it moves to one of ``long``
    others, if one is free, so that new queries find the short places free. At most ``waiting``
    queries wait, each for ``patience_s`` at most.
    """

    def __init__(
        self,
        *,
        short: int = SHORT_SLOTS,
        long: int = LONG_SLOTS,
        waiting: int = MAX_WAITING,
        patience_s: float = PATIENCE_S,
        long_after_s: float = LONG_AFTER_S,
    ) -> None:
        self._threads = OwnThreads(short + long, "query")
        self._short_left = short
        self._long_left = long
        self._max_waiting = waiting
        self._patience_s = patience_s
        self._long_after_s = long_after_s
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._overdue: deque[Slot] = deque()

    async def enter(self) -> Slot:
        """A place for one query, to be left. Raises TooBusyError when too many wait already, or
        none became free in time."""
        if self._short_left > 0:
            self._short_left -= 1
        elif len(self._waiting) >= self._max_waiting:
            raise TooBusyError
        else:
            await self._wait()
        return Slot(self, self._long_after_s)

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait_for(asyncio.shield(turn), self._patience_s)
        except BaseException as error:
            if turn.done():
                self.free_short()
            else:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise TooBusyError from None
            raise

    async def run(self, work: Callable[[], T]) -> T:
        """Do ``work`` in a thread, to its end even when the waiting task is cancelled."""
        return await self._threads.run(work)

    def free_short(self) -> None:
        """One short place is free again: the next who waits takes it."""
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self._short_left += 1

    def move(self, slot: Slot) -> bool:
        """Give a query that has become long another place, now or when one is free."""
        if self._long_left == 0:
            self._overdue.append(slot)
            return False
        self._long_left -= 1
        self.free_short()
        return True

    def free_long(self) -> None:
        """One long place is free again."""
        self._long_left += 1
        if self._overdue:
            self._overdue.popleft().become_long()

    def forget(self, slot: Slot) -> None:
        """A query that waited for a long place has ended."""
        if slot in self._overdue:
            self._overdue.remove(slot)


class Slot:
    """The place of one query."""

    def __init__(self, lanes: QueryLanes, long_after_s: float) -> None:
        self.lanes = lanes
        self._is_long = False
        self._has_left = False
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(long_after_s, self.become_long)

    def become_long(self) -> None:
        """Move to the long ones."""
        self._is_long = self.lanes.move(self)

    def leave(self) -> None:
        """Give the place back, once."""
        if self._has_left:
            return
        self._has_left = True
        self._timer.cancel()
        if self._is_long:
            self.lanes.free_long()
        else:
            self.lanes.forget(self)
            self.lanes.free_short()
