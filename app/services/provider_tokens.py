"""Tokens of an identity provider (OpenID Connect): JSON Web Tokens that it has signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt

from app.errors import TokenError, quoted, shortened
from app.schema.access import ROLES, Role
from app.services.identities import ACCOUNT_PREFIX
from app.stores.provider_keys import Key, ProviderKeys
from app.stores.tokens import AccessToken

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
"""Signatures with a key of which the provider alone has the private half. Never ``none``, and none
with a shared secret: everybody has the public keys and could sign with them."""
LEEWAY: Final = timedelta(seconds=60)
"""How much clocks may differ."""
_LONGEST_NAME: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What claims mean here. ``roles`` and ``collections`` are by group; of several roles the one
    with the most rights counts, without any ``role``."""

    account_claim: str = "sub"
    groups_claim: str = "groups"
    role: Role = "user"
    roles: Mapping[str, Role] = field(default_factory=dict)
    collections: Mapping[str, Sequence[str]] = field(default_factory=dict)


class ProviderTokens:
    """Reads tokens that the provider at ``issuer`` made for ``audience``."""

    def __init__(self, *, keys: ProviderKeys, issuer: str, audience: str, mapped: Mapped) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._mapped = mapped

    def read(self, secret: str, now: datetime) -> AccessToken:
        """Whose it is, what its groups grant, and until when it is good.

        Raises TokenError saying what is wrong with it, ProviderUnavailableError.
        """
        claims = self._verified(secret)
        expires = _instant(claims, "exp")
        if "nbf" in claims and _instant(claims, "nbf") > now + LEEWAY:
            raise TokenError("it is not good yet")
        return AccessToken(
            name=self._name(claims),
            role=self._role(claims),
            collections=self._collections(claims),
            created=now,
            expires=expires + LEEWAY,
        )

    def _verified(self, secret: str) -> Mapping[str, Any]:
        """The claims of a token with a good signature, of the right issuer and audience."""
        try:
            header = jwt.get_unverified_header(secret)
        except jwt.PyJWTError:
            raise TokenError("it cannot be read as a JSON Web Token") from None
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            told = f"signed as {quoted(algorithm)}"
            raise TokenError(f"it is {told}; allowed are {', '.join(ALGORITHMS)}")
        kid = header.get("kid")
        for anew in (False, True):
            for key in self._keys.find(None if kid is None else str(kid), anew=anew):
                claims = self._claims(secret, key, algorithm)
                if claims is not None:
                    return claims
        raise TokenError("no key of the identity provider has signed it")

    def _claims(self, secret: str, key: Key, algorithm: str) -> Mapping[str, Any] | None:
        """None when it was not signed with this key. Times are looked at by our own clock."""
        if key.get("alg", algorithm) != algorithm:
            return None
        try:
            found: Mapping[str, Any] = jwt.decode(
                secret,
                jwt.PyJWK(dict(key), algorithm),
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                options={
                    "require": ["exp", "iss", "aud"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except (jwt.InvalidSignatureError, jwt.InvalidKeyError, jwt.PyJWKError):
            return None
        except jwt.InvalidAudienceError:
            raise TokenError("it was made for another audience") from None
        except jwt.InvalidIssuerError:
            raise TokenError("it is of another issuer") from None
        except jwt.MissingRequiredClaimError as fault:
            raise TokenError(f"it lacks the claim {quoted(fault.claim)}") from None
        except jwt.PyJWTError as fault:
            raise TokenError(shortened(fault)) from None
        return found

    def _name(self, claims: Mapping[str, Any]) -> str:
        name = _claim(claims, self._mapped.account_claim)
        if (
            not isinstance(name, str)
            or not 0 < len(name) <= _LONGEST_NAME
            or not name.isprintable()
        ):
            claim = quoted(self._mapped.account_claim)
            raise TokenError(f"its claim {claim} does not name an account")
        return ACCOUNT_PREFIX + name

    def _groups(self, claims: Mapping[str, Any]) -> list[str]:
        found = _claim(claims, self._mapped.groups_claim)
        groups = [found] if isinstance(found, str) else found
        return (
            [each for each in groups if isinstance(each, str)] if isinstance(groups, list) else []
        )

    def _role(self, claims: Mapping[str, Any]) -> Role:
        known = [
            self._mapped.roles[each] for each in self._groups(claims) if each in self._mapped.roles
        ]
        return max(known, key=ROLES.index, default=self._mapped.role)

    def _collections(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        names = {
            name
            for group in self._groups(claims)
            for name in self._mapped.collections.get(group, ())
        }
        return tuple(sorted(names))


def _claim(claims: Mapping[str, Any], name: str) -> object:
    """A claim by its name, or inside of others: ``realm_access.roles``."""
    if name in claims:
        return claims[name]
    outer, dot, inner = name.partition(".")
    held = claims.get(outer)
    return _claim(held, inner) if dot and isinstance(held, Mapping) else None


def _instant(claims: Mapping[str, Any], name: str) -> datetime:
    """A time, which tokens tell in seconds since 1970."""
    value = claims[name]
    try:
        if not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        pass
    raise TokenError(f"its claim {quoted(name)} is no time")
