"""How many bytes the jobs of one account may hold, while results are being written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from app.errors import StorageQuotaError
from app.schema.access import Identity
from app.schema.allowances import Allowances
from app.stores.jobs import JobStore
from app.uws.job import Job

Meter = Callable[[Iterable[bytes]], Iterable[bytes]]
"""Passes on the chunks of a result of a job."""


def no_meter(_job: Job) -> Meter:
    """Where nobody has a limit."""
    return lambda chunks: chunks


class StorageQuota:
    """Makes a meter for each job that runs. ``identity_of`` tells who the owner of a job is."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        allowances: Allowances,
        identity_of: Callable[[str | None], Identity],
        clock: Callable[[], datetime],
    ) -> None:
        self._jobs = jobs
        self._allowances = allowances
        self._identity_of = identity_of
        self._clock = clock

    def meter(self, job: Job) -> Meter:
        """Counts all results of a run of a job together, on top of what its account holds when it
        begins; StorageQuotaError ends them where that becomes too much. Jobs that run at the same
        time do not see each other: each may take what was left."""
        most = self._allowances.of(self._identity_of(job.owner)).storage_bytes
        if not most:
            return no_meter(job)
        left = most - self._jobs.held_bytes(job.account)

        def metered(chunks: Iterable[bytes]) -> Iterator[bytes]:
            nonlocal left
            for chunk in chunks:
                left -= len(chunk)
                if left < 0:
                    wait_s = self._jobs.wait_for_room_s(job.account, self._clock())
                    raise StorageQuotaError(most, wait_s)
                yield chunk

        return metered
