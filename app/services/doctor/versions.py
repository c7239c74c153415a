"""What is known of the versions of databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import sqlalchemy as sa

from app.services.doctor.finding import Finding
from app.stores import health
from app.stores.postgres_server import server_version

OLDEST_SQLITE: Final = (3, 35)


def version_findings(engine: sa.Engine) -> Iterator[Finding]:
    """What is known of the versions at hand."""
    if engine.dialect.name == "sqlite":
        yield from _sqlite_version()
    else:
        yield Finding("ok", "PostgreSQL", server_version(engine))


def _sqlite_version() -> Iterator[Finding]:
    version = health.sqlite_version()
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        yield Finding("fail", "SQLite", f"{version} is too old", f"use {oldest} or newer")
    else:
        yield Finding("ok", "SQLite", version)
    if health.sqlite_has_rtree():
        yield Finding("ok", "SQLite R*Tree", "present")
    else:
        advice = "use a Python whose SQLite is built with SQLITE_ENABLE_RTREE"
        yield Finding("fail", "SQLite R*Tree", "missing", advice)
