"""Waiting for a UWS job as its clients do."""

from __future__ import annotations

import time

import httpx

from tests.waiting import PATIENCE_S, web

_ACTIVE = {"QUEUED", "EXECUTING", "SUSPENDED"}


def phase_at_end(job: str, client: httpx.Client = web) -> str:
    """The final phase of a started job, or the last one seen.

    WAIT answers at *every* change of phase (UWS 1.1 section 2.2.1.1), so one request is not enough.
    """
    deadline_s = time.monotonic() + PATIENCE_S
    while (phase := client.get(f"{job}/phase").text) in _ACTIVE and time.monotonic() < deadline_s:
        client.get(job, params={"WAIT": 10, "PHASE": phase}, timeout=PATIENCE_S)
    return phase
