"""How many queries run at once, and in which threads: a long one never holds up a short one."""

from __future__ import annotations

import asyncio
import os
from collections import Counter, deque
from collections.abc import Callable
from typing import Final, TypeVar

from app.errors import TooBusyError
from app.http.streaming import OwnThreads
from app.stores.tables.control import Pace

CORES: Final = os.cpu_count() or 1
LEAST_CORES: Final = 0.5
"""Of a machine with one core long queries have half beside short ones."""
SHORT_SLOTS: Final = min(16, max(4, 2 * CORES))
"""More of them at once only wait for each other: 8 on 2 cores took a fifth more time of the cores
for each query, and left them idle as often. With the long ones and jobs they are fewer than the
connections that a pool opens."""
LONG_SLOTS: Final = 16
LONG_EACH: Final = SHORT_SLOTS
"""Long queries of one account that run beside each other and leave it the short places: more would
take the cores from others."""
LONG_AFTER_S: Final = 0.25
"""A query that takes longer gives its place to another one, and then gives way to short ones."""
LINGER_S: Final = 0.05
"""Who has asked something short asks the next thing soon: so long the long ones still give way."""
MAX_WAITING: Final = 64
PATIENCE_S: Final = 20.0

T = TypeVar("T")


class QueryLanes:
    """Places for queries, each with a thread.

    A query begins in one of ``short`` places. After ``long_after_s`` it moves to one of ``long``
    others, if one is free, so that new queries find the short places free. At most ``waiting``
    queries wait, each for ``patience_s`` at most.

    Accounts are served evenly: a free place goes to the one that holds the fewest. None holds more
    than ``long_each`` long places, nor all of the short ones: half of them are left to others.
    Where too many wait the newest of the account with the most of them is sent away.

    While short ones run, all that have become long take one of the ``cores`` less than there are:
    each rests for a part of its time.
    """

    def __init__(
        self,
        *,
        short: int = SHORT_SLOTS,
        long: int = LONG_SLOTS,
        long_each: int = LONG_EACH,
        waiting: int = MAX_WAITING,
        patience_s: float = PATIENCE_S,
        long_after_s: float = LONG_AFTER_S,
        cores: int = CORES,
    ) -> None:
        self._threads = OwnThreads(short + long, "query")
        self._short_left = short
        self._long_left = long
        self._max_waiting = waiting
        self._patience_s = patience_s
        self._long_after_s = long_after_s
        self._most_short = short - short // 2
        self._long_each = long_each
        self._short_of: Counter[str] = Counter()
        self._long_of: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._overdue: deque[Slot] = deque()
        self._giving_way: set[Slot] = set()
        self._is_shared = False
        self._lingering: asyncio.TimerHandle | None = None
        self._cores_of_long = max(LEAST_CORES, cores - 1)

    async def enter(self, account: str = "", pace: Pace | None = None) -> Slot:
        """A place for one query of an account, to be left; ``pace`` is that of its statement.

        Raises TooBusyError when too many wait already, or none became free in time.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(account, deque()).append(turn)
        self._serve()
        if not turn.done():
            self._keep_few_waiting()
            await self._wait(turn, account)
        self._set_paces()
        return Slot(self, self._long_after_s, account, pace or Pace())

    async def _wait(self, turn: asyncio.Future[None], account: str) -> None:
        try:
            await asyncio.wait_for(asyncio.shield(turn), self._patience_s)
        except BaseException as error:
            if not turn.done():
                self._forget_turn(turn, account)
            elif turn.exception() is None:
                self.leave_short(account)
            if isinstance(error, TimeoutError):
                raise TooBusyError from None
            raise

    def _serve(self) -> None:
        """Give free places to those who wait."""
        while self._short_left > 0:
            served = [each for each in self._waiting if self._short_of[each] < self._most_short]
            if not served:
                return
            account = min(served, key=self._held_by)  # of several who waits longest
            turns = self._waiting.pop(account)
            turns.popleft().set_result(None)
            if turns:
                self._waiting[account] = turns
            self._short_of[account] += 1
            self._short_left -= 1

    def _held_by(self, account: str) -> int:
        return self._short_of[account] + self._long_of[account]

    def _keep_few_waiting(self) -> None:
        if sum(map(len, self._waiting.values())) > self._max_waiting:
            account = max(reversed(self._waiting), key=lambda each: len(self._waiting[each]))
            turn = self._waiting[account][-1]
            self._forget_turn(turn, account)
            turn.set_exception(TooBusyError())

    def _forget_turn(self, turn: asyncio.Future[None], account: str) -> None:
        turns = self._waiting[account]
        turns.remove(turn)
        if not turns:
            del self._waiting[account]

    async def run(self, work: Callable[[], T]) -> T:
        """Do ``work`` in a thread, to its end even when the waiting task is cancelled."""
        return await self._threads.run(work)

    def leave_short(self, account: str) -> None:
        """A query of an account has left a short place: the next who waits takes it."""
        _take_one(self._short_of, account)
        self._short_left += 1
        self._serve()

    def leave_long(self, account: str) -> None:
        """A query of an account has left a long place: the next that is overdue takes it."""
        _take_one(self._long_of, account)
        self._long_left += 1
        overdue = next((each for each in self._overdue if self._may_be_long(each.account)), None)
        if overdue is not None:
            self._overdue.remove(overdue)
            overdue.become_long()

    def _may_be_long(self, account: str) -> bool:
        return self._long_left > 0 and self._long_of[account] < self._long_each

    def move(self, slot: Slot) -> bool:
        """Give a query that has become long another place, now or when one is free."""
        self._giving_way.add(slot)
        moved = self._move(slot)
        self._set_paces()
        return moved

    def _move(self, slot: Slot) -> bool:
        if not self._may_be_long(slot.account):
            self._overdue.append(slot)
            return False
        self._long_left -= 1
        self._long_of[slot.account] += 1
        self.leave_short(slot.account)
        return True

    def end(self, slot: Slot, *, is_long: bool) -> None:
        """A query has ended."""
        self._giving_way.discard(slot)
        if is_long:
            self.leave_long(slot.account)
        else:
            if slot in self._overdue:
                self._overdue.remove(slot)
            self.leave_short(slot.account)
        self._set_paces()

    def _set_paces(self) -> None:
        """Have the long ones rest while there are short ones, and a moment longer."""
        if sum(self._short_of.values()) > len(self._overdue):
            self._stop_lingering()
            self._is_shared = True
        elif self._is_shared and self._lingering is None:
            self._lingering = asyncio.get_running_loop().call_later(LINGER_S, self._let_run)
        rest = max(0.0, len(self._giving_way) / self._cores_of_long - 1.0)
        for slot in self._giving_way:
            slot.pace.rest = rest if self._is_shared else 0.0

    def _stop_lingering(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None

    def _let_run(self) -> None:
        """No short query has come for a while."""
        self._stop_lingering()
        self._is_shared = False
        self._set_paces()


def _take_one(counts: Counter[str], account: str) -> None:
    counts[account] -= 1
    if not counts[account]:
        del counts[account]


class Slot:
    """The place of one query of an account."""

    def __init__(self, lanes: QueryLanes, long_after_s: float, account: str, pace: Pace) -> None:
        self.lanes = lanes
        self.account = account
        self.pace = pace
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
        self.lanes.end(self, is_long=self._is_long)
