"""The keys that sign file links, kept in the data folder.

``signing.key`` holds a key a line, as hexadecimal, the newest first; each older one is followed by
when it was replaced (Unix seconds).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from pathlib import Path
from typing import Final

from app.errors import UsageError

KEY_BYTES: Final = 32
SLACK_S: Final = 60
"""So long a server may go on to sign with a key after it was replaced."""


class SigningKeys:
    """The keys of a data folder, made at the first call, readable by their owner only.

    Servers that share the folder, also when they start at one moment, share the keys; a key that
    was replaced is good for ``lifetime_s`` and a little more.
    """

    def __init__(self, *, data_dir: Path, lifetime_s: int) -> None:
        self._path = data_dir / "signing.key"
        self._lifetime_s = lifetime_s
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._lines: tuple[tuple[bytes, float | None], ...] = ()

    def good(self, now_s: float) -> tuple[bytes, ...]:
        """The keys that are good at a time, the newest first."""
        with self._lock:
            lines = self._read()
        oldest_s = now_s - self._lifetime_s - SLACK_S
        return tuple(key for key, replaced in lines if replaced is None or replaced >= oldest_s)

    def rotate(self, now_s: float) -> int:
        """A new key to sign with; how many older ones are still good."""
        with self._lock:
            lines = self._read()
        oldest_s = now_s - self._lifetime_s - SLACK_S
        old = [(key, now_s if replaced is None else replaced) for key, replaced in lines]
        kept = [f"{key.hex()} {when:.0f}" for key, when in old if when >= oldest_s]
        draft = _write_draft(self._path, "\n".join([secrets.token_hex(KEY_BYTES), *kept]))
        draft.replace(self._path)
        return len(kept)

    def _read(self) -> tuple[tuple[bytes, float | None], ...]:
        """The lines of the file, read again when it was replaced."""
        try:
            facts = self._path.stat()
        except FileNotFoundError:
            _create(self._path)
            facts = self._path.stat()
        seen = (facts.st_ino, facts.st_mtime_ns)
        if seen != self._seen:
            self._lines = tuple(map(_line, self._path.read_text().split("\n")))
            self._seen = seen
        return self._lines


def _line(text: str) -> tuple[bytes, float | None]:
    key, _, replaced = text.strip().partition(" ")
    try:
        return bytes.fromhex(key), float(replaced) if replaced else None
    except ValueError:
        raise UsageError("signing.key in the data folder cannot be read") from None


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _write_draft(path, secrets.token_hex(KEY_BYTES))
    try:
        # A link fails where the name is taken: the first of several servers wins.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def _write_draft(path: Path, text: str) -> Path:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return draft
