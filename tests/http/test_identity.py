"""Tokens: made by the command, sent as Bearer or Basic, refused in every protocol's own form."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient
from typer.testing import CliRunner

from app.cli import app as commands
from app.config import Config
from app.errors import NotFoundError, TokenError, UsageError
from app.main import create_app
from app.schema.access import ANYBODY, Identity
from app.services import identities
from app.services.identities import IdentityService, TokenService
from app.stores.metadata import MetadataStores
from app.wiring_database import initialise, open_tokens
from tests.xsd import assert_valid_votable

BROWSER = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
CHALLENGE = re.compile(
    r'Bearer realm="Skyloom"(, error="invalid_token")?, Basic realm="Skyloom", .*'
)
ADDRESSES = {
    "/tap/sync?LANG=ADQL&QUERY=SELECT+1+FROM+ivoa.ObsCore": "application/x-votable+xml",
    "/sia/query?POS=CIRCLE+1+2+3": "application/x-votable+xml",
    "/datalink/links?ID=x": "application/x-votable+xml",
    "/lightcurve?POS=1+2": "application/x-votable+xml",
    "/soda/sync?ID=x": "text/plain; charset=utf-8",
    "/builds/template/async": "text/plain; charset=utf-8",
    "/search": "text/html; charset=utf-8",
}


class Clock:
    """A time that tests set."""

    def __init__(self) -> None:
        self.now = datetime(2026, 5, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def make_token(config: Config, name: str) -> str:
    """A token for anything public."""
    with open_tokens(config) as service:
        return service.create(name, role="user", collections=(), days=1)


def basic(secret: str, user: str = "somebody") -> dict[str, str]:
    """The header of clients that know passwords only."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """An empty service."""
    made = Config(data_dir=tmp_path / "data", workers=1)
    initialise(made)
    return made


@pytest.fixture
def client(config: Config) -> Iterator[TestClient]:
    """A client of it that follows no redirect."""
    with TestClient(create_app(config), follow_redirects=False) as made:
        yield made


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_wrong_token_is_refused_in_the_form_of_each_protocol(
    client: TestClient, address: str
) -> None:
    reader = BROWSER if "html" in ADDRESSES[address] else {}
    assert client.get(address, headers=reader).status_code != 401
    for headers in (
        {"Authorization": "Bearer nobody-has-this"},
        basic("nobody-has-this"),
        {"Authorization": "Digest x"},
        {"Authorization": "Basic ???"},
        {"Authorization": "Bearer "},
    ):
        answer = client.get(address, headers=reader | headers)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == ADDRESSES[address]
        found = CHALLENGE.fullmatch(answer.headers["www-authenticate"])
        assert found is not None and found[1]
        assert "This token is not valid" in answer.text
        if "votable" in ADDRESSES[address]:
            assert_valid_votable(answer.content)


def test_a_good_token_is_taken_in_both_ways(client: TestClient, config: Config) -> None:
    secret = make_token(config, "ada")
    for headers in ({"Authorization": f"Bearer {secret}"}, basic(secret), basic(secret, "Zoë")):
        assert client.get("/tap/async", headers=headers).status_code == 200


def test_a_browser_signs_in(client: TestClient, config: Config) -> None:
    asked = client.get("/login", headers=BROWSER)
    assert asked.status_code == 401
    found = CHALLENGE.fullmatch(asked.headers["www-authenticate"])
    assert found is not None and not found[1]
    known = client.get("/login", headers=BROWSER | basic(make_token(config, "ada")))
    assert (known.status_code, known.headers["location"]) == (303, "http://testserver/")


def test_a_page_of_another_site_does_nothing_in_the_name_of_who_signed_in(
    client: TestClient, config: Config
) -> None:
    secret = make_token(config, "ada")
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 303)):
        headers = basic(secret) | {"Sec-Fetch-Site": site}
        assert client.post("/tap/async", headers=headers).status_code == status


@pytest.mark.parametrize("anonymous", ["build", "read", "none"])
def test_what_anybody_may_is_a_setting(tmp_path: Path, anonymous: str) -> None:
    config = Config.model_validate({"data_dir": tmp_path, "workers": 1, "anonymous": anonymous})
    initialise(config)
    read = 401 if anonymous == "none" else 200
    with TestClient(create_app(config), follow_redirects=False) as client:
        assert client.get("/tap/tables").status_code == read
        assert client.get("/search", headers=BROWSER).status_code == read
        for open_to_all in ("/tap/capabilities", "/tap/availability", "/soda/availability"):
            assert client.get(open_to_all).status_code == 200
        headers = basic(make_token(config, "ada"))
        assert client.get("/tap/tables", headers=headers).status_code == 200


def test_tokens_are_kept_as_digests_and_end(stores: MetadataStores) -> None:
    clock = Clock()
    service = TokenService(tokens=stores.tokens, clock=clock)
    secret = service.create("ada", role="user", collections=["deep", "deep", "wide"], days=2)
    known = IdentityService(tokens=stores.tokens, clock=clock, anonymous=ANYBODY)
    granted = frozenset({"deep", "wide"})
    assert known.of_token(secret) == Identity(name="ada", collections=granted)
    with stores.engine.connect() as connection:
        stored = connection.execute(sa.text("SELECT * FROM access_token")).one()
    assert secret not in map(str, stored) and secret.startswith("skyloom_")
    with pytest.raises(UsageError, match="revoke it first"):
        service.create("ada", role="user", collections=[], days=None)
    clock.now += timedelta(days=2)
    with pytest.raises(TokenError, match="expired"):
        known.of_token(secret)
    assert known.of_owner("ada") == Identity(name="ada", may_build=False)
    new = service.create("ada", role="operator", collections=[], days=None)
    fresh = IdentityService(tokens=stores.tokens, clock=clock, anonymous=ANYBODY)
    assert fresh.of_token(new).sees_all
    with pytest.raises(TokenError, match="nobody has it"):
        fresh.of_token(secret)
    service.revoke("ada")
    with pytest.raises(NotFoundError):
        service.revoke("ada")
    assert [state for _, state in service.list()] == ["it was revoked"]


def test_a_revoked_token_is_refused_once_what_is_known_of_it_is_old(
    stores: MetadataStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, seconds = Clock(), [100.0]
    monkeypatch.setattr(identities.time, "monotonic", lambda: seconds[0])
    service = TokenService(tokens=stores.tokens, clock=clock)
    secret = service.create("ada", role="reader", collections=[], days=None)
    known = IdentityService(tokens=stores.tokens, clock=clock, anonymous=ANYBODY)
    assert known.of_token(secret) == Identity(name="ada", may_build=False)
    service.revoke("ada")
    seconds[0] += identities.KEPT_S
    with pytest.raises(TokenError, match="revoked"):
        known.of_token(secret)


def test_the_commands(tmp_path: Path) -> None:
    folder = ["--data-dir", str(tmp_path)]
    run = CliRunner()
    made = run.invoke(
        commands, ["token", "create", "ada", "--expires", "9", "--collection", "x", *folder]
    )
    secret = made.stdout.strip()
    assert made.exit_code == 0 and secret.startswith("skyloom_")
    listed = run.invoke(commands, ["token", "list", *folder])
    assert "ada" in listed.stdout and "good" in listed.stdout and secret not in listed.stdout
    for name in ("operator", "anonymous", "a b", ""):
        refused = run.invoke(commands, ["token", "create", name, *folder])
        assert isinstance(refused.exception, UsageError)
    assert run.invoke(commands, ["token", "revoke", "ada", *folder]).exit_code == 0
    assert "it was" in run.invoke(commands, ["token", "list", *folder]).stdout
