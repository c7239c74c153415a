"""Files that pages use: those beside the templates, and bundles that the installation built."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
_DAY_S: Final = 86400
_YEAR_S: Final = 365 * _DAY_S
_DIGITS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFile:
    """Content, media type, and the digest that stands in the file's address. ``compressed`` is the
    content by gzip, where the installation made that."""

    content: bytes
    media_type: str
    digest: str
    compressed: bytes | None = None

    def encoded(self, accepted: str) -> tuple[bytes, dict[str, str]]:
        """What to send a client with this Accept-Encoding, and the headers that say so."""
        if self.compressed is None:
            return self.content, {}
        if "gzip" not in accepted:
            return self.content, {"Vary": "Accept-Encoding"}
        return self.compressed, {"Vary": "Accept-Encoding", "Content-Encoding": "gzip"}

    def cache_control(self, version: str | None) -> str:
        """How long a browser keeps what it asked for as ``version``: an address that names this
        content means it for good, any other one for a day."""
        if version == self.digest:
            return f"public, max-age={_YEAR_S}, immutable"
        return f"max-age={_DAY_S}"


class StaticFiles:
    """The files by name: ``skyloom.css``, ``built/query.js``. They are read once."""

    def __init__(self, folder: Path = _FOLDER) -> None:
        found = [*folder.glob("*.*"), *folder.glob("built/*.*")]
        self._files = {
            path.relative_to(folder).as_posix(): _read(path)
            for path in found
            if path.suffix in _TYPES
        }

    def get(self, name: str) -> StaticFile | None:
        """The file, None when there is none of that name."""
        return self._files.get(name)

    def address(self, name: str) -> str | None:
        """Where it is served, below the root; None when there is none of that name."""
        file = self._files.get(name)
        return None if file is None else f"/static/{name}?v={file.digest}"


def _read(path: Path) -> StaticFile:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:_DIGITS]
    beside = path.with_name(f"{path.name}.gz")
    return StaticFile(
        content=content,
        media_type=_TYPES[path.suffix],
        digest=digest,
        compressed=beside.read_bytes() if beside.exists() else None,
    )
