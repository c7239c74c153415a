"""Requests that wait for a job without holding a thread and without asking the database again and
again: writes of this server are heard at once, those of others at the next look."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from anyio import to_thread
from starlette.requests import Request

from app.services.jobs import JobService
from app.uws.job import Job, JobKind

LOOK_S: Final = (0.25, 0.5, 1.0)
"""Pauses between looks for what another server wrote, and for clients that hung up."""


async def wait_until(
    jobs: JobService,
    job_id: str,
    kind: JobKind,
    reached: Callable[[Job], bool],
    *,
    timeout_s: float,
    request: Request | None = None,
) -> Job:
    """The job once ``reached`` holds, the time is over, or the client of ``request`` hung up.

    Raises JobNotFoundError when the job is deleted meanwhile.
    """
    deadline_s = time.monotonic() + timeout_s
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        with suppress(RuntimeError):  # the loop is closed: the server stops
            loop.call_soon_threadsafe(changed.set)

    with jobs.listening(job_id, tell):
        looks = 0
        while True:
            changed.clear()
            job = await to_thread.run_sync(jobs.get, job_id, kind)
            left_s = deadline_s - time.monotonic()
            gone = request is not None and await request.is_disconnected()
            if reached(job) or left_s <= 0 or gone:
                return job
            with suppress(TimeoutError):
                pause_s = min(left_s, LOOK_S[min(looks, len(LOOK_S) - 1)])
                await asyncio.wait_for(changed.wait(), pause_s)
            looks += 1
