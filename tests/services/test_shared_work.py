"""Work that equal requests share."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.services.shared_work import SharedWork
from tests.waiting import PATIENCE_S

MANY = 8


class Counted:
    """Work that goes on until ``end`` is set; it counts how often it was begun."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.begun = 0
        self.end = threading.Event()
        self._fault = fault

    def __call__(self) -> bytes:
        self.begun += 1
        assert self.end.wait(PATIENCE_S)
        if self._fault is not None:
            raise self._fault
        return b"made"


@pytest.mark.parametrize("fault", [None, ValueError("no such map")])
def test_what_many_ask_for_at_once_is_made_once(fault: Exception | None) -> None:
    shared, work = SharedWork(max_bytes=100), Counted(fault)
    arrived = threading.Barrier(MANY + 1)

    def ask() -> bytes:
        arrived.wait(PATIENCE_S)
        return shared.get("same", work)

    with ThreadPoolExecutor(MANY) as pool:
        asked = [pool.submit(ask) for _ in range(MANY)]
        arrived.wait(PATIENCE_S)
        assert shared.get("other", lambda: b"at once") == b"at once"
        work.end.set()
        for each in asked:
            if fault is None:
                assert each.result(PATIENCE_S) == b"made"
            else:
                assert each.exception(PATIENCE_S) is fault
    # Of work that failed nothing is kept: who came when it had ended began it again.
    assert work.begun == 1 or fault is not None


def test_the_latest_are_kept_up_to_a_size() -> None:
    shared = SharedWork(max_bytes=10)
    made: list[str] = []

    def get(name: str, size: int = 4) -> bytes:
        def make() -> bytes:
            made.append(name)
            return bytes(size)

        return shared.get(name, make)

    for name in ("a", "b", "a", "c", "a", "b"):
        get(name)
    assert made == ["a", "b", "c", "b"]
    assert len(get("large", 50)) == len(get("large", 50)) == 50
    assert made[4:] == ["large", "large"]
