"""Waiting in tests: on conditions, with a deadline that only what never happens can reach."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

PATIENCE_S = 120.0
"""Far above what anything here takes: the machine may be busy with other work."""

web = httpx.Client(timeout=PATIENCE_S, limits=httpx.Limits(max_keepalive_connections=0))
"""Requests that no busy machine breaks off, each on a connection of its own."""


def wait_for(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; fail the test when it never does."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.02)
