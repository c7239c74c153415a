"""Waiting for a UWS job as its clients do."""

from __future__ import annotations

import time

import httpx

_ACTIVE = {"QUEUED", "EXECUTING", "SUSPENDED"}


def phase_at_end(job: str, client: httpx.Client | None = None, seconds: float = 120) -> str:
    """The final phase of a started job, or the last one seen.

    WAIT answers at *every* change of phase (UWS 1.1 section 2.2.1.1), so one request is not enough.
    """
    asker = client or httpx.Client()
    deadline = time.monotonic() + seconds
    while (phase := asker.get(f"{job}/phase").text) in _ACTIVE and time.monotonic() < deadline:
        asker.get(job, params={"WAIT": 10, "PHASE": phase}, timeout=30)
    return phase
