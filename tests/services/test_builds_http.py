"""The REST side of builds: FITS answers, JSON, errors in words, the way from sync to async."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.http import builds, datalink, differences, files, lightcurve, psf, stamps
from app.http.context import ServiceAddress
from app.http.faults import install_fault_handlers
from app.services.catalog_rows import CatalogRows
from app.services.forced_photometry import ForcedPhotometer
from app.services.light_curves import LightCurveService
from app.services.links import LinkService
from app.services.psf import PsfService
from app.services.signatures import FileSigner
from app.services.stamp_builds import StampBuilder
from app.services.stamp_epochs import EpochFinder
from app.services.stamps import StampService
from app.services.uploads import UploadLimits, UploadService
from app.stores.downloads import Downloads
from app.stores.images import ImageStore
from app.workers.embedded import EmbeddedEngine
from tests.services.builds_fixture import Field, now, open_field, standard_field
from tests.services.survey import CENTRE, standard_exposures
from tests.xsd import assert_valid_votable

POSITION = f"{CENTRE[0]} {CENTRE[1]}"
SCIENCE = standard_exposures()[4]
TEMPLATE, DIFFERENCE = "/builds/template", "/builds/difference"


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory, engine: EmbeddedEngine) -> Iterator[Field]:
    """The standard exposures, published."""
    with open_field(tmp_path_factory.mktemp("field"), engine) as opened:
        standard_field(opened)
        yield opened


def light_curves_of(field: Field) -> LightCurveService:
    """What measures the images of ``field``."""
    stores = field.stores
    return LightCurveService(
        datasets=stores.datasets,
        rows=CatalogRows(tables=stores.tables, catalogs=stores.catalogs),
        photometer=ForcedPhotometer(images=ImageStore(data_dir=field.folder), psfs=field.psfs()),
    )


def stamps_of(field: Field) -> StampService:
    """What cuts triplets out of the images of ``field``."""
    stores, images = field.stores, ImageStore(data_dir=field.folder)
    rows = CatalogRows(tables=stores.tables, catalogs=stores.catalogs)
    finder = EpochFinder(datasets=stores.datasets, rows=rows, images=images)
    return StampService(finder=finder, images=images)


@contextmanager
def serving(
    field: Field, *, sync_limit_s: float = 900.0, wait_s: float = 900.0
) -> Iterator[TestClient]:
    """A client of the builds of ``field``."""
    signer = FileSigner(keys=lambda: [b"k" * 32], clock=now, lifetime_s=60)
    links = LinkService(
        datasets=field.stores.datasets,
        signer=signer,
        seconds_of=partial(field.quotes.seconds_of_pixels, "difference"),
    )
    app = FastAPI()
    install_fault_handlers(app)
    app.include_router(
        builds.router(
            builds=field.builds,
            jobs=field.jobs,
            results=field.results,
            links=links,
            address=ServiceAddress(base_url=None),
            forecasts=field.forecasts,
            sync_limit_s=sync_limit_s,
        )
    )
    app.include_router(
        differences.router(
            first_use=field.first_use,
            jobs=field.jobs,
            links=links,
            address=ServiceAddress(base_url=None),
            wait_s=wait_s,
        )
    )
    app.include_router(files.router(links=links))
    app.include_router(datalink.router(links=links, address=ServiceAddress(base_url=None)))
    app.include_router(
        psf.router(psfs=PsfService(datasets=field.stores.datasets, psfs=field.psfs()))
    )
    uploads = UploadService(
        limits=UploadLimits(max_bytes=10**6, max_rows=2000, max_columns=100, max_tables=1),
        downloads=Downloads(max_bytes=10**6, time_limit_s=10, hosts=()),
        results=field.results,
    )
    app.include_router(
        lightcurve.router(
            light_curves=light_curves_of(field),
            uploads=uploads,
            address=ServiceAddress(base_url=None),
        )
    )
    app.include_router(
        stamps.router(
            stamps=stamps_of(field),
            builder=StampBuilder(first_use=field.first_use),
            jobs=field.jobs,
            uploads=uploads,
            address=ServiceAddress(base_url=None),
            wait_s=wait_s,
        )
    )
    with TestClient(app, follow_redirects=False, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def client(field: Field) -> Iterator[TestClient]:
    """A client whose synchronous builds have time."""
    with serving(field) as made:
        yield made


def test_sync_answers_with_the_fits_file(client: TestClient, field: Field) -> None:
    answer = client.get(f"{DIFFERENCE}/sync", params={"ID": SCIENCE.dataset_id})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/fits"
    assert "difference_image_i_" in answer.headers["content-disposition"]
    product = field.builds.get_product(answer.headers["x-skyloom-dataset"])
    with fits.open(io.BytesIO(answer.content)) as hdus:
        assert hdus[0].header["OBSPUBID"] == product.dataset_id
    again = client.post(f"{DIFFERENCE}/sync", data={"id": SCIENCE.dataset_id})
    assert again.content == answer.content
    head = client.head(f"{DIFFERENCE}/sync", params={"ID": SCIENCE.dataset_id})
    assert head.status_code == 200 and head.headers["content-length"] == str(len(answer.content))
    assert field.jobs.list_jobs("difference") == []


def test_json_asks_for_the_same_product(client: TestClient) -> None:
    form = client.get(
        f"{TEMPLATE}/sync", params={"POS": POSITION, "BAND": "i", "TIME": "60000 60050"}
    )
    body = {"POS": list(CENTRE), "BAND": "i", "TIME": [60000, 60050]}
    posted = client.post(f"{TEMPLATE}/sync", json=body)
    assert form.status_code == posted.status_code == 200, posted.text
    assert posted.headers["x-skyloom-dataset"] == form.headers["x-skyloom-dataset"]


def test_a_plan_is_answered_and_nothing_runs(client: TestClient, field: Field) -> None:
    before = len(field.engine.submitted)
    asked = {"POS": POSITION, "BAND": "i", "TIME": "60000 60003.5", "PLAN": "true"}
    answer = client.get(f"{TEMPLATE}/sync", params=asked)
    assert answer.status_code == 200, answer.text
    assert_valid_votable(answer.content)
    tables = {
        table.name: table.to_table() for table in parse(io.BytesIO(answer.content)).iter_tables()
    }
    (summary,) = tables["summary"]
    assert (summary["n_inputs"], summary["n_exposures"], summary["n_rejected"]) == (3, 3, 2)
    assert not summary["built"] and summary["quote_bytes"] > 0
    assert sum(tables["inputs"]["weight"]) == pytest.approx(1)
    reasons = {row["obs_publisher_did"]: row["reason"] for row in tables["rejected"]}
    late = [e.dataset_id for e in standard_exposures() if e.band == "i" and e.mjd > 60003.5]
    assert reasons == dict.fromkeys(late, "outside TIME")
    assert max(tables["coverage"]["n_exposures"]) == 3

    created = client.post(f"{TEMPLATE}/async", data={**asked, "RESPONSEFORMAT": "json"})
    assert created.status_code == 200
    told = created.json()
    assert told["summary"]["recipe"] == summary["recipe"]
    cells = np.array(told["coverage"]["n_exposures"])
    assert cells.size == len(tables["coverage"]) and cells.max() == 3
    assert field.jobs.list_jobs("template") == [] or all(
        "PLAN" not in dict(job.parameters) for job in field.jobs.list_jobs("template")
    )
    assert len(field.engine.submitted) == before

    accepted = client.get(
        f"{DIFFERENCE}/sync",
        params={"ID": SCIENCE.dataset_id, "PLAN": "1"},
        headers={"Accept": "application/json"},
    )
    assert accepted.json()["summary"]["kind"] == "difference"


def test_a_plan_tells_what_was_built_and_what_it_cost(client: TestClient, field: Field) -> None:
    asked = {"POS": POSITION, "BAND": "i", "MAX_INPUTS": "4", "KERNEL": "bilinear"}
    job = field.run("template", **asked)
    assert job.phase == "COMPLETED", job.error
    plan = {**asked, "PLAN": "true", "RESPONSEFORMAT": "json"}
    built = client.get(f"{TEMPLATE}/sync", params=plan).json()["summary"]
    assert (built["built"], built["quote_s"]) == (True, 0)
    product = field.builds.get_product(str(job.results[0].dataset_id))
    assert (built["obs_publisher_did"], built["quote_bytes"]) == (
        product.dataset_id,
        product.file_size,
    )
    with fits.open(product.file_path) as hdus:
        header = hdus[0].header
    assert built["noise"] == pytest.approx(header["NOISE"], rel=0.1)
    assert built["fwhm_arcsec"] == pytest.approx(header["FWHM"], rel=0.1)
    assert built["coverage"] == pytest.approx(header["COVERAGE"], abs=0.05)
    assert built["median_n_exposures"] == header["DEPTH"]
    other = client.get(f"{TEMPLATE}/sync", params={**plan, "MAX_INPUTS": "3"}).json()["summary"]
    assert other["built"] is False and other["quote_s"] > 0
    each = product.file_size / (built["s_xel1"] * built["s_xel2"])
    assert other["quote_bytes"] == pytest.approx(each * other["s_xel1"] * other["s_xel2"], rel=0.1)


@pytest.mark.parametrize("plan", [{"PLAN": "true"}, {}], ids=["plan", "build"])
def test_a_psf_sharper_than_the_exposures_is_refused(
    client: TestClient, plan: dict[str, str]
) -> None:
    asked = {"POS": POSITION, "BAND": "i", "WARP": "psfmatched", "MODEL_FWHM": "0.1", **plan}
    answer = client.get(f"{TEMPLATE}/sync", params=asked)
    assert answer.status_code == 400
    assert "MODEL_FWHM" in answer.text and "sharper than" in answer.text


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"PLAN": "maybe"}, "PLAN"),
        ({"PLAN": "true", "RESPONSEFORMAT": "csv"}, "RESPONSEFORMAT"),
        ({"PLAN": "true", "FWHM_MAX": "wide"}, "FWHM_MAX"),
        ({"PLAN": "true", "BAND": "z"}, "one image only"),
    ],
)
def test_a_plan_that_cannot_be_says_why(
    client: TestClient, parameters: dict[str, str], word: str
) -> None:
    for way in ("sync", "async"):
        answer = client.post(f"{TEMPLATE}/{way}", data={"POS": POSITION, "BAND": "i", **parameters})
        assert 400 <= answer.status_code < 500 and word in answer.text


def test_async_jobs_have_a_result(client: TestClient, field: Field) -> None:
    asked = {"POS": POSITION, "BAND": "i", "FWHM_FRACTION": "0.5", "PHASE": "RUN"}
    created = client.post(f"{TEMPLATE}/async", data=asked)
    assert created.status_code == 303
    job_url = created.headers["location"]
    job = field.ended(job_url.rpartition("/")[2])
    assert job.phase == "COMPLETED", job.error
    result = client.get(f"{job_url}/results/result")
    assert result.status_code == 303
    file = client.get(result.headers["location"])
    assert file.status_code == 200 and file.content.startswith(b"SIMPLE")


def test_a_build_longer_than_the_limit_goes_on_as_a_job(field: Field) -> None:
    with serving(field, sync_limit_s=0.0) as client:
        asked = {"POS": POSITION, "BAND": "i", "TIME": "60000 60002.5"}
        answer = client.get(f"{TEMPLATE}/sync", params=asked)
        assert answer.status_code == 303
        job_url = answer.headers["location"]
        assert "/builds/template/async/" in job_url
        assert field.ended(job_url.rpartition("/")[2]).phase == "COMPLETED"
        assert client.get(f"{TEMPLATE}/sync", params=asked).status_code == 200


@pytest.mark.parametrize(
    ("kind", "parameters", "status", "words"),
    [
        (TEMPLATE, {}, 400, "POS"),
        (TEMPLATE, {"POS": POSITION}, 400, "BAND"),
        (TEMPLATE, {"POS": "CIRCLE 1", "BAND": "i"}, 400, "POS"),
        (TEMPLATE, {"POS": "200 80", "BAND": "i"}, 422, "No image of band i"),
        (TEMPLATE, {"POS": POSITION, "BAND": "z"}, 422, "band z has one image only"),
        (TEMPLATE, {"POS": POSITION, "BAND": "i", "COLOUR": "1"}, 400, "COLOUR"),
        (DIFFERENCE, {}, 400, "ID"),
        (DIFFERENCE, {"ID": "ivo://x/y?z"}, 404, "ivo://x/y?z"),
        (DIFFERENCE, {"ID": standard_exposures()[5].dataset_id}, 422, "band z"),
        (DIFFERENCE, {"ID": SCIENCE.dataset_id, "CONVOLVE": "x"}, 400, "CONVOLVE"),
    ],
)
def test_errors_name_what_is_wrong(
    client: TestClient, kind: str, parameters: dict[str, str], status: int, words: str
) -> None:
    answers = (
        client.get(f"{kind}/sync", params=parameters),
        client.post(f"{kind}/sync", json=parameters),
    )
    for answer in answers:
        assert answer.status_code == status, answer.text
        assert words in answer.text


def test_a_failed_build_is_told_with_its_status(client: TestClient, field: Field) -> None:
    before = field.jobs.list_jobs("template")
    image: Path = field.image(standard_exposures()[1])
    whole = image.read_bytes()
    image.write_bytes(whole[:90_000])
    ids = ",".join(e.dataset_id for e in standard_exposures()[:2])
    try:
        answer = client.get(
            f"{TEMPLATE}/sync", params={"ID": SCIENCE.dataset_id, "TEMPLATE_IDS": ids}
        )
    finally:
        image.write_bytes(whole)
    assert answer.status_code == 422
    assert standard_exposures()[1].dataset_id in answer.text
    assert str(field.folder) not in answer.text
    assert field.jobs.list_jobs("template") == before


def test_unreadable_json_is_a_usage_error(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    assert client.post(f"{DIFFERENCE}/sync", content=b"{", headers=headers).status_code == 400
    assert client.post(f"{DIFFERENCE}/sync", content=b"[1]", headers=headers).status_code == 400
