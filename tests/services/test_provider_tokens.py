"""Keys and tokens of identity providers of every kind: what they publish lies on a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from app.errors import ProviderUnavailableError, TokenError
from app.schema.access import ANYBODY, Identity
from app.services.identities import GRANTED, IdentityService
from app.services.provider_tokens import Mapped, ProviderTokens
from app.stores.metadata import open_stores
from app.stores.provider_keys import FRESH_S, GAP_S, KEPT_S, MOST_BYTES, ProviderKeys
from tests.databases import database_at
from tests.storages import HttpStorage, http_storage

NOW = datetime(2026, 5, 1, tzinfo=UTC)
AUDIENCE = "skyloom"


@dataclass
class Publisher:
    """A provider whose documents are files, and the seconds that have passed."""

    storage: HttpStorage
    keys: dict[str, tuple[Any, str]] = field(default_factory=dict)
    seconds: float = 0.0

    def publish(self, *, issuer: str | None = None, **more: Any) -> None:
        """Write the documents."""
        found = []
        for kid, (key, algorithm) in self.keys.items():
            kind = jwt.get_algorithm_by_name(algorithm)
            found.append({**json.loads(kind.to_jwk(key.public_key())), "kid": kid, **more})
        folder = self.storage.folder / ".well-known"
        folder.mkdir(exist_ok=True)
        told = {"issuer": issuer or self.storage.url, "jwks_uri": f"{self.storage.url}/keys.json"}
        (folder / "openid-configuration").write_text(json.dumps(told))
        (self.storage.folder / "keys.json").write_text(json.dumps({"keys": found}))

    def tokens(self, **mapped: Any) -> ProviderTokens:
        """What reads its tokens, and knows no keys yet."""
        keys = ProviderKeys(issuer=self.storage.url, clock=lambda: self.seconds)
        return ProviderTokens(
            keys=keys, issuer=self.storage.url, audience=AUDIENCE, mapped=Mapped(**mapped)
        )

    def sign(self, kid: str, *, named: bool = True, **claims: Any) -> str:
        """A token for ada that is good for an hour."""
        key, algorithm = self.keys[kid]
        told = {
            "iss": self.storage.url,
            "aud": AUDIENCE,
            "sub": "ada",
            "exp": int((NOW + timedelta(hours=1)).timestamp()),
        }
        told = {name: value for name, value in {**told, **claims}.items() if value is not None}
        return jwt.encode(told, key, algorithm, headers={"kid": kid} if named else None)


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    """One with keys of three kinds."""
    folder = tmp_path / "provider"
    folder.mkdir()
    with http_storage(folder) as storage:
        made = Publisher(storage)
        made.keys = {
            "first": (rsa.generate_private_key(public_exponent=65537, key_size=2048), "PS256"),
            "curve": (ec.generate_private_key(ec.SECP256R1()), "ES256"),
            "edwards": (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
        }
        made.publish()
        yield made


def test_keys_of_every_kind(publisher: Publisher) -> None:
    tokens = publisher.tokens()
    for kid in publisher.keys:
        for named in (True, False):
            assert tokens.read(publisher.sign(kid, named=named), NOW).name == "oidc:ada"
    assert publisher.storage.requests["GET"] == 2


def test_what_claims_mean(publisher: Publisher) -> None:
    tokens = publisher.tokens(
        groups_claim="realm_access.roles",
        role="reader",
        roles={"staff": "user", "chiefs": "operator"},
        collections={"staff": ("deep",), "survey": ("wide", "deep")},
    )
    for groups, role, collections in (
        (None, "reader", ()),
        ("staff", "user", ("deep",)),
        (["chiefs", "survey", "staff"], "operator", ("deep", "wide")),
        (["unknown", 7, {"staff": 1}], "reader", ()),
        ({"staff": True}, "reader", ()),
    ):
        read = tokens.read(publisher.sign("curve", realm_access={"roles": groups}), NOW)
        assert (read.role, read.collections) == (role, collections)
    assert tokens.read(publisher.sign("curve", realm_access=3), NOW).role == "reader"


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"exp": None}, "lacks the claim 'exp'"),
        ({"aud": None}, "lacks the claim 'aud'"),
        ({"aud": ["a", "b"]}, "another audience"),
        ({"iss": None}, "lacks the claim 'iss'"),
        ({"iss": "https://elsewhere.example.org"}, "another issuer"),
        ({"exp": True}, "'exp' is no time"),
        ({"exp": "tomorrow"}, "'exp' is no time"),
        ({"exp": -1e300}, "'exp' is no time"),
    ],
)
def test_tokens_that_lack_something(
    publisher: Publisher, claims: dict[str, Any], told: str
) -> None:
    with pytest.raises(TokenError, match=told):
        publisher.tokens().read(publisher.sign("first", **claims), NOW)


def test_a_key_is_used_for_what_it_was_made_for(publisher: Publisher) -> None:
    token = publisher.sign("first")
    for more in ({"use": "enc"}, {"alg": "RS256"}, {"kty": "oct", "k": "AAAA"}):
        publisher.publish(**more)
        tokens = publisher.tokens()
        with pytest.raises(TokenError, match="no key of the identity provider has signed it"):
            tokens.read(token, NOW)


def test_the_provider_is_not_asked_again_and_again(publisher: Publisher) -> None:
    tokens, requests = publisher.tokens(), publisher.storage.requests
    old = publisher.sign("first")
    tokens.read(old, NOW)
    publisher.keys["second"] = (ec.generate_private_key(ec.SECP256R1()), "ES256")
    new = publisher.sign("second")
    for _ in range(50):
        with pytest.raises(TokenError, match="no key"):
            tokens.read(new, NOW)
    assert requests["GET"] == 2
    del publisher.keys["first"]
    publisher.publish()
    publisher.seconds += GAP_S
    assert tokens.read(new, NOW).name == "oidc:ada"
    assert requests["GET"] == 4
    with pytest.raises(TokenError, match="no key"):
        tokens.read(old, NOW)
    publisher.seconds += FRESH_S + 1
    tokens.read(new, NOW)
    assert requests["GET"] == 6


def test_a_provider_that_is_away_is_missed_after_a_day(publisher: Publisher) -> None:
    tokens, token = publisher.tokens(), publisher.sign("first")
    tokens.read(token, NOW)
    publisher.storage.fault = "status 500"
    publisher.seconds += KEPT_S - 1
    tokens.read(token, NOW)
    publisher.seconds += GAP_S
    with pytest.raises(ProviderUnavailableError):
        tokens.read(token, NOW)
    publisher.storage.fault = None
    with pytest.raises(ProviderUnavailableError):
        tokens.read(token, NOW)  # it was asked just now
    publisher.seconds += GAP_S
    tokens.read(token, NOW)


def test_documents_that_are_not_those_of_the_provider(
    publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    token, folder = publisher.sign("first"), publisher.storage.folder
    described = folder / ".well-known" / "openid-configuration"
    elsewhere = {"issuer": publisher.storage.url, "jwks_uri": "http://192.0.2.1/keys.json"}
    for content, told in (
        (json.dumps({"issuer": "https://elsewhere.example.org"}), "calls itself"),
        (json.dumps(elsewhere), "no https address"),
        ("[]", "no JSON object"),
        ("[" * 100_000, "no JSON object"),
        ("{", "Expecting"),
        (" " * (MOST_BYTES + 1), "more than"),
    ):
        described.write_text(content)
        with pytest.raises(ProviderUnavailableError):
            publisher.tokens().read(token, NOW)
        assert told in caplog.messages[-1]
    publisher.publish()
    (folder / "keys.json").write_text('{"keys": {"first": 1}}')
    with pytest.raises(ProviderUnavailableError):
        publisher.tokens().read(token, NOW)
    publisher.storage.redirect = "http://127.0.0.1:9"
    with pytest.raises(ProviderUnavailableError):
        publisher.tokens().read(token, NOW)
    assert "status 302" in caplog.messages[-1]


def test_a_token_ends_and_later_what_its_owner_was_granted(
    publisher: Publisher, tmp_path: Path
) -> None:
    time = [NOW]
    stores = open_stores(database_at(tmp_path / "accounts.sqlite3"))
    tokens = publisher.tokens(groups_claim="groups", collections={"survey": ("deep",)})
    service = IdentityService(
        tokens=stores.tokens, clock=lambda: time[0], anonymous=ANYBODY, provider=tokens
    )
    token = publisher.sign("first", groups=["survey"])
    known = Identity(name="oidc:ada", collections=frozenset({"deep"}))
    assert service.of_token(token) == known
    time[0] += timedelta(hours=1, seconds=59)
    assert service.of_token(token) == known
    time[0] += timedelta(seconds=2)
    with pytest.raises(TokenError, match="it has expired"):
        service.of_token(token)
    assert service.of_owner("oidc:ada") == known
    time[0] += GRANTED
    assert service.of_owner("oidc:ada") == Identity(name="oidc:ada", may_build=False)
    stores.close()
