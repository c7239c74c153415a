"""Which versions of databases and of their extensions go together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import sqlalchemy as sa

from app.services.doctor.finding import Finding
from app.stores import health

KNOWN_GOOD: Final = (("15", 18, "1.2.0"),)
"""(PostgreSQL major, newest minor, pgSphere's extension version) that were tested together.
Debian's package pgsphere 1.1.1 calls its extension 1.2.0."""

OLDEST_SQLITE: Final = (3, 35)


def version_findings(engine: sa.Engine) -> Iterator[Finding]:
    """What is known of the versions at hand."""
    if engine.dialect.name == "sqlite":
        yield from _sqlite_version()
    else:
        yield postgres_finding(*health.postgres_versions(engine))


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


def postgres_finding(server: str, pgsphere: str | None) -> Finding:
    """What is known of a pair of versions."""
    if pgsphere is None:
        message = f"PostgreSQL {server} without pgSphere: exact tests by functions of Skyloom's own"
        return Finding("ok", "PostgreSQL", message)
    pair = f"PostgreSQL {server} with pgSphere {pgsphere}"
    major, _, minor = server.partition(".")
    for known_major, newest_minor, known_pgsphere in KNOWN_GOOD:
        same_kind = (major, pgsphere) == (known_major, known_pgsphere)
        if same_kind and minor.isdigit() and int(minor) <= newest_minor:
            return Finding("ok", "PostgreSQL", f"{pair}: a pair known to work")
        if same_kind:
            return Finding(
                "warn",
                "PostgreSQL",
                f"{pair}: this server may refuse to create this pgSphere again (15.20 does), "
                "so a dump of this database could not be restored",
                f"hold PostgreSQL at {known_major}.{newest_minor} or use pgSphere 1.4 or newer",
            )
    return Finding(
        "warn", "PostgreSQL", f"{pair}: not tested with Skyloom", "run make test against it"
    )
