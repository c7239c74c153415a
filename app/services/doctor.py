"""``skyloom doctor``: looks at everything an operator can put right, and says what to do."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import sqlalchemy as sa

from app.errors import ServiceError
from app.stores import health
from app.stores.database import open_engine, sqlite_file
from app.stores.migrations import current_revision, head_revision

Status = Literal["ok", "warn", "fail"]

KNOWN_GOOD: Final = (("15", 18, "1.2.0"),)
"""(PostgreSQL major, newest minor, pgSphere's extension version) that were tested together.
Debian's package pgsphere 1.1.1 calls its extension 1.2.0."""

OLDEST_SQLITE: Final = (3, 35)
_LITTLE_SPACE = 5 * 1024**3
_NO_SPACE = 200 * 1024**2
_EXAMPLES = 3

_INIT = "run skyloom init"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``advice`` says what to do; None when all is well."""

    status: Status
    subject: str
    message: str
    advice: str | None = None

    @property
    def detail(self) -> str:
        """The message, and what to do."""
        return f"{self.message} → {self.advice}" if self.advice else self.message


def doctor(url: str, *, data_dir: Path) -> list[Finding]:
    """Examine the database and the data folder; every finding, good ones included.

    Nothing is changed. What cannot be examined because something before it failed is left out.
    """
    findings = list(_data_folder(data_dir))
    path = sqlite_file(url)
    if path is not None and not path.exists():
        missing = Finding("fail", "database", f"there is no file {path}", _INIT)
        return [missing, *findings]
    engine = open_engine(url, pool_size=1)
    try:
        return [*_database(engine, data_dir), *findings]
    finally:
        engine.dispose()


def _database(engine: sa.Engine, data_dir: Path) -> Iterator[Finding]:
    """The database first; its contents only when it is at the right revision."""
    name = engine.url.render_as_string(hide_password=True)
    try:
        revision = current_revision(engine)
    except ServiceError as error:
        yield Finding("fail", "database", str(error), f"make {name} reachable")
        return
    yield Finding("ok", "database", f"{name} answers")
    yield from _versions(engine)
    head = head_revision()
    if revision != head:
        state = "was never initialised" if revision is None else f"is at revision {revision}"
        yield Finding("fail", "tables", f"the database {state}; {head} is needed", _INIT)
        return
    yield Finding("ok", "tables", f"at revision {head}")
    yield from _guarded("tables", lambda: _contents(engine))
    yield from _guarded("files", lambda: _files(engine, data_dir))


def _guarded(subject: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A check whose own failure is a finding too."""
    try:
        yield from check()
    except ServiceError as error:
        yield Finding("fail", subject, str(error), "see the message")


def _versions(engine: sa.Engine) -> Iterator[Finding]:
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
        message = f"PostgreSQL {server} without pgSphere in this database"
        return Finding("fail", "PostgreSQL", message, _INIT)
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


def _contents(engine: sa.Engine) -> Iterator[Finding]:
    yield Finding("ok", "datasets", f"{health.dataset_count(engine)} in ivoa.ObsCore")
    if not health.tap_schema_matches(engine):
        yield Finding("fail", "TAP_SCHEMA", "does not describe the published columns", _INIT)
    lost = health.regions_without_index(engine)
    if lost:
        message = f"{lost} regions are not indexed: searches miss them"
        yield Finding("fail", "spatial index", message, _INIT)
    else:
        yield Finding("ok", "spatial index", "complete")
    waiting = health.places_to_look_at(engine)
    if waiting:
        message = f"{waiting} places with new or changed exposures were not looked at"
        yield Finding("warn", "differences that can be built", message, _INIT)


def _files(engine: sa.Engine, data_dir: Path) -> Iterator[Finding]:
    files = health.stored_files(engine)
    sizes = {file.path: _size(data_dir / file.path) for file in files}
    missing = [file for file in files if sizes[file.path] is None]
    changed = [f for f in files if f not in missing and sizes[f.path] != f.size_bytes]
    if not missing and not changed:
        yield Finding("ok", "files", f"all {len(files)} are there, with their size")
    yield from _missing([f for f in missing if not f.built], [f for f in missing if f.built])
    if changed:
        message = f"{len(changed)} changed since they were read: {_names(changed)}"
        yield Finding("warn", "files", message, "run skyloom ingest on their folders again")
    yield from _orphans(engine, files, data_dir)


def _size(path: Path) -> int | None:
    """Size (bytes) of a file, None when there is none. Relative paths lie below the data folder."""
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def _missing(
    images: Sequence[health.StoredFile], products: Sequence[health.StoredFile]
) -> Iterator[Finding]:
    if images:
        message = f"{len(images)} are gone: {_names(images)}"
        yield Finding("fail", "files", message, "put them back, or mount the disk they lie on")
    if products:
        message = f"{len(products)} built products are gone: {_names(products)}"
        yield Finding("fail", "products", message, "put them back from a backup")


def _orphans(
    engine: sa.Engine, files: Sequence[health.StoredFile], data_dir: Path
) -> Iterator[Finding]:
    """Products that do not say what they were made of, and product files that no row names."""
    unexplained = health.orphaned_products(engine)
    if unexplained:
        names = ", ".join(unexplained[:_EXAMPLES])
        message = f"{len(unexplained)} without provenance rows: {names}"
        yield Finding("warn", "products", message, "build them again")
    known = {os.path.realpath(data_dir / file.path) for file in files}
    stray = [
        path
        for path in sorted((data_dir / "products").rglob("*.fits"))
        if os.path.realpath(path) not in known
    ]
    if stray:
        names = ", ".join(str(path) for path in stray[:_EXAMPLES])
        message = f"{len(stray)} files that no dataset names: {names}"
        yield Finding("warn", "products", message, "remove them to get the space back")


def _names(files: Sequence[health.StoredFile]) -> str:
    shown = ", ".join(file.path for file in files[:_EXAMPLES])
    return shown + (" …" if len(files) > _EXAMPLES else "")


def _data_folder(data_dir: Path) -> Iterator[Finding]:
    if not data_dir.is_dir():
        yield Finding("fail", "data folder", f"there is no folder {data_dir}", _INIT)
        return
    try:
        with tempfile.TemporaryFile(dir=data_dir):
            pass
    except OSError as error:
        message = f"cannot write in {data_dir}: {error.strerror}"
        yield Finding("fail", "data folder", message, "make it writable or set SKYLOOM_DATA_DIR")
        return
    free = shutil.disk_usage(data_dir).free
    message = f"{data_dir}: {free / 1024**3:.1f} GiB free"
    if free < _NO_SPACE:
        yield Finding("fail", "data folder", message, "free space; builds will fail")
    elif free < _LITTLE_SPACE:
        yield Finding("warn", "data folder", message, "free space soon; products may not fit")
    else:
        yield Finding("ok", "data folder", message)
