"""What the jobs of one account may be: how many have not ended, and the bytes that all hold.

Both are counted in the transaction that stores the next job, so they hold for all servers together.
"""

from __future__ import annotations

from datetime import datetime
from math import ceil

import sqlalchemy as sa

from app.errors import StorageQuotaError, TooManyJobsError
from app.schema.allowances import Allowance
from app.stores.job_rows import parse_instant
from app.stores.job_turns import count_under_way, serialise
from app.stores.tables.physical import job as table


def require_allowed(
    connection: sa.Connection, account: str, allowance: Allowance, *, new_bytes: int, now: datetime
) -> None:
    """Raises TooManyJobsError or StorageQuotaError unless an account may have one more job, which
    holds ``new_bytes`` from the beginning."""
    if allowance.jobs or allowance.storage_bytes:
        serialise(connection, account)
    if allowance.jobs and count_under_way(connection, account) >= allowance.jobs:
        raise TooManyJobsError(allowance.jobs)
    require_room(connection, account, allowance, new_bytes=new_bytes, now=now)


def require_room(
    connection: sa.Connection, account: str, allowance: Allowance, *, new_bytes: int, now: datetime
) -> None:
    """Raises StorageQuotaError unless the jobs of an account may hold ``new_bytes`` more, or, if
    that is 0, anything."""
    most = allowance.storage_bytes
    if most and held_bytes(connection, account) + max(1, new_bytes) > most:
        raise StorageQuotaError(most, wait_s(connection, account, now))


def held_bytes(connection: sa.Connection, account: str) -> int:
    """What uploads and results of an account's jobs take."""
    query = sa.select(sa.func.sum(table.c.held_bytes)).where(table.c.account == account)
    return int(connection.execute(query).scalar() or 0)


def wait_s(connection: sa.Connection, account: str, now: datetime) -> int:
    """Seconds until the first of the jobs that hold anything is destroyed."""
    query = sa.select(sa.func.min(table.c.destruction)).where(
        table.c.account == account, table.c.held_bytes > 0
    )
    first = connection.execute(query).scalar()
    return 1 if first is None else max(1, ceil((parse_instant(first) - now).total_seconds()))
