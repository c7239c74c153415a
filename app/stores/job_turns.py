"""In which order queued jobs are run: by turns, so that nobody's many jobs hold back another's one.

A job gets its turn when it is queued: the one after the last of the same account, but not before
the turn that is being run now. Of one turn the oldest job goes first. Kinds are apart: each has
places of its own.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from app.stores.job_rows import instant_text
from app.stores.tables.physical import job as table
from app.uws.job import Job, JobKind, Phase

ORDER: Final = (table.c.turn, table.c.creation_time, table.c.job_id)
_UNDER_WAY: Final = [
    phase.value for phase in (Phase.PENDING, Phase.HELD, Phase.QUEUED, Phase.EXECUTING)
]


def serialise(connection: sa.Connection, account: str) -> None:
    """Let one transaction at a time count the jobs of an account. On SQLite there is never more
    than one that writes."""
    if connection.dialect.name == "postgresql":
        lock = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:account, 0))")
        connection.execute(lock, {"account": account})


def next_turn(kind: JobKind, account: str) -> sa.ColumnElement[Any]:
    """The turn of a job that is queued now."""
    rows = table.alias("queue")
    of_kind = rows.c.kind == kind

    def one(value: sa.ColumnElement[Any], *conditions: sa.ColumnElement[bool]) -> Any:
        return sa.select(value).where(of_kind, *conditions).scalar_subquery()

    front = one(sa.func.min(rows.c.turn), rows.c.phase == Phase.QUEUED.value)
    newest = one(sa.func.max(rows.c.turn))
    last = one(sa.func.max(rows.c.turn), rows.c.account == account)
    now = sa.func.coalesce(front, newest, 0)
    return sa.case((last >= now, last + 1), else_=now)


def count_under_way(connection: sa.Connection, account: str) -> int:
    """How many jobs of an account have not ended."""
    query = sa.select(sa.func.count()).where(
        table.c.account == account, table.c.phase.in_(_UNDER_WAY)
    )
    return int(connection.execute(query).scalar_one())


def before(job: Job) -> sa.ColumnElement[bool]:
    """Whether a queued row is run before a queued job of the same kind."""
    mine = sa.select(table.c.turn).where(table.c.job_id == job.job_id).scalar_subquery()
    created = sa.literal(instant_text(job.creation_time))
    return sa.tuple_(*ORDER) < sa.tuple_(mine, created, sa.literal(job.job_id))
