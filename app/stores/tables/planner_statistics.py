"""What the databases' planners go by, counted afresh after many rows changed."""

from __future__ import annotations

import sqlalchemy as sa

from app.stores.database import write_transaction
from app.stores.database_faults import database_faults

_SAMPLE_ROWS = 1000
"""Enough for SQLite to tell the indexes apart; all rows of a large table take seconds."""


def refresh_statistics(engine: sa.Engine, table: str, *, sampled: bool = False) -> None:
    """Count the rows of ``table``; ``sampled`` is the quick way on SQLite.

    On PostgreSQL its pages are noted as visible to all besides: only then are counts and groups
    answered from an index alone, a fifth of the bytes or less, and rows that were just loaded
    would wait for autovacuum. Raises StoreUnavailableError.
    """
    if engine.dialect.name == "sqlite":
        with write_transaction(engine) as connection:
            limit = _SAMPLE_ROWS if sampled else 0
            connection.exec_driver_sql(f"PRAGMA analysis_limit = {limit}")
            connection.exec_driver_sql(f'ANALYZE "{table}"')
        return
    with database_faults(), engine.connect() as connection:
        alone = connection.execution_options(isolation_level="AUTOCOMMIT")
        # The end of the table is left as it is: to cut it off, readers would have to wait.
        alone.exec_driver_sql(f'VACUUM (ANALYZE, TRUNCATE false) "{table}"')
