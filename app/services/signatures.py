"""Links to files that expire and cannot be made by others.

A token is ``<expiry>.<file>.<signature>``: the expiry in Unix seconds, the file as base64url of
its dataset identifier and part number, the signature as hexadecimal HMAC-SHA256 of both. It says
nothing about where the file lies.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.errors import SignatureError

_SEPARATOR: Final = "."
_PART: Final = "\x1f"


@dataclass(frozen=True, slots=True)
class FileRef:
    """One file of a dataset: part 0 is its own file, the others its companions in order."""

    dataset_id: str
    part: int = 0


class FileSigner:
    """Makes and checks tokens. ``keys`` gives the keys that are good now, the one to sign with
    first."""

    def __init__(
        self, *, keys: Callable[[], Sequence[bytes]], clock: Callable[[], datetime], lifetime_s: int
    ) -> None:
        self._keys = keys
        self._clock = clock
        self.lifetime_s: Final = lifetime_s
        self.keep_s = lifetime_s // 2
        """So long a token may be kept: half of its life is left to whoever finds it then."""

    def sign(self, ref: FileRef) -> str:
        """A token that is good for the lifetime of links."""
        expiry = int(self._clock().timestamp()) + self.lifetime_s
        return _signed(self._keys()[0], ref, expiry)

    def left_s(self, token: str) -> float:
        """How long a token will be good, whoever made it; at least a second."""
        return max(1.0, _parse(token)[1] - self._clock().timestamp())

    def open(self, token: str) -> FileRef:
        """The file a token stands for. Raises SignatureError when it is forged or expired."""
        ref, expiry = _parse(token)
        given = token.encode()
        if not any(
            hmac.compare_digest(_signed(key, ref, expiry).encode(), given) for key in self._keys()
        ):
            raise SignatureError("its signature is wrong; get a new one from the DataLink document")
        if self._clock().timestamp() > expiry:
            raise SignatureError("it has expired; get a new one from the DataLink document")
        return ref


def _signed(key: bytes, ref: FileRef, expiry: int) -> str:
    name = f"{ref.part}{_PART}{ref.dataset_id}".encode()
    body = f"{expiry}{_SEPARATOR}{base64.urlsafe_b64encode(name).decode().rstrip('=')}"
    signature = hmac.digest(key, body.encode(), "sha256").hex()
    return f"{body}{_SEPARATOR}{signature}"


def _parse(token: str) -> tuple[FileRef, int]:
    """What a token claims. The signature covers one spelling only: the caller compares texts."""
    try:
        expiry, name, _ = token.split(_SEPARATOR)
        decoded = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
        part, dataset_id = decoded.split(_PART, 1)
        return FileRef(dataset_id, int(part)), int(expiry)
    except (ValueError, binascii.Error):
        raise SignatureError("it is not complete") from None
