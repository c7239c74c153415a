"""Threads for short pieces of work, given out evenly among those who ask."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import TypeVar

from app.http.streaming import OwnThreads

T = TypeVar("T")


class SharedPlaces:
    """``count`` threads. Where more wait, a free one goes to the account that holds the fewest, of
    several to the one that has waited longest; within an account the first is the first.

    Nobody is sent away, and who is alone has all of them: the pieces are short, so who comes finds
    one free soon.
    """

    def __init__(self, count: int, name: str) -> None:
        self._threads = OwnThreads(count, name)
        self._free = count
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def of(self, account: str) -> AccountThreads:
        """The threads, as one account uses them."""
        return AccountThreads(self, account)

    async def run(self, account: str, work: Callable[[], T]) -> T:
        """Do ``work`` of an account in a thread when it is its turn, and then to its end even when
        the waiting task is cancelled."""
        await self._enter(account)
        try:
            return await self._threads.run(work)
        finally:
            self._leave(account)

    async def _enter(self, account: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(account, deque()).append(turn)
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._forget(turn, account)
            else:
                self._leave(account)
            raise

    def _serve(self) -> None:
        """Give free places to those who wait."""
        while self._free and self._waiting:
            account = min(self._waiting, key=self._held.__getitem__)
            turns = self._waiting.pop(account)
            turns.popleft().set_result(None)
            if turns:
                self._waiting[account] = turns  # now behind the others
            self._held[account] += 1
            self._free -= 1

    def _forget(self, turn: asyncio.Future[None], account: str) -> None:
        turns = self._waiting[account]
        turns.remove(turn)
        if not turns:
            del self._waiting[account]

    def _leave(self, account: str) -> None:
        self._held[account] -= 1
        if not self._held[account]:
            del self._held[account]
        self._free += 1
        self._serve()


class AccountThreads:
    """The part of shared threads that falls to one account (see
    :class:`app.http.streaming.Threads`)."""

    def __init__(self, places: SharedPlaces, account: str) -> None:
        self._places = places
        self._account = account

    async def run(self, work: Callable[[], T]) -> T:
        """See :meth:`SharedPlaces.run`."""
        return await self._places.run(self._account, work)
