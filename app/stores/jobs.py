"""Jobs as rows: compare-and-set on the phase, claims with a lease, on either engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from app.errors import JobNotFoundError
from app.schema.allowances import UNLIMITED, Allowance
from app.stores.database import read_transaction, write_transaction
from app.stores.job_allowances import held_bytes, require_allowed, require_room, wait_s
from app.stores.job_changes import JobChanges
from app.stores.job_rows import from_row, instant_text, parse_instant, to_row
from app.stores.job_turns import ORDER, before, next_turn, serialise
from app.stores.tables.physical import job as table
from app.uws.job import Job, JobKind, Phase
from app.uws.transitions import step

_CLAIM_TRIES = 20
"""Collisions of builds with one recipe that a claim lives through before it gives up this time."""

_OLDEST = (table.c.creation_time, table.c.job_id)
_NOT_QUEUED_YET = (Phase.PENDING, Phase.HELD)


class JobStore:
    """Stores jobs. Every method may raise StoreUnavailableError.

    ``changes`` tells of every job whose phase, parameters or times were written here.
    """

    def __init__(self, *, engine: sa.Engine) -> None:
        self._engine = engine
        self.changes = JobChanges()

    def add(self, job: Job, allowance: Allowance = UNLIMITED) -> None:
        """Store a new job. Raises TooManyJobsError or StorageQuotaError where that is more than the
        ``allowance`` of its account."""
        new_bytes, now = job.upload_bytes, job.creation_time
        with write_transaction(self._engine) as connection:
            require_allowed(connection, job.account, allowance, new_bytes=new_bytes, now=now)
            connection.execute(table.insert(), to_row(job))

    def require_room(
        self, account: str, allowance: Allowance, new_bytes: int, now: datetime
    ) -> None:
        """Raises StorageQuotaError unless the jobs of an account may hold ``new_bytes`` more."""
        with read_transaction(self._engine) as connection:
            require_room(connection, account, allowance, new_bytes=new_bytes, now=now)

    def held_bytes(self, account: str) -> int:
        """What uploads and results of an account's jobs take."""
        with read_transaction(self._engine) as connection:
            return held_bytes(connection, account)

    def wait_for_room_s(self, account: str, now: datetime) -> int:
        """Seconds until the first of an account's jobs that hold anything is destroyed."""
        with read_transaction(self._engine) as connection:
            return wait_s(connection, account, now)

    def get(self, job_id: str) -> Job:
        """The job, or JobNotFoundError."""
        if "\0" in job_id:  # PostgreSQL takes no text that holds NUL
            raise JobNotFoundError(job_id)
        query = sa.select(table).where(table.c.job_id == job_id)
        with read_transaction(self._engine) as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            raise JobNotFoundError(job_id)
        return from_row(row)

    def list_jobs(
        self,
        *,
        kinds: Collection[JobKind],
        phases: Collection[Phase] | None = None,
        after: datetime | None = None,
        last: int | None = None,
        owners: Collection[str | None] | None = None,
    ) -> list[Job]:
        """Jobs of the kinds, newest first (UWS 1.1, 2.2.2.1).

        ``phases`` None means all but ARCHIVED; ``after`` keeps those created later, ``last`` the
        newest so many, ``owners`` those of these people (None: of nobody).
        """
        query = sa.select(table).where(table.c.kind.in_(list(kinds)))
        if phases is None:
            query = query.where(table.c.phase != Phase.ARCHIVED.value)
        else:
            query = query.where(table.c.phase.in_([phase.value for phase in phases]))
        if after is not None:
            query = query.where(table.c.creation_time > instant_text(after))
        if owners is not None:
            query = query.where(
                table.c.owner.in_([each for each in owners if each is not None])
                | (table.c.owner.is_(None) if None in owners else sa.false())
            )
        query = query.order_by(table.c.creation_time.desc(), table.c.job_id.desc()).limit(last)
        with read_transaction(self._engine) as connection:
            return [from_row(row) for row in connection.execute(query).mappings()]

    def of_recipe(self, key: str, phases: Collection[Phase]) -> list[Job]:
        """Jobs of a recipe in one of the phases, newest first."""
        query = (
            sa.select(table)
            .where(table.c.recipe_key == key, table.c.phase.in_([each.value for each in phases]))
            .order_by(*(column.desc() for column in _OLDEST))
        )
        with read_transaction(self._engine) as connection:
            return [from_row(row) for row in connection.execute(query).mappings()]

    def replace(self, job: Job, *, old_phase: Phase, lease_owner: str | None = None) -> bool:
        """Write the job if its stored phase is still ``old_phase``; False if it is not.

        With ``lease_owner`` the stored lease must also be theirs: a runner that lost its job
        cannot overwrite what its successor does. False as well when the job would be the second
        EXECUTING one of its recipe.
        """
        condition = (table.c.job_id == job.job_id) & (table.c.phase == old_phase.value)
        if lease_owner is not None:
            condition &= table.c.lease_owner == lease_owner
        values = to_row(job)
        account = None
        if job.phase is Phase.QUEUED and old_phase in _NOT_QUEUED_YET:
            account = job.account
            values["turn"] = next_turn(job.kind, account)
        statement = table.update().where(condition).values(values)
        return self._announced(job.job_id, self._changed(statement, account))

    def claim(
        self,
        *,
        kinds: Collection[JobKind],
        owner: str,
        now: datetime,
        lease_s: float,
        max_attempts: int,
        expected: bool = False,
    ) -> Job | None:
        """Take the job that is to be run next, or None. Who knows that a job was queued says
        ``expected`` and spares a look.

        That is an EXECUTING job whose lease ran out, else the QUEUED one whose turn it is
        (:mod:`app.stores.job_turns`). It is EXECUTING afterwards, leased to ``owner`` for
        ``lease_s`` seconds, with one attempt more; of several callers, in several processes, one
        gets it. A job whose recipe another job executes is passed over
        (publishing the product completes both). A job that was already tried ``max_attempts``
        times ends in ERROR instead.
        """
        if not (expected or self._anything_to_claim(kinds, now)):
            return None
        for _ in range(_CLAIM_TRIES):
            try:
                with write_transaction(self._engine) as connection:
                    job = _take(connection, kinds, owner, now, lease_s, max_attempts)
            except Exception as error:
                if not isinstance(error.__cause__, sa.exc.IntegrityError):
                    raise
                continue
            if job is not None:
                self.changes.announce(job.job_id)
            if job is None or job.phase is Phase.EXECUTING:
                return job
        return None

    def _anything_to_claim(self, kinds: Collection[JobKind], now: datetime) -> bool:
        """Whether a claim may find something. An idle server reads only: it does not take
        SQLite's write lock."""
        query = sa.select(table.c.job_id).where(_claimable(kinds, now)).limit(1)
        with read_transaction(self._engine) as connection:
            return connection.execute(query).first() is not None

    def renew(
        self,
        job_id: str,
        owner: str,
        until: datetime,
        progress: Mapping[str, float | str] | None = None,
    ) -> bool:
        """Prolong a lease and note the progress; False: the job is no longer ours, stop."""
        values: dict[str, Any] = {"lease_until": instant_text(until)}
        if progress is not None:
            values["progress"] = json.dumps(dict(progress))
        condition = (
            (table.c.job_id == job_id)
            & (table.c.phase == Phase.EXECUTING.value)
            & (table.c.lease_owner == owner)
        )
        return self._changed(table.update().where(condition).values(values))

    def end_leases(self, is_gone: Callable[[str], bool], now: datetime) -> None:
        """End the leases of owners that are gone: their jobs are to be run at once."""
        executing = table.c.phase == Phase.EXECUTING.value
        query = sa.select(table.c.lease_owner).where(executing).distinct()
        with read_transaction(self._engine) as connection:
            gone = [owner for owner in connection.scalars(query) if owner and is_gone(owner)]
        if gone:
            lost = table.update().where(executing, table.c.lease_owner.in_(gone))
            with write_transaction(self._engine) as connection:
                connection.execute(lost.values(lease_until=instant_text(now)))

    def delete(self, job_id: str) -> None:
        """Forget a job; JobNotFoundError if there is none."""
        deleted = self._changed(table.delete().where(table.c.job_id == job_id))
        if not self._announced(job_id, deleted):
            raise JobNotFoundError(job_id)

    def expired(self, now: datetime) -> list[Job]:
        """Jobs whose destruction time has come, oldest first."""
        query = (
            sa.select(table)
            .where(table.c.destruction <= instant_text(now))
            .order_by(table.c.destruction)
        )
        with read_transaction(self._engine) as connection:
            return [from_row(row) for row in connection.execute(query).mappings()]

    def next_destruction(self) -> datetime | None:
        """The earliest destruction time of all jobs; None without jobs."""
        with read_transaction(self._engine) as connection:
            text = connection.execute(sa.select(sa.func.min(table.c.destruction))).scalar()
        return None if text is None else parse_instant(text)

    def count(self, kind: JobKind, phase: Phase) -> int:
        """How many jobs of a kind are in a phase."""
        query = sa.select(sa.func.count()).where(table.c.kind == kind, table.c.phase == phase.value)
        with read_transaction(self._engine) as connection:
            return int(connection.execute(query).scalar_one())

    def counts(self) -> dict[tuple[str, str], int]:
        """How many jobs of each (kind, phase) are on record."""
        query = sa.select(table.c.kind, table.c.phase, sa.func.count()).group_by(
            table.c.kind, table.c.phase
        )
        with read_transaction(self._engine) as connection:
            return {(kind, phase): int(n) for kind, phase, n in connection.execute(query)}

    def queued_before(self, job: Job) -> int:
        """How many queued jobs of its kind are claimed before a queued job."""
        query = sa.select(sa.func.count()).where(
            table.c.kind == job.kind, table.c.phase == Phase.QUEUED.value, before(job)
        )
        with read_transaction(self._engine) as connection:
            return int(connection.execute(query).scalar_one())

    def _announced(self, job_id: str, changed: bool) -> bool:
        if changed:
            self.changes.announce(job_id)
        return changed

    def _changed(self, statement: sa.Update | sa.Delete, account: str | None = None) -> bool:
        """Run a statement on one row, after those of the same ``account``; whether it found it."""
        try:
            with write_transaction(self._engine) as connection:
                if account is not None:
                    serialise(connection, account)
                return connection.execute(statement).rowcount == 1
        except Exception as error:
            if isinstance(error.__cause__, sa.exc.IntegrityError):
                return False
            raise


