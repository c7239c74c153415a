"""What is asked of a PostgreSQL server before it is used."""

from __future__ import annotations

import re
from typing import Final

import sqlalchemy as sa

from app.errors import StoreUnavailableError
from app.stores.database import read_transaction

OLDEST_POSTGRES: Final = 15


def require_new_server(engine: sa.Engine) -> None:
    """Raises StoreUnavailableError for a server older than :data:`OLDEST_POSTGRES`."""
    version = server_version(engine)
    if int(version.split(".")[0]) < OLDEST_POSTGRES:
        raise StoreUnavailableError(
            f"PostgreSQL {version} is too old: Skyloom needs {OLDEST_POSTGRES} or newer"
        )


def server_version(engine: sa.Engine) -> str:
    """``15.18``."""
    with read_transaction(engine) as connection:
        text = str(connection.execute(sa.text("SHOW server_version")).scalar_one())
    found = re.match(r"\d+(\.\d+)?", text)
    return found.group() if found else text
