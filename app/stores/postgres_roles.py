"""The role under which the queries of users run on PostgreSQL: it may read what is published, and
nothing else."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Collection, Iterator
from typing import Final

import psycopg
import sqlalchemy as sa

from app.errors import UsageError
from app.schema.catalog import CATALOG
from app.stores.database import read_transaction, write_transaction
from app.stores.tables.physical import HIDDEN_COLUMNS

DEFAULT_READER: Final = "skyloom_reader"
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_LOOK_S: Final = 60.0
"""How often it is asked whether a role that was missing is there now."""

_USABLE: Final = """
SELECT pg_has_role(current_user, oid, 'MEMBER')
   AND has_column_privilege(oid, 'obscore', 's_ra', 'SELECT')
   AND has_table_privilege(oid, 'tap_tables', 'SELECT')
FROM pg_roles WHERE rolname = :role
"""
_FIND: Final = "SELECT oid FROM pg_roles WHERE rolname = :role"
_MEMBER: Final = "SELECT pg_has_role(current_user, :role, 'MEMBER')"
_COLUMNS: Final = """
SELECT attname FROM pg_attribute
WHERE attrelid = 'obscore'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_READERS: Final = """
SELECT rolname FROM pg_roles, pg_class, aclexplode(relacl) AS given
WHERE pg_class.oid = 'tap_tables'::regclass AND given.grantee = pg_roles.oid
  AND given.privilege_type = 'SELECT' AND given.grantee <> relowner
"""
_FORBIDDEN: Final = (
    "queries run under the service's own role, because the database user may not create "
    "{role}: let a superuser run CREATE ROLE {role} NOLOGIN and grant it to the user, then run "
    "skyloom init again"
)
_ROLE_LOCK: Final = 0x736B79726F6C65
"""Key of the advisory lock that granting holds ("skyrole")."""


def checked_role(role: str) -> str:
    """The name of a role. Raises UsageError for one that would need quotes."""
    if not _NAME.fullmatch(role):
        raise UsageError(f"a role is named by lower-case letters, digits and _, got {role!r}")
    return role


def ensure_reader(engine: sa.Engine, role: str, published: Collection[str]) -> str | None:
    """Have the role with its rights, also on the ``published`` tables of users; why not, where the
    database user may not create it. Changes nothing where all is well.

    Raises UsageError for a name that is none, StoreUnavailableError.
    """
    name = checked_role(role)
    try:
        with write_transaction(engine) as connection:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ROLE_LOCK})
            if connection.scalar(sa.text(_FIND), {"role": name}) is None:
                connection.exec_driver_sql(f"CREATE ROLE {name} NOLOGIN")
            if not connection.scalar(sa.text(_MEMBER), {"role": name}):
                connection.exec_driver_sql(f"GRANT {name} TO CURRENT_USER")
            for right in _missing_rights(connection, name, published):
                connection.exec_driver_sql(f"GRANT {right} TO {name}")
    except Exception as error:
        cause = getattr(error.__cause__, "orig", None)
        if isinstance(cause, psycopg.errors.InsufficientPrivilege):
            return _FORBIDDEN.format(role=name)
        if isinstance(cause, psycopg.errors.UniqueViolation | psycopg.errors.DuplicateObject):
            return ensure_reader(engine, role, published)  # made for another database meanwhile
        raise
    return None


def _missing_rights(
    connection: sa.Connection, role: str, published: Collection[str]
) -> Iterator[str]:
    """What is to be granted: reading published tables; of ObsCore the columns that are not the
    service's own."""
    columns = connection.scalars(sa.text(_COLUMNS)).all()
    ours = sa.text("SELECT has_column_privilege(:role, 'obscore', :name, 'SELECT')")
    lacking = [
        f'"{name}"'
        for name in columns
        if name not in HIDDEN_COLUMNS and not connection.scalar(ours, {"role": role, "name": name})
    ]
    if lacking:
        yield f"SELECT ({', '.join(lacking)}) ON obscore"
    names = {table.physical for table in CATALOG.tables} - {"obscore"}
    known = sa.text("SELECT has_table_privilege(:role, :name, 'SELECT')")
    for name in sorted(names.union(published)):
        if not connection.scalar(known, {"role": role, "name": f'"{name}"'}):
            yield f'SELECT ON "{name}"'


def show_to_readers(connection: sa.Connection, table: str) -> None:
    """Let those who may read the list of tables read a table that is published now."""
    if connection.dialect.name == "postgresql":
        for role in connection.execute(sa.text(_READERS)).scalars().all():
            connection.exec_driver_sql(f'GRANT SELECT ON "{table}" TO "{role}"')


class Reader:
    """Whether queries of an engine may take the role; asked again while they may not."""

    def __init__(self, engine: sa.Engine, role: str) -> None:
        self._engine = engine
        self._role = checked_role(role)
        self._lock = threading.Lock()
        self._usable = False
        self._asked_s = -_LOOK_S

    def name(self) -> str | None:
        """The role; None where it is not there or not ours to take."""
        if not self._usable and time.monotonic() - self._asked_s >= _LOOK_S:
            with self._lock:
                self._usable = reader_is_usable(self._engine, self._role)
                self._asked_s = time.monotonic()
        return self._role if self._usable else None


def reader_is_usable(engine: sa.Engine, role: str) -> bool:
    """Whether queries can run under the role: it is there, ours to take, and has its rights."""
    with read_transaction(engine) as connection:
        return bool(connection.scalar(sa.text(_USABLE), {"role": checked_role(role)}))
