"""How many requests an account may send, and what the next one is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.config import Config
from app.errors import TooManyRequestsError
from app.http.rates import MOST_ACCOUNTS, RequestRates
from app.main import create_app
from app.schema.access import OPERATOR, Identity
from app.schema.allowances import Allowance, Allowances
from app.wiring_database import initialise, open_tokens
from tests.xsd import assert_valid_votable

SLOW = 0.01
"""Requests in a second: a bucket then holds one, and is empty for the rest of a test."""
QUERY = "/tap/sync?LANG=ADQL&QUERY=SELECT+1+FROM+ivoa.ObsCore"


class Clock:
    """Seconds that tests set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def taken(rates: RequestRates, who: Identity) -> int:
    """How many requests somebody can send now."""
    for count in range(10_000):
        try:
            rates.count(who)
        except TooManyRequestsError:
            return count
    raise AssertionError("there is no limit")


def test_a_bucket_holds_ten_seconds_and_fills_again() -> None:
    clock = Clock()
    allowances = Allowances(anonymous=Allowance(requests_per_s=2), users=Allowance())
    rates = RequestRates(allowances=allowances, clock=clock)
    here, there = Identity(client="@192.0.2.1"), Identity(client="@192.0.2.2")
    assert taken(rates, here) == 20
    assert taken(rates, there) == 20
    clock.now += 3
    assert taken(rates, here) == 6
    clock.now += 1000
    assert taken(rates, here) == 20
    with pytest.raises(TooManyRequestsError, match="one client is 2 in a second; try again in 1 s"):
        rates.count(here)
    for _ in range(100):
        rates.count(Identity(name="ada"))
        rates.count(OPERATOR)


def test_as_many_clients_as_like_take_no_more_than_so_much_memory() -> None:
    rates = RequestRates(
        allowances=Allowances(anonymous=Allowance(requests_per_s=SLOW)), clock=Clock()
    )
    first = Identity(client="@first")
    rates.count(first)
    for number in range(MOST_ACCOUNTS - 1):
        rates.count(Identity(client=f"@{number}"))
    with pytest.raises(TooManyRequestsError):
        rates.count(first)
    rates.count(Identity(client="@one more"))
    rates.count(first)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A service that takes hardly any requests."""
    made = Config(
        data_dir=tmp_path / "data", workers=1, anonymous_rate=SLOW, user_rate=SLOW, metrics="off"
    )
    initialise(made)
    return made


@pytest.fixture
def client(config: Config) -> Iterator[TestClient]:
    """A client of it."""
    with TestClient(create_app(config)) as made:
        yield made


def test_one_more_request_is_told_when_to_come_again(client: TestClient, config: Config) -> None:
    with open_tokens(config) as tokens:
        known = {
            name: {
                "Authorization": f"Bearer {tokens.create(name, role=role, collections=(), days=1)}"
            }
            for name, role in (("ada", "user"), ("root", "operator"))
        }
    for headers in ({}, known["ada"]):
        assert client.get(QUERY, headers=headers).status_code == 200
        refused = client.get(QUERY, headers=headers)
        assert refused.status_code == 429
        assert 95 <= int(refused.headers["Retry-After"]) <= 100
        assert "TransientFault: The limit of requests of one client is 0.01" in refused.text
        assert_valid_votable(refused.content)
        plain = client.get("/soda/sync", headers=headers)
        assert plain.status_code == 429
        assert plain.text.startswith("ServiceUnavailable: The limit of requests")
        page = client.get("/search", headers={**headers, "Accept": "text/html"})
        assert page.status_code == 429
        assert page.headers["content-type"].startswith("text/html")
    for _ in range(3):
        assert client.get(QUERY, headers=known["root"]).status_code == 200
        assert client.get("/health").status_code == 200


def test_who_sends_tokens_that_nobody_has_runs_dry_too(client: TestClient) -> None:
    wrong = {"Authorization": "Bearer nobody-has-this"}
    assert client.get(QUERY, headers=wrong).status_code == 401
    assert client.get(QUERY, headers=wrong).status_code == 429
    assert client.get(QUERY).status_code == 429
