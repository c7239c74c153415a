"""Who a token stands for, and the tokens themselves."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from app.errors import NotFoundError, ServiceError, TokenError, UsageError, quoted
from app.schema.access import OPERATOR, Identity, Role
from app.stores.tokens import AccessToken, TokenStore

log = logging.getLogger(__name__)

KEPT_S: Final = 2.0
"""So long a server goes by what it knows of a token: so soon a revoked one is refused."""
MOST_KEPT: Final = 4096
GRANTED: Final = timedelta(days=1)
"""So long after an account of the identity provider came last its jobs are run with its grants."""
NOTED_AFTER: Final = timedelta(hours=1)
"""How often it is noted that an account came."""
PREFIX: Final = "skyloom_"
"""Tokens are known by it when one lies where it should not."""
ACCOUNT_PREFIX: Final = "oidc:"
"""Accounts of an identity provider begin with it, so that none is mistaken for that of a token."""
_JWT_PARTS: Final = 3
_SECRET_BYTES: Final = 32
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_RESERVED: Final = (str(OPERATOR.name), "anonymous")


class ReadsTokens(Protocol):
    """Reads the tokens of an identity provider."""

    def read(self, secret: str, now: datetime) -> AccessToken:
        """Whose it is, what is granted to them, and until when it is good. Raises TokenError,
        ProviderUnavailableError."""


class IdentityService:
    """Tells who asks. ``anonymous`` is who asks without a token; ``provider`` reads the tokens of
    an identity provider, where there is one.

    Who comes with one of those is noted among our own tokens, under a digest that no token has: so
    their jobs are run with what was granted to them, and so their account can be revoked.
    """

    def __init__(
        self,
        *,
        tokens: TokenStore,
        clock: Callable[[], datetime],
        anonymous: Identity,
        provider: ReadsTokens | None = None,
    ) -> None:
        self.anonymous = anonymous
        self._provider = provider
        self._tokens = tokens
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, AccessToken | None]] = OrderedDict()
        self._lock = threading.Lock()

    def of_token(self, secret: str) -> Identity:
        """Who sends a token. Raises TokenError for one that is wrong, expired or revoked,
        ProviderUnavailableError.

        One of ours is found by its SHA-256: how long that takes tells nothing of tokens that there
        are.
        """
        digest = digest_of(secret)
        found = self._cached(digest)
        token = self._look_up(secret, digest) if found is None else found[1]
        if token is None:
            raise TokenError("nobody has it")
        fault = token.fault(self._clock())
        if fault is not None:
            raise TokenError(fault)
        return _identity(token)

    def is_known(self, secret: str) -> bool:
        """Whether :meth:`of_token` needs no look into the database."""
        return self._cached(digest_of(secret)) is not None

    def asks_provider(self, secret: str) -> bool:
        """Whether a token is one of the identity provider, who may have to be waited for: a JSON
        Web Token, as no token of ours can be."""
        return self._provider is not None and secret.count(".") == _JWT_PARTS - 1

    def of_owner(self, name: str | None) -> Identity:
        """Who a job is run for, with what is granted to them now: nothing without a good token."""
        if name is None:
            return self.anonymous
        if name == OPERATOR.name:
            return OPERATOR
        token = self._tokens.of_name(name)
        if token is None or token.fault(self._clock()) is not None:
            return Identity(name=name, may_build=False)
        return _identity(token)

    def _cached(self, digest: str) -> tuple[float, AccessToken | None] | None:
        with self._lock:
            found = self._known.get(digest)
        return found if found is not None and found[0] > time.monotonic() else None

    def _look_up(self, secret: str, digest: str) -> AccessToken | None:
        token: AccessToken | None
        if self._provider is not None and self.asks_provider(secret):
            token = self._noted(self._provider.read(secret, self._clock()))
        else:
            token = self._tokens.of_digest(digest)
        with self._lock:
            self._known[digest] = (time.monotonic() + KEPT_S, token)
            self._known.move_to_end(digest)
            if len(self._known) > MOST_KEPT:
                self._known.popitem(last=False)
        return token

    def _noted(self, token: AccessToken) -> AccessToken:
        """The same token of the provider, its account noted, and revoked if that was."""
        now, old = self._clock(), self._tokens.of_name(token.name)
        if old is not None and old.revoked is not None:
            return replace(token, revoked=old.revoked)
        kept = replace(token, expires=now + GRANTED)
        if old is None or _differs(old, kept):
            try:
                self._tokens.note(kept, digest_of(secrets.token_urlsafe(_SECRET_BYTES)))
            except ServiceError as fault:  # another server notes it now, or nothing can be written
                log.warning("the account %r is not noted: %s", token.name, fault)
        return token


def _differs(old: AccessToken, new: AccessToken) -> bool:
    """Whether an account was granted something else, or was noted long ago."""
    is_old = old.expires is None or new.expires is None or new.expires - old.expires > NOTED_AFTER
    return is_old or (old.role, old.collections) != (new.role, new.collections)


class TokenService:
    """What an operator does with tokens."""

    def __init__(self, *, tokens: TokenStore, clock: Callable[[], datetime]) -> None:
        self._tokens = tokens
        self._clock = clock

    def create(
        self, name: str, *, role: Role, collections: Sequence[str], days: float | None
    ) -> str:
        """A new token, which is told only now. Jobs belong to its name, so only one that is good
        no more is replaced. Raises UsageError."""
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise UsageError(
                f"{quoted(name)} cannot be the name of a token: up to 64 letters, digits and "
                f"._@-, the first a letter or digit, and not {' or '.join(_RESERVED)}"
            )
        if days is not None and not 0 < days <= 36_500:
            raise UsageError(f"--expires {days:g}: more than 0 and at most 36500 days")
        now, old = self._clock(), self._tokens.of_name(name)
        token = AccessToken(
            name=name,
            role=role,
            collections=tuple(dict.fromkeys(collections)),
            created=now,
            expires=None if days is None else now + timedelta(days=days),
        )
        secret = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        is_over = old is not None and old.fault(now) is not None
        if not self._tokens.add(token, digest_of(secret), replace=is_over):
            raise UsageError(f"there is a token {quoted(name)}; revoke it first")
        return secret

    def list(self) -> list[tuple[AccessToken, str]]:
        """Every token and its state: good, or why it is not."""
        now = self._clock()
        return [(token, token.fault(now) or "good") for token in self._tokens.all()]

    def revoke(self, name: str) -> None:
        """Make a token, or an account of the identity provider, good no more, everywhere within
        :data:`KEPT_S`. Raises NotFoundError."""
        if not self._tokens.revoke(name, self._clock()):
            raise NotFoundError(f"A token {quoted(name)} that is not revoked")

    def restore(self, name: str) -> None:
        """Let an account of the identity provider in again. Raises NotFoundError."""
        if not (name.startswith(ACCOUNT_PREFIX) and self._tokens.forget_revoked(name)):
            raise NotFoundError(
                f"An account of the identity provider {quoted(name)}, revoked here,"
            )


def digest_of(secret: str) -> str:
    """What is stored of a token. It is 256 random bits, which nobody finds by trying."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _identity(token: AccessToken) -> Identity:
    return Identity(
        name=token.name,
        may_build=token.role != "reader",
        sees_all=token.role == "operator",
        collections=frozenset(token.collections),
    )
