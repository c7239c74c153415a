"""Addresses of files elsewhere: ``https://host/path`` and ``s3://bucket/key``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from app.errors import UsageError, quoted

_SCHEMES: Final = ("s3://", "http://", "https://")
_UNRESERVED: Final = "/!$&'()*+,;=:@[]"
"""Of a path, beside letters, digits and ``_.-~``: as the store's client writes it."""


@dataclass(frozen=True, slots=True)
class Address:
    """A file: ``key`` (decoded, no leading '/') in the store ``base``, ``s3://bucket`` or
    ``https://host``. S3 keys stand in addresses as they are, paths of HTTP percent-encoded."""

    base: str
    key: str

    @classmethod
    def of(cls, text: str) -> Address:
        """Raises UsageError for an address that is none, or that holds more than a place: what it
        says is stored, and a user name, a password or a signature would be stored with it."""
        try:
            parts = urlsplit(text)
        except ValueError:
            raise UsageError("an address has no host that can be read") from None
        if parts.username is not None or parts.password is not None:
            raise UsageError("an address must not hold a user name or a password")
        if parts.scheme != "s3" and (parts.query or parts.fragment):
            raise UsageError(f"{quoted(text.partition('?')[0])}: an address ends with its path")
        if not is_remote(text) or not parts.netloc:
            raise UsageError(f"{quoted(text)} is no s3://, http:// or https:// address")
        base = f"{parts.scheme}://{parts.netloc}"
        path = text.partition("://")[2].partition("/")[2]
        key = path if parts.scheme == "s3" else unquote(path)
        if any(part in {"", ".", ".."} for part in key.rstrip("/").split("/")) and key:
            raise UsageError(f"{quoted(text)}: empty parts, '.' and '..' are not allowed in a path")
        return cls(base, key)

    @property
    def is_s3(self) -> bool:
        """Whether it names a key of an object store."""
        return self.base.startswith("s3:")

    @property
    def name(self) -> str:
        """Of the file."""
        return PurePosixPath(self.key).name

    def beside(self, key: str) -> Address:
        """Another file of the same store."""
        return Address(self.base, key)

    def __str__(self) -> str:
        return f"{self.base}/{self.key if self.is_s3 else quote(self.key, safe=_UNRESERVED)}"


def is_remote(path: str) -> bool:
    """Whether the path of a file is an address elsewhere."""
    return path.startswith(_SCHEMES)


def name_of(path: str) -> str:
    """The name of a file, of this machine or elsewhere."""
    return Address.of(path).name if is_remote(path) else PurePosixPath(path).name


def is_private(url: str) -> bool:
    """Whether nobody on the way can read or exchange what an address answers: it is one of https,
    or of http on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    here = host in {"localhost", "127.0.0.1", "::1"}
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and here))