def _claimable(kinds: Collection[JobKind], now: datetime) -> sa.ColumnElement[bool]:
    return table.c.kind.in_(list(kinds)) & (
        (table.c.phase == Phase.QUEUED.value)
        | ((table.c.phase == Phase.EXECUTING.value) & (table.c.lease_until < instant_text(now)))
    )


def _candidates(
    kinds: Collection[JobKind], now: datetime
) -> Iterator[tuple[sa.ColumnElement[bool], ...]]:
    """Conditions, each of which the index of turns answers in order: what was lost comes first."""
    executing = table.c.phase == Phase.EXECUTING.value
    for kind in kinds:
        yield table.c.kind == kind, executing, table.c.lease_until < instant_text(now)
    for kind in kinds:
        yield table.c.kind == kind, table.c.phase == Phase.QUEUED.value


def _take(
    connection: sa.Connection,
    kinds: Collection[JobKind],
    owner: str,
    now: datetime,
    lease_s: float,
    max_attempts: int,
) -> Job | None:
    """Lock the next claimable job and make it ours; end it if it was tried often enough."""
    other = table.alias("other")
    same_recipe_runs = (
        sa.select(other.c.job_id)
        .where(
            other.c.recipe_key == table.c.recipe_key,
            other.c.phase == Phase.EXECUTING.value,
            other.c.job_id != table.c.job_id,
        )
        .exists()
    )
    row = None
    for condition in _candidates(kinds, now):
        query = (
            sa.select(table)
            .where(*condition, ~same_recipe_runs)
            .order_by(*ORDER)
            .limit(1)
            .with_for_update(skip_locked=True, of=table)
        )
        row = connection.execute(query).mappings().first()
        if row is not None:
            break
    if row is None:
        return None
    found = from_row(row)
    if found.attempts >= max_attempts:
        job = step(found, "lose", now)
    else:
        until = now + timedelta(seconds=lease_s)
        job = step(found, "start", now, lease_owner=owner, lease_until=until)
    connection.execute(table.update().where(table.c.job_id == job.job_id).values(to_row(job)))
    return job
