"""UWS documents are valid against the standard's schema and say what the job says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.uws import xml
from app.uws.job import Job, JobError, JobResult, Phase
from tests.xsd import assert_valid_uws

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
URL = "https://example.org/tap/async"
NS = {"u": xml.UWS_NAMESPACE}
HREF = f"{{{xml.XLINK_NAMESPACE}}}href"
NIL = f"{{{xml.XSI_NAMESPACE}}}nil"

PENDING = Job(
    job_id="j1",
    kind="tap",
    phase=Phase.PENDING,
    creation_time=NOW,
    destruction=NOW + timedelta(days=7),
)
DONE = replace(
    PENDING,
    job_id="j2",
    phase=Phase.COMPLETED,
    owner="ada",
    run_id="a & b",
    parameters=(("REQUEST", "doQuery"), ("QUERY", "SELECT '<&\x0b' FROM t"), ("LANG", "ADQL")),
    start_time=NOW,
    end_time=NOW,
    quote=NOW,
    execution_duration_s=60,
    results=(
        JobResult(result_id="result", media_type="text/csv", path="results/j2", size_bytes=12),
        JobResult(result_id="diag", media_type="text/plain", path="results/j2d"),
    ),
)
FAILED = replace(
    PENDING,
    phase=Phase.ERROR,
    error=JobError(message="x < y", transient=True, fault="TimeLimitError"),
)
RUNNING = replace(
    PENDING,
    phase=Phase.EXECUTING,
    progress={"stage": "warp", "done": 3, "total": 10, "fraction": 0.25},
)


@pytest.mark.parametrize("job", [PENDING, DONE, FAILED, RUNNING], ids=lambda job: job.phase)
def test_a_job_document_is_valid(job: Job) -> None:
    root = assert_valid_uws(xml.write_job(job, URL))
    assert root.tag == f"{{{xml.UWS_NAMESPACE}}}job"
    assert root.get("version") == "1.1"
    assert root.findtext("u:jobId", namespaces=NS) == job.job_id
    assert root.findtext("u:phase", namespaces=NS) == job.phase
    assert root.findtext("u:destruction", namespaces=NS) == "2026-03-08T12:00:00.123Z"


def test_parts_of_a_job_are_valid_documents_too() -> None:
    assert_valid_uws(xml.write_parameters(DONE))
    assert_valid_uws(xml.write_results(DONE, URL))


def test_what_is_not_known_is_nil() -> None:
    root = assert_valid_uws(xml.write_job(PENDING, URL))
    for name in ("ownerId", "quote", "startTime", "endTime"):
        element = root.find(f"u:{name}", NS)
        assert element is not None and element.get(NIL) == "true"


def test_parameters_are_echoed_as_given() -> None:
    root = assert_valid_uws(xml.write_job(DONE, URL))
    values = {p.get("id"): p.text for p in root.iterfind("u:parameters/u:parameter", NS)}
    assert values == {
        "REQUEST": "doQuery",
        "QUERY": "SELECT '<&\ufffd' FROM t",
        "LANG": "ADQL",
    }


def test_repeated_parameters_keep_every_value_under_identifiers_of_their_own() -> None:
    job = replace(PENDING, parameters=(("ID", "a"), ("id", "b"), ("ID", "c")))
    root = assert_valid_uws(xml.write_job(job, URL))
    found = [(p.get("id"), p.text) for p in root.iterfind("u:parameters/u:parameter", NS)]
    assert [value for _, value in found] == ["a", "b", "c"]
    assert len({str(name).lower() for name, _ in found}) == 3


def test_results_are_links() -> None:
    root = assert_valid_uws(xml.write_job(DONE, URL))
    first, second = root.findall("u:results/u:result", NS)
    assert first.get(HREF) == f"{URL}/j2/results/result"
    assert (first.get("id"), first.get("mime-type"), first.get("size")) == (
        "result",
        "text/csv",
        "12",
    )
    assert second.get("size") is None
    elsewhere = assert_valid_uws(xml.write_job(DONE, URL, result_url=lambda r: f"/f/{r.result_id}"))
    assert elsewhere.find("u:results/u:result", NS).get(HREF) == "/f/result"


def test_an_error_is_summarised() -> None:
    summary = assert_valid_uws(xml.write_job(FAILED, URL)).find("u:errorSummary", NS)
    assert summary.get("type") == "transient"
    assert summary.findtext("u:message", namespaces=NS) == "x < y"


def test_progress_is_told_in_job_info() -> None:
    root = assert_valid_uws(xml.write_job(RUNNING, URL))
    progress = root.find("u:jobInfo/progress", NS)
    assert {child.tag: child.text for child in progress} == {
        "stage": "warp",
        "done": "3",
        "total": "10",
        "fraction": "0.25",
    }


def test_a_complete_job_does_not_stand_at_a_part_of_its_work() -> None:
    root = assert_valid_uws(xml.write_job(replace(DONE, progress=RUNNING.progress), URL))
    assert root.find("u:jobInfo", NS) is None


def test_a_job_list_is_valid_and_keeps_its_order() -> None:
    root = assert_valid_uws(xml.write_jobs([DONE, PENDING], URL))
    references = root.findall("u:jobref", NS)
    assert [r.get("id") for r in references] == ["j2", "j1"]
    assert references[0].get(HREF) == f"{URL}/j2"
    assert references[0].findtext("u:runId", namespaces=NS) == "a & b"
    assert_valid_uws(xml.write_jobs([], URL))


def test_plain_text_forms_agree_with_the_document() -> None:
    root = assert_valid_uws(xml.write_job(DONE, URL))
    for name, form in (
        ("quote", xml.format_quote),
        ("destruction", xml.format_destruction),
        ("executionDuration", xml.format_execution_duration),
        ("ownerId", xml.format_owner),
    ):
        assert root.findtext(f"u:{name}", namespaces=NS) == form(DONE)
    assert (xml.format_quote(PENDING), xml.format_owner(PENDING)) == ("", "")


def test_instants_are_utc_whatever_their_zone() -> None:
    east = datetime(2026, 3, 1, 2, tzinfo=timezone(timedelta(hours=5)))
    assert xml.format_instant(east) == "2026-02-28T21:00:00.000Z"
