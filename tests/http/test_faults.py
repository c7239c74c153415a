"""Every error of the tree leaves as a document a client can read."""

from __future__ import annotations

import html
import logging

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app import errors
from app.errors import ServiceError, StoreUnavailableError
from app.http.faults import FaultStyle, answers_in, explain, fault_of, install_fault_handlers
from app.uws.job import JobError

CASES = [
    (errors.ParameterError("BAND", "unknown"), 400, "UsageFault", "UsageError"),
    (
        errors.MultiValuedParameterError("ID", "2 values were given"),
        400,
        "UsageFault",
        "MultiValuedParamNotSupported",
    ),
    (errors.AdqlSyntaxError("what?", 1, 2), 400, "UsageFault", "UsageError"),
    (errors.LimitError("rows", 9, 5), 400, "UsageFault", "UsageError"),
    (errors.SignatureError("expired"), 403, "UsageFault", "AuthorizationError"),
    (errors.PhaseError("COMPLETED", "RUN"), 403, "UsageFault", "UsageError"),
    (errors.DatasetNotFoundError("ivo://x"), 404, "NotFoundFault", "UsageError"),
    (errors.StoreUnavailableError("gone"), 503, "TransientFault", "ServiceUnavailable"),
    (errors.EngineBusyError("full"), 503, "TransientFault", "ServiceUnavailable"),
    (errors.StorageFullError("products"), 507, "TransientFault", "ServiceUnavailable"),
    (errors.TimeLimitError("The query", 5), 504, "TransientFault", "ServiceUnavailable"),
    (errors.CoverageError("inputs", 0, 1), 422, "FatalFault", "Error"),
]


def _get(error: Exception, style: FaultStyle, accept: str = "*/*") -> httpx.Response:
    app = FastAPI()
    install_fault_handlers(app)

    @app.get("/", dependencies=[answers_in(style)])
    async def fail() -> None:
        raise error

    client = TestClient(app, raise_server_exceptions=False)
    return client.get("/", headers={"accept": accept})


@pytest.mark.parametrize(("error", "status", "dali", "label"), CASES)
def test_errors_in_each_style(error: ServiceError, status: int, dali: str, label: str) -> None:
    votable = _get(error, FaultStyle.VOTABLE)
    assert votable.status_code == status
    assert votable.headers["content-type"] == "application/x-votable+xml"
    assert f'<INFO name="QUERY_STATUS" value="ERROR">{dali}: ' in votable.text
    text = _get(error, FaultStyle.TEXT)
    assert text.status_code == status
    assert text.headers["content-type"].startswith("text/plain")
    assert text.text == f"{label}: {explain(error)[1]}\n"
    document = _get(error, FaultStyle.TEXT, "application/json").json()
    assert document == {"fault": dali, "label": label, "message": explain(error)[1]}


def test_no_overlap_has_no_body() -> None:
    answer = _get(errors.NoOverlapError("there"), FaultStyle.TEXT)
    assert (answer.status_code, answer.content) == (204, b"")


def test_every_class_of_the_tree_has_an_entry() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)]
    assert len(classes) > 20
    for each in classes:
        fault = fault_of(each)
        transient = issubclass(each, errors.TransientError)
        assert (fault.uws == "transient") == transient, each
        of_the_service = (transient or each is ServiceError) and fault.status != 429
        assert (fault.status >= 500) == of_the_service, each
    assert fault_of(errors.TooManyRequestsError).status == 429  # RFC 6585, section 4


@pytest.mark.parametrize("style", list(FaultStyle))
def test_the_unexpected_shows_nothing_of_the_inside(
    style: FaultStyle, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = _get(RuntimeError("/secret/path"), style)
    assert answer.status_code == 500
    assert "/secret/path" not in answer.text
    number = answer.text.split("logged as ")[1][:12]
    assert number in caplog.text and "/secret/path" in caplog.text


def test_job_errors_keep_their_fault() -> None:
    from app.http.faults import job_error_document

    error = JobError(message="gone", transient=True, fault="StoreUnavailableError")
    assert b"TransientFault: gone" in bytes(job_error_document(error, FaultStyle.VOTABLE).body)
    assert bytes(job_error_document(error, FaultStyle.TEXT).body) == b"ServiceUnavailable: gone\n"
    odd = JobError(message="odd", transient=False, fault="annotations")
    assert bytes(job_error_document(odd, FaultStyle.TEXT).body) == b"Error: odd\n"


def test_why_the_database_is_away_is_for_the_operator(caplog: pytest.LogCaptureFixture) -> None:
    fault, message = explain(StoreUnavailableError("connection to server on socket /run/pg failed"))
    assert fault.status == 503
    assert "/run/pg" not in message
    assert "/run/pg" in caplog.text


LONG = "x" * 5000
VOTABLES = {"LANG": "ADQL", "QUERY": "SELECT obs_id FROM ivoa.ObsCore"}


@pytest.mark.parametrize(
    ("path", "parameters", "named"),
    [
        (f"/{LONG}", {}, "GET /xxx"),
        (f"/tap/tables/{LONG}", {}, "The table 'xxx"),
        (f"/tap/async/{LONG}", {}, "No job has the identifier 'xxx"),
        ("/datalink/links", {"ID": "a", "RESPONSEFORMAT": LONG}, "RESPONSEFORMAT"),
        ("/tap/tables", {"detail": LONG}, "detail"),
        ("/tap/async", {"AFTER": LONG}, "AFTER"),
        ("/tap/sync", {**VOTABLES, "LANG": LONG}, "LANG"),
        ("/tap/sync", {**VOTABLES, "REQUEST": LONG}, "REQUEST"),
        ("/tap/sync", {**VOTABLES, "RESPONSEFORMAT": LONG}, "RESPONSEFORMAT"),
        ("/tap/sync", {**VOTABLES, "MAXREC": LONG}, "MAXREC"),
        ("/tap/sync", {**VOTABLES, "MAXREC": "-" + "9" * 4000}, "MAXREC"),
        ("/tap/sync", {**VOTABLES, "UPLOAD": LONG}, "UPLOAD"),
        *(
            ("/tap/sync", {"LANG": "ADQL", "QUERY": query}, named)
            for query, named in (
                (f"SELECT {LONG} FROM ivoa.ObsCore", "no column xxx"),
                (f"SELECT {LONG}.a FROM ivoa.ObsCore", "is no table of this query"),
                (f"SELECT a FROM {LONG}", "no table xxx"),
                (f"SELECT a FROM TAP_UPLOAD.{LONG}", "UPLOAD=xxx"),
                (f"SELECT {LONG}(s_ra) FROM ivoa.ObsCore", "no function xxx"),
                (f"SELECT '{LONG}' '{LONG}'", "found \"'xxx"),
            )
        ),
    ],
)
def test_long_values_are_not_repeated_whole(
    client: httpx.Client, path: str, parameters: dict[str, str], named: str
) -> None:
    answer = client.get(path, params=parameters)
    assert 400 <= answer.status_code < 500
    told = html.unescape(answer.text)
    assert named in told and "… (" in told and "characters)" in told
    assert LONG[:200] not in told and "9" * 200 not in told and len(told) < 2000


@pytest.mark.parametrize("value", ["1_0", "١٢"])
@pytest.mark.parametrize(("path", "name"), [("/tap/sync", "MAXREC"), ("/tap/async", "LAST")])
def test_numbers_have_ascii_digits(client: httpx.Client, path: str, name: str, value: str) -> None:
    answer = client.get(path, params={**VOTABLES, name: value})
    assert answer.status_code == 400
    assert f"Parameter {name}: " in answer.text and value in answer.text
