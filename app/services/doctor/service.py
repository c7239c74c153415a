"""The examination as a whole: the database, what is in it, the data folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from app.errors import ServiceError
from app.services.doctor.census import SETTLED_S, take_census
from app.services.doctor.elsewhere import SUBJECT, elsewhere_findings
from app.services.doctor.files import file_findings, mend
from app.services.doctor.finding import INIT, Finding
from app.services.doctor.versions import version_findings
from app.stores import health
from app.stores.database import open_engine, sqlite_file
from app.stores.kept_files import KeptFiles
from app.stores.migrations import current_revision, head_revision

_LITTLE_SPACE: Final = 5 * 1024**3
_NO_SPACE: Final = 200 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What ``--repair`` needs: ``relist`` lists anew what can be built, what nobody has written to
    for ``settled_s`` is no work under way."""

    relist: Callable[[], object]
    settled_s: float = SETTLED_S


def doctor(
    url: str,
    *,
    files: KeptFiles,
    deep: bool = False,
    repair: Repair | None = None,
) -> list[Finding]:
    """Examine the database and the data folder; every finding, good ones included.

    ``deep`` reads every file here and compares checksums; of images elsewhere it is asked what
    their storages tell of them. Nothing is changed but by a ``repair``. What cannot be examined
    because something before it failed is left out.
    """
    findings = list(_data_folder(files.data_dir))
    path = sqlite_file(url)
    if path is not None and not path.exists():
        missing = Finding("fail", "database", f"there is no file {path}", INIT)
        return [missing, *findings]
    engine = open_engine(url, pool_size=1)
    try:
        return [*_database(engine, files, deep, repair), *findings]
    finally:
        engine.dispose()


def _database(
    engine: sa.Engine, files: KeptFiles, deep: bool, repair: Repair | None
) -> Iterator[Finding]:
    """The database first; its contents only when it is at the right revision."""
    name = engine.url.render_as_string(hide_password=True)
    try:
        revision = current_revision(engine)
    except ServiceError as error:
        yield Finding("fail", "database", str(error), f"make {name} reachable")
        return
    yield Finding("ok", "database", f"{name} answers")
    yield from version_findings(engine)
    head = head_revision()
    if revision != head:
        state = "was never initialised" if revision is None else f"is at revision {revision}"
        yield Finding("fail", "tables", f"the database {state}; {head} is needed", INIT)
        return
    yield Finding("ok", "tables", f"at revision {head}")
    # What is mended shows in the contents.
    of_files = list(_guarded("files", lambda: _files(engine, files, deep, repair)))
    yield from _guarded("tables", lambda: _contents(engine))
    yield from of_files
    remote = files.remote
    if remote is not None:
        yield from _guarded(SUBJECT, lambda: elsewhere_findings(engine, remote))


def _files(
    engine: sa.Engine, files: KeptFiles, deep: bool, repair: Repair | None
) -> Iterator[Finding]:
    settled_s = SETTLED_S if repair is None else repair.settled_s
    census = take_census(engine, files, deep=deep, settled_s=settled_s)
    if repair is not None:
        done, census = mend(census, engine, files, relist=repair.relist)
        yield from done
    yield from file_findings(census)


def _guarded(subject: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A check whose own failure is a finding too."""
    try:
        yield from check()
    except ServiceError as error:
        yield Finding("fail", subject, str(error), "see the message")


def _contents(engine: sa.Engine) -> Iterator[Finding]:
    yield Finding("ok", "datasets", f"{health.dataset_count(engine)} in ivoa.ObsCore")
    if not health.tap_schema_matches(engine):
        yield Finding("fail", "TAP_SCHEMA", "does not describe the published columns", INIT)
    lost = health.regions_without_index(engine)
    if lost:
        message = f"{lost} regions are not indexed: searches miss them"
        yield Finding("fail", "spatial index", message, INIT)
    else:
        yield Finding("ok", "spatial index", "complete")
    waiting = health.places_to_look_at(engine)
    if waiting:
        message = f"{waiting} places with new or changed exposures were not looked at"
        yield Finding("warn", "differences that can be built", message, INIT)


def _data_folder(data_dir: Path) -> Iterator[Finding]:
    if not data_dir.is_dir():
        yield Finding("fail", "data folder", f"there is no folder {data_dir}", INIT)
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
