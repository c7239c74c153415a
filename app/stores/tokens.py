"""Tokens as rows: what is stored of one is its digest, never the token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from app.schema.access import ROLES, Role
from app.stores.database import read_transaction, write_transaction
from app.stores.job_rows import instant_text, parse_instant
from app.stores.tables.physical import access_token as table

_ROLES: Final[Mapping[str, Role]] = {role: role for role in ROLES}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """What is known of a token. ``collections`` are those granted to it; without ``expires`` it is
    good until it is ``revoked``."""

    name: str
    role: Role
    collections: tuple[str, ...]
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None

    def fault(self, now: datetime) -> str | None:
        """Why it is good no more."""
        if self.revoked is not None:
            return "it was revoked"
        if self.expires is not None and self.expires <= now:
            return "it has expired"
        return None


class TokenStore:
    """Stores tokens by name. Every method may raise StoreUnavailableError."""

    def __init__(self, *, engine: sa.Engine) -> None:
        self._engine = engine

    def add(self, token: AccessToken, digest: str, *, replace: bool) -> bool:
        """Store a token, in the place of one of its name if ``replace``; False when there is one
        that may not be replaced."""
        row, named = _to_row(token, digest), table.c.name == token.name
        with write_transaction(self._engine) as connection:
            if replace:
                connection.execute(table.delete().where(named))
            elif connection.execute(sa.select(table.c.name).where(named)).first():
                return False
            connection.execute(table.insert(), row)
        return True

    def note(self, token: AccessToken, digest: str) -> None:
        """Store a token, or what is granted to that of its name now; one that was revoked stays
        as it is."""
        row, named = _to_row(token, digest), table.c.name == token.name
        news = {name: row[name] for name in ("role", "collections", "expires")}
        with write_transaction(self._engine) as connection:
            changed = table.update().where(named, table.c.revoked.is_(None)).values(news)
            if connection.execute(changed).rowcount:
                return
            if connection.execute(sa.select(table.c.name).where(named)).first() is None:
                connection.execute(table.insert(), row)

    def of_digest(self, digest: str) -> AccessToken | None:
        """The token that has a digest."""
        return self._find(table.c.digest == digest)

    def of_name(self, name: str) -> AccessToken | None:
        """The token of a name."""
        return self._find(table.c.name == name)

    def all(self) -> list[AccessToken]:
        """Every token, by name."""
        query = sa.select(table).order_by(table.c.name)
        with read_transaction(self._engine) as connection:
            return [_from_row(row) for row in connection.execute(query).mappings()]

    def revoke(self, name: str, now: datetime) -> bool:
        """Make a token good no more; False when there is none that is not revoked."""
        statement = table.update().where(table.c.name == name, table.c.revoked.is_(None))
        with write_transaction(self._engine) as connection:
            return connection.execute(statement.values(revoked=instant_text(now))).rowcount == 1

    def forget_revoked(self, name: str) -> bool:
        """Remove a token that was revoked; False when there is none."""
        statement = table.delete().where(table.c.name == name, table.c.revoked.is_not(None))
        with write_transaction(self._engine) as connection:
            return connection.execute(statement).rowcount == 1

    def _find(self, condition: sa.ColumnElement[bool]) -> AccessToken | None:
        with read_transaction(self._engine) as connection:
            row = connection.execute(sa.select(table).where(condition)).mappings().first()
        return None if row is None else _from_row(row)


def _to_row(token: AccessToken, digest: str) -> dict[str, Any]:
    """Of a token that is not revoked."""
    return {
        "name": token.name,
        "digest": digest,
        "role": token.role,
        "collections": json.dumps(token.collections),
        "created": instant_text(token.created),
        "expires": None if token.expires is None else instant_text(token.expires),
        "revoked": None,
    }


def _from_row(row: Mapping[Any, Any]) -> AccessToken:
    def instant(name: str) -> datetime | None:
        return None if row[name] is None else parse_instant(row[name])

    return AccessToken(
        name=row["name"],
        role=_ROLES[row["role"]],
        collections=tuple(json.loads(row["collections"])),
        created=parse_instant(row["created"]),
        expires=instant("expires"),
        revoked=instant("revoked"),
    )
