"""Files that lie elsewhere: whether they are what they were when they were read."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import sqlalchemy as sa

from app.errors import ServiceError
from app.services.doctor.finding import Finding, Status, examples
from app.stores import health
from app.stores.remote.addresses import is_remote
from app.stores.remote.files import RemoteFiles

SUBJECT: Final = "files elsewhere"
_ASKED_AT_ONCE: Final = 16
_ADVICE: Final[tuple[tuple[str, Status, str], ...]] = (
    ("gone", "fail", "put them back, or withdraw them"),
    ("changed", "warn", "run skyloom ingest on their addresses again"),
    ("not known", "fail", "see whether their storage answers, and the keys and settings for it"),
)


def elsewhere_findings(engine: sa.Engine, remote: RemoteFiles) -> Iterator[Finding]:
    """By what their storages tell of them; nothing where there are none.

    Raises StoreUnavailableError.
    """
    files = [
        file for file in health.stored_files(engine) if is_remote(file.path) and not file.built
    ]
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as threads:
        states = list(threads.map(lambda file: _state_of(file, remote), files))
    if kept := states.count("there"):
        yield Finding("ok", SUBJECT, f"{kept} of {len(files)} are as they were read")
    for state, status, advice in _ADVICE:
        some = [file.path for file, found in zip(files, states, strict=True) if found == state]
        if some:
            yield Finding(status, SUBJECT, f"{len(some)} are {state}: {examples(some)}", advice)


def _state_of(file: health.StoredFile, remote: RemoteFiles) -> str:
    try:
        facts = remote.facts(file.path)
    except FileNotFoundError:
        return "gone"
    except (OSError, ServiceError):
        return "not known"
    same = (facts.size_bytes, facts.mtime_ns) == (file.size_bytes, file.mtime_ns)
    return "there" if same else "changed"
