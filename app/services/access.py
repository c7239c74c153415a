"""The rules of :mod:`app.schema.access` by the clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from app.schema.access import ANYBODY, Identity, Rights, may_read, require_read, strictest
from app.schema.rows import DatasetRow


def utc_now() -> datetime:
    """The present."""
    return datetime.now(UTC)


class Gate:
    """Who may have which pixels now."""

    def __init__(self, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._clock = clock

    def is_public(self, rights: Rights) -> bool:
        """Whether everybody may have them."""
        return rights.is_public(self._clock())

    def may_read(self, identity: Identity, rights: Rights) -> bool:
        """See :func:`app.schema.access.may_read`."""
        return may_read(identity, rights, self._clock())

    def require(self, identity: Identity, row: DatasetRow) -> None:
        """Raises AuthenticationError or ForbiddenError unless someone may have the pixels of a
        row; of images that lie elsewhere there are none here."""
        if not row.is_external:
            require_read(identity, row.rights, self._clock(), row.dataset_id)

    def require_rights(self, identity: Identity, rights: Rights, dataset_id: str) -> None:
        """The same, where the rights are known."""
        require_read(identity, rights, self._clock(), dataset_id)

    def visible(self, identity: Identity, rows: Sequence[DatasetRow]) -> list[DatasetRow]:
        """The rows whose pixels someone may have."""
        return [row for row in rows if self.may_read(identity, row.rights)]

    def audience(self, rights: Rights) -> Identity:
        """The least known of those who may have certain pixels."""
        if self.is_public(rights):
            return Identity()
        return Identity(name="", collections=frozenset(rights.collections))

    def strictest(self, rights: Iterable[Rights]) -> Rights:
        """See :func:`app.schema.access.strictest`."""
        return strictest(rights, self._clock())


def anybody(_owner: str | None) -> Identity:
    """Who owns a job, where nobody tells: somebody to whom nothing is granted."""
    return ANYBODY


GATE: Final = Gate()
