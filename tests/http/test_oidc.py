"""Tokens of an identity provider, which runs as a process of its own, and what is no such token."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import ValidationError
from starlette.testclient import TestClient

from app.config import Config
from app.main import Application, create_app
from app.services import identities
from app.services.provider_tokens import ALGORITHMS
from app.stores import provider_keys
from app.wiring_database import initialise, open_tokens
from tests.identity_provider import AUDIENCE, IdentityProvider, identity_provider
from tests.xsd import assert_valid_votable

QUERY = "/tap/sync?LANG=ADQL&QUERY=SELECT+1+FROM+ivoa.ObsCore"


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    """With ada of the staff, and a guest."""
    with identity_provider() as made:
        made.set_user("ada", groups=["staff", "deep-survey"], preferred_username="Ada L.")
        made.set_user("guest", groups=["visitors"])
        yield made


def settings_of(provider: IdentityProvider, folder: Path, **more: Any) -> Config:
    """Of a service that takes the provider's tokens."""
    return Config(
        data_dir=folder,
        workers=1,
        anonymous="none",
        oidc_issuer=provider.issuer,
        oidc_audience=AUDIENCE,
        oidc_role="reader",
        oidc_roles={"staff": "user", "deep-survey": "reader"},
        oidc_collections={"deep-survey": ("deep", "wide")},
        **more,
    )


@pytest.fixture
def config(provider: IdentityProvider, tmp_path: Path) -> Config:
    """A service that knows the provider."""
    made = settings_of(provider, tmp_path / "data")
    initialise(made)
    return made


@pytest.fixture
def client(config: Config) -> Iterator[TestClient]:
    """A client of it."""
    with TestClient(create_app(config), follow_redirects=False) as made:
        yield made


