"""Every endpoint, asked by everybody, for public and for proprietary images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.config import Config
from app.main import create_app
from app.schema.access import ANYBODY, OPERATOR, Identity
from app.schema.rows import DatasetRow
from app.services.identities import TokenService
from app.services.jobs import JobService
from app.services.links import LinkService
from app.sky.shapes import Point
from app.stores.metadata import open_stores
from app.stores.results import ResultStore
from app.wiring import build_services
from app.wiring_database import initialise
from app.wiring_images import make_skymap
from tests.http.access_matrix import (
    BUSY,
    DATA,
    DECLARED,
    WHO,
    Data,
    Endpoint,
    Who,
    filled,
    is_theirs,
    job_kind_of,
    routes_of,
    status_wanted,
)
from tests.identity_provider import AUDIENCE, IdentityProvider, identity_provider
from tests.services.survey import CENTRE, Exposure, dataset_row, write_exposure

RESTRICTED = {"obs_collection": "deep", "data_rights": "proprietary"}
RELEASE = "2999-01-01T00:00:00"
EVERYBODY = (*range(1, 7),)
HELD = 7


@dataclass(frozen=True)
class Archive:
    """A service with public and proprietary images, and the tokens of everybody."""

    client: TestClient
    links: LinkService
    jobs: JobService
    tokens: dict[Who, str]
    images: dict[Data, str]
    known: dict[str, str]

    def headers(self, who: Who) -> dict[str, str]:
        """How they ask."""
        token = self.tokens.get(who)
        return {} if token is None else {"Authorization": f"Bearer {token}"}


def make_rows(folder: Path, tract: int, patch: int) -> list[DatasetRow]:
    """Exposures, one of them proprietary, and a template of each kind."""
    rows = []
    for visit in (*EVERYBODY, HELD):
        exposure = Exposure(visit=visit, mjd=60000 + visit)
        row = dataset_row(write_exposure(folder, exposure), exposure)
        if visit == HELD:
            row = replace(row, columns={**row.columns, **RESTRICTED, "obs_release_date": RELEASE})
        rows.append(row)
    for source, band, held in ((rows[0], "i", False), (rows[-1], "z", True)):
        columns = {
            **source.columns,
            "obs_publisher_did": f"ivo://test.local/products?template/{band}",
            "obs_collection": "products",
            "dataproduct_subtype": "lsst.template_coadd",
            "calib_level": 3,
            "lsst_tract": tract,
            "lsst_patch": patch,
            "lsst_band": band,
            "build_state": "built",
        }
        restricted_by = ("deep",) if held else ()
        rows.append(
            replace(
                source,
                columns=columns,
                origin="built",
                recipe_key=f"key-{band}",
                restricted_by=restricted_by,
            )
        )
    return rows


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    """An identity provider that knows the member."""
    with identity_provider() as made:
        made.set_user("member", groups=["astronomers"])
        yield made


@pytest.fixture(scope="module")
def archive(
    provider: IdentityProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Archive]:
    """The service, its dispatcher running."""
    folder = tmp_path_factory.mktemp("access")
    config = Config(
        data_dir=folder / "data",
        workers=1,
        authority="test.local",
        first_use_wait_s=0,
        oidc_issuer=provider.issuer,
        oidc_audience=AUDIENCE,
        oidc_collections={"astronomers": ("deep",)},
    )
    initialise(config)
    (folder / "images").mkdir()
    tract, patch = next(iter(make_skymap(config).find_numbers(Point(*CENTRE))))
    stores = open_stores(config.effective_database_url)
    stores.datasets.upsert(make_rows(folder / "images", tract, patch))
    day_before = TokenService(
        tokens=stores.tokens, clock=lambda: datetime.now(UTC) - timedelta(days=1)
    )
    today = TokenService(tokens=stores.tokens, clock=lambda: datetime.now(UTC))
    tokens: dict[Who, str] = {
        "owner": today.create("owner", role="user", collections=["deep"], days=1),
        "member": provider.token("member"),
        "other": today.create("other", role="user", collections=["wide"], days=1),
        "expired": day_before.create("expired", role="user", collections=["deep"], days=0.5),
        "revoked": today.create("revoked", role="operator", collections=["*"], days=1),
    }
    today.revoke("revoked")
    services = build_services(config)
    jobs = JobService(
        jobs=stores.jobs,
        results=ResultStore(data_dir=config.data_dir),
        clock=lambda: datetime.now(UTC),
        lifetime_s=86400,
        execution_limits_s={},
    )
    images: dict[Data, str] = {
        "public": Exposure(visit=1).dataset_id,
        "proprietary": Exposure(visit=HELD).dataset_id,
    }
    known = {
        "neighbour": Exposure(visit=2).dataset_id,
        "place": f"{CENTRE[0]} {CENTRE[1]}",
        "circle": f"{CENTRE[0]} {CENTRE[1]} 0.002",
        "tract": str(tract),
        "patch": str(patch),
        "panel": "kernel",
    }
    with TestClient(
        create_app(config), follow_redirects=False, raise_server_exceptions=False
    ) as client:
        yield Archive(client, services.links, jobs, tokens, images, known)
    services.close()
    stores.close()


def known_of(archive: Archive, path: str, data: Data, owner: Identity) -> dict[str, str]:
    """What stands for the names in a path: a fresh job, a fresh link."""
    image = archive.images[data]
    known = {**archive.known, "image": image, "band": "i" if data == "public" else "z"}
    if "{kind}" in path:
        known["kind"] = "template"
    if "{job_id}" in path:
        job = archive.jobs.create(job_kind_of(path), [("ID", image)], identity=owner)
        known["job_id"] = job.job_id
    if "{token}" in path:
        url = archive.links.file_url(image, "", OPERATOR)
        known["token"], known["name"] = url.split("/")[-2:]
    return known


def fault_of(
    archive: Archive, path: str, method: str, endpoint: Endpoint, who: Who, data: Data
) -> str | None:
    """What is wrong with an answer."""
    owner = ANYBODY if data == "public" else Identity(name="owner")
    known = known_of(archive, path, data, owner)
    mine = archive.jobs.create(job_kind_of(path), [], identity=owner).job_id
    query = [(name, filled(value, known)) for name, value in endpoint.query]
    answer = archive.client.request(
        method, filled(path, known), params=query, headers=archive.headers(who)
    )
    asked = f"{method} {path} by {who} for {data}"
    rule = "open" if endpoint.rule == "list" and method == "POST" else endpoint.rule
    if not status_wanted(rule, who, data)(answer.status_code):
        return f"{asked}: {answer.status_code} {answer.text[:200]}"
    if answer.status_code == 401 and "Bearer" not in answer.headers.get("www-authenticate", ""):
        return f"{asked}: no challenge"
    if answer.status_code in (401, BUSY) or method == "HEAD":
        return None
    told = {
        "list": mine,
        "told": "/files/",
        "filtered": archive.images[data].replace("ivo://", "").split("?")[-1],
    }.get(rule)
    wanted = is_theirs(rule, who, data)
    if rule == "list" and data == "public":
        wanted = who == "anonymous"
    if told is not None and (told in answer.text) != wanted:
        return f"{asked}: {'lacks' if wanted else 'tells'} {told}"
    return None


def test_every_endpoint_is_declared(archive: Archive) -> None:
    there = {path for path, _ in routes_of(archive.client.app.routes)}
    assert there - set(DECLARED) == set(), "say in access_matrix.py who may have these"
    assert set(DECLARED) - there == set(), "these are declared but there no more"


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("data", DATA)
def test_everybody_gets_what_is_theirs(archive: Archive, who: Who, data: Data) -> None:
    faults = [
        fault
        for path, method in routes_of(archive.client.app.routes)
        if (fault := fault_of(archive, path, method, DECLARED[path], who, data)) is not None
    ]
    assert faults == []
