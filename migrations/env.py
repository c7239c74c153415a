"""Alembic's entry: runs the migrations on the connection the application hands over.

``app.stores.migrations`` opens the connection, holds the lock and owns the transaction; with the
``alembic`` command alone, ``-x url=…`` names the database.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from app.stores.database import open_engine, write_transaction
from app.stores.tables.physical import METADATA


def run(connection: Connection) -> None:
    """Run the migrations inside the caller's transaction."""
    context.configure(connection=connection, target_metadata=METADATA, transactional_ddl=True)
    context.run_migrations()


def main() -> None:
    """Use the connection that was handed over, or open the database named by ``-x url=``."""
    connection = context.config.attributes.get("connection")
    if connection is not None:
        run(connection)
        return
    engine = open_engine(context.get_x_argument(as_dictionary=True)["url"])
    with write_transaction(engine) as own:
        run(own)


main()
