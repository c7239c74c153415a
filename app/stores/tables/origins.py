"""Which origins the rows of ObsCore may have: a check that migrations exchange."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa


def exchange_origins(connection: sa.Connection, old: Sequence[str], new: Sequence[str]) -> None:
    """Let ``obscore.origin`` hold the values ``new`` in place of ``old``.

    SQLite cannot alter a check; its manual (lang_altertable, section 7) edits the stored text of
    the table for such a change, which touches no row. Making the table anew would delete
    provenance through the foreign key.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ALTER TABLE obscore DROP CONSTRAINT obscore_origin")
        connection.exec_driver_sql(
            f"ALTER TABLE obscore ADD CONSTRAINT obscore_origin CHECK ({_condition(new)})"
        )
        return
    schema = int(connection.exec_driver_sql("PRAGMA schema_version").scalar_one())
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    changed = connection.execute(
        sa.text(
            "UPDATE sqlite_schema SET sql = replace(sql, :old, :new) "
            "WHERE type = 'table' AND name = 'obscore' AND instr(sql, :old) > 0"
        ),
        {"old": _condition(old), "new": _condition(new)},
    ).rowcount
    connection.exec_driver_sql(f"PRAGMA schema_version = {schema + 1:d}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")
    if changed != 1:
        raise RuntimeError("the check of obscore.origin could not be changed")


def _condition(origins: Sequence[str]) -> str:
    return f"origin IN ({', '.join(repr(each) for each in origins)})"