def bearer(token: str) -> dict[str, str]:
    """The header with a token."""
    return {"Authorization": f"Bearer {token}"}


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, unread."""
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


def test_who_the_provider_knows_is_an_account(
    client: TestClient, provider: IdentityProvider, config: Config
) -> None:
    ada, guest = (bearer(provider.token(name)) for name in ("ada", "guest"))
    assert client.get(QUERY).status_code == 401
    assert client.get(QUERY, headers=ada).status_code == 200
    as_password = base64.b64encode(f"x:{provider.token('ada')}".encode()).decode()
    assert client.get(QUERY, headers={"Authorization": f"Basic {as_password}"}).status_code == 200
    made = client.post("/tap/async", data={"LANG": "ADQL", "QUERY": "SELECT 1"}, headers=ada)
    job = made.headers["location"]
    assert client.get(f"{job}/owner", headers=ada).text == "oidc:ada"
    assert client.get(f"{job}/owner", headers=guest).status_code == 403
    refused = client.post("/builds/template/async", data={"ID": "x"}, headers=guest)
    assert refused.status_code == 403
    assert "one for reading" in refused.text
    assert client.post("/builds/template/async", data={"ID": "x"}, headers=ada).status_code == 303
    with open_tokens(config) as tokens:
        known = {each.name: (each.role, each.collections, told) for each, told in tokens.list()}
    assert known == {
        "oidc:ada": ("user", ("deep", "wide"), "good"),
        "oidc:guest": ("reader", (), "good"),
    }


def test_jobs_run_with_what_was_granted_to_their_owner(
    client: TestClient, provider: IdentityProvider
) -> None:
    assert client.get(QUERY, headers=bearer(provider.token("ada"))).status_code == 200
    app = client.app
    assert isinstance(app, Application)
    owner = app.services.identities.of_owner("oidc:ada")
    assert (owner.name, owner.may_build, owner.collections) == (
        "oidc:ada",
        True,
        frozenset({"deep", "wide"}),
    )


def test_an_account_can_be_revoked_here(
    client: TestClient,
    provider: IdentityProvider,
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(identities, "KEPT_S", 0.0)
    headers = bearer(provider.token("ada"))
    assert client.get(QUERY, headers=headers).status_code == 200
    with open_tokens(config) as tokens:
        tokens.revoke("oidc:ada")
        refused = client.get(QUERY, headers=headers)
        assert refused.status_code == 401
        assert "it was revoked" in refused.text
        tokens.restore("oidc:ada")
    assert client.get(QUERY, headers=headers).status_code == 200


def forgeries(provider: IdentityProvider) -> Iterator[tuple[str, str]]:
    """Tokens that the provider never made, and what is said of them."""
    good = provider.token("ada")
    claims, (key,) = claims_of(good), provider.keys()
    head, body, signature = good.split(".")
    mine = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = jwt.PyJWK(key, "RS256").key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    unsigned = "no key of the identity provider has signed it"

    def packed(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    yield f"{packed({'alg': 'none', 'typ': 'JWT'})}.{body}.", "signed as 'none'; allowed are RS256"
    for header in ({"alg": "HS256"}, {"alg": "HS256", "kid": key["kid"]}):
        # PyJWT itself refuses to sign with a public key as the secret
        signed = f"{packed(header)}.{body}"
        made = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        mac = base64.urlsafe_b64encode(made.sign(signed.encode(), public)).rstrip(b"=").decode()
        yield f"{signed}.{mac}", "signed as 'HS256'"
    yield jwt.encode(claims, mine, "RS256"), unsigned
    yield jwt.encode(claims, mine, "RS256", headers={"kid": key["kid"]}), unsigned
    own = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(mine.public_key()))
    yield jwt.encode(claims, mine, "RS256", headers={"jwk": own}), unsigned
    yield jwt.encode(claims, mine, "PS256", headers={"kid": "another"}), unsigned
    yield f"{head}.{packed({**claims, 'sub': 'root'})}.{signature}", unsigned
    yield f"{head}.{body}.{signature[:-8]}AAAAAAAA", unsigned
    yield f"{head}.{body}.", unsigned
    yield "a.b.c", "cannot be read as a JSON Web Token"
    yield f"{packed({'alg': ['RS256']})}.{body}.{signature}", "signed as"
    yield f"{packed({'alg': 'ES256'})}.{body}.{signature}", unsigned


def test_what_the_provider_has_not_made_for_this_service_is_refused(
    client: TestClient, provider: IdentityProvider
) -> None:
    wrong = [
        *forgeries(provider),
        (provider.token("ada", audience="another"), "made for another audience"),
        (provider.token("ada", host="localhost"), "of another issuer"),
    ]
    for token, told in wrong:
        refused = client.get(QUERY, headers=bearer(token))
        assert refused.status_code == 401, (told, refused.text)
        assert told in refused.text
        assert (
            'Bearer realm="Skyloom", error="invalid_token"' in refused.headers["WWW-Authenticate"]
        )
        assert_valid_votable(refused.content)


def test_only_signatures_with_private_keys_are_taken() -> None:
    assert all(each[:2] in {"RS", "PS", "ES", "Ed"} for each in ALGORITHMS)


def test_claims_that_cannot_be_used(provider: IdentityProvider, tmp_path: Path) -> None:
    made = settings_of(provider, tmp_path / "data", oidc_account_claim="org.department")
    initialise(made)
    nobody = "'org.department' does not name an account"
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"nbf": 4_000_000_000}, "it is not good yet"),
        ({"nbf": "soon"}, "'nbf' is no time"),
        ({"nbf": 1e300}, "'nbf' is no time"),
        ({}, nobody),
        ({"org": 3}, nobody),
        *(({"org": {"department": name}}, nobody) for name in (3, "", "a\nb", "x" * 300)),
    )
    with TestClient(create_app(made)) as asking:
        for claims, told in wrong:
            provider.set_user("odd", **claims)
            refused = asking.get(QUERY, headers=bearer(provider.token("odd")))
            assert refused.status_code == 401
            assert told in refused.text
        provider.set_user("odd", org={"department": "stars"})
        known = asking.get("/tap/async", headers=bearer(provider.token("odd")))
        assert known.status_code == 200


def test_a_new_key_is_found_and_an_old_one_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "KEPT_S", 0.0)
    monkeypatch.setattr(provider_keys, "GAP_S", 0.0)
    with identity_provider() as own:
        made = settings_of(own, tmp_path / "data")
        initialise(made)
        with TestClient(create_app(made)) as asking:
            old = bearer(own.token("ada"))
            assert asking.get(QUERY, headers=old).status_code == 200
            own.stop()
            assert asking.get(QUERY, headers=old).status_code == 200  # its keys are kept
            unknown = asking.get(QUERY, headers=bearer("e30.e30.e30"))
            assert unknown.status_code == 401
            own.start()
            assert asking.get(QUERY, headers=bearer(own.token("ada"))).status_code == 200
            refused = asking.get(QUERY, headers=old)
            assert refused.status_code == 401
            assert "no key of the identity provider has signed it" in refused.text


def test_a_provider_that_was_never_there_is_told(tmp_path: Path) -> None:
    with identity_provider() as own:
        token = own.token("ada")
        own.stop()
        made = settings_of(own, tmp_path / "data")
        initialise(made)
        with TestClient(create_app(made)) as asking:
            for path in (QUERY, "/soda/sync?ID=x"):
                answer = asking.get(path, headers=bearer(token))
                assert answer.status_code == 503
                assert int(answer.headers["Retry-After"]) > 0
                assert "The identity provider does not answer now" in answer.text
            with open_tokens(made) as tokens:
                secret = tokens.create("grace", role="user", collections=(), days=1)
            assert asking.get(QUERY, headers=bearer(secret)).status_code == 200


def test_settings_that_would_not_be_safe(tmp_path: Path) -> None:
    for wrong, told in (
        ({"oidc_issuer": "http://sso.example.org", "oidc_audience": "x"}, "https"),
        ({"oidc_issuer": "ftp://localhost", "oidc_audience": "x"}, "https"),
        ({"oidc_issuer": "https://sso.example.org"}, "oidc_audience"),
    ):
        with pytest.raises(ValidationError, match=told):
            Config(data_dir=tmp_path, **wrong)
