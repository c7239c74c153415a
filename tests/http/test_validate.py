"""Judging queries without running them, and mending them on request."""

from __future__ import annotations

import io

import httpx
import pytest
from astropy.io.votable import parse

from tests.jobs import phase_at_end
from tests.xsd import assert_valid_votable

SLIPPED = "SELECT obs_id FROM obscore WHERE CONTAINS(POINT(10, 0), s_region) LIMIT 2"
MENDED = "SELECT TOP 2 obs_id FROM ivoa.ObsCore WHERE CONTAINS(POINT(10, 0), s_region) = 1"


def judge(client: httpx.Client, query: str, **more: str) -> dict[str, object]:
    answer = client.post("/tap/validate", data={"QUERY": query, **more})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    assert isinstance(found, dict)
    return found


def test_a_valid_query_tells_its_columns(client: httpx.Client) -> None:
    found = judge(
        client, "SELECT CAST(s_ra AS REAL) AS ra, s_region FROM ivoa.ObsCore", lang="ADQL"
    )
    assert found["valid"] is True
    assert (found["kind"], found["message"], found["line"], found["fix"]) == (None,) * 4
    columns = found["columns"]
    assert isinstance(columns, list)
    assert columns[0] == {
        "name": "ra",
        "datatype": "float",
        "arraysize": None,
        "xtype": None,
        "unit": "deg",
        "ucd": "pos.eq.ra",
        "utype": None,
    }
    assert columns[1]["name"] == "s_region"


def test_an_invalid_query_tells_where_and_why(client: httpx.Client) -> None:
    found = judge(client, "SELECT s_ra\nFROM ivoa.ObsCore WHERE s_rra > 1")
    assert found["valid"] is False
    assert (found["kind"], found["line"], found["column"]) == ("unknown name", 2, 25)
    assert found["message"] == "no column s_rra in ivoa.ObsCore; did you mean s_ra?"
    assert found["fix"] is None
    assert found["columns"] == []


def test_names_may_be_left_unchecked(client: httpx.Client) -> None:
    assert judge(client, "SELECT a FROM b WHERE c > 1", SYNTAX="true")["valid"] is True
    assert judge(client, "SELECT a FROM b WHERE c >", syntax="TRUE")["kind"] == "syntax"


def test_slips_are_told_with_what_they_would_become(client: httpx.Client) -> None:
    fix = judge(client, SLIPPED)["fix"]
    assert isinstance(fix, dict)
    assert " ".join(fix["query"].split()) == MENDED
    assert set(fix["changes"]) == {
        "LIMIT 2 became TOP 2",
        "table obscore became ivoa.ObsCore",
        "= 1 was added behind CONTAINS(…)",
    }


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({}, "QUERY"),
        ({"QUERY": "x", "LANG": "SQL"}, "LANG"),
        ({"QUERY": "x", "SYNTAX": "?"}, "SYNTAX"),
    ],
)
def test_wrong_parameters_are_named(
    client: httpx.Client, parameters: dict[str, str], name: str
) -> None:
    answer = client.get("/tap/validate", params=parameters)
    assert answer.status_code == 400
    assert f"Parameter {name}" in answer.text


def infos(content: bytes) -> list[tuple[str, str]]:
    root = assert_valid_votable(content)
    return [
        (str(i.get("name")), str(i.get("value"))) for i in root.xpath("//*[local-name()='INFO']")
    ]


def test_without_fix_the_error_says_what_it_would_write(client: httpx.Client) -> None:
    answer = client.get("/tap/sync", params={"LANG": "ADQL", "QUERY": SLIPPED})
    assert answer.status_code == 400
    assert "SELECT TOP n" in answer.text
    assert f"FIX=true would write: {MENDED}" in answer.text


def test_long_queries_are_mended_on_request_only(client: httpx.Client) -> None:
    query = f"{SLIPPED} -- {'x' * 4000}"
    answer = client.post("/tap/sync", data={"LANG": "ADQL", "QUERY": query})
    assert answer.status_code == 400
    assert "would write" not in answer.text
    form = {"LANG": "ADQL", "QUERY": query, "FIX": "true"}
    assert client.post("/tap/sync", data=form).status_code == 200


def test_a_mended_query_runs_and_tells_what_was_changed(client: httpx.Client) -> None:
    answer = client.get("/tap/sync", params={"LANG": "ADQL", "QUERY": SLIPPED, "fix": "True"})
    assert answer.status_code == 200, answer.text
    told = infos(answer.content)
    assert ("QUERY", SLIPPED) in told
    assert ("FIXED_QUERY", MENDED) in told
    assert ("FIX", "LIMIT 2 became TOP 2") in told
    assert len(parse(io.BytesIO(answer.content)).get_first_table().array) == 2


def test_fix_changes_no_query_that_is_understood(client: httpx.Client) -> None:
    query = "SELECT TOP 1 obs_id FROM ivoa.ObsCore"
    answer = client.get("/tap/sync", params={"LANG": "ADQL", "QUERY": query, "FIX": "true"})
    assert {name for name, _ in infos(answer.content)} & {"FIX", "FIXED_QUERY"} == set()
    assert client.get("/tap/sync", params={"QUERY": query, "FIX": "perhaps"}).status_code == 400


def test_jobs_are_mended_too(client: httpx.Client) -> None:
    form = {"LANG": "ADQL", "QUERY": SLIPPED, "FIX": "true", "PHASE": "RUN"}
    job = client.post("/tap/async", data=form).headers["location"]
    assert phase_at_end(job, client) == "COMPLETED"
    answer = client.get(f"{job}/results/result", follow_redirects=True)
    assert answer.status_code == 200, answer.text
    assert ("FIXED_QUERY", MENDED) in infos(answer.content)


def test_what_cannot_be_mended_is_the_plain_error(client: httpx.Client) -> None:
    query = "SELECT nothing FROM obscore LIMIT 3"
    for more in ({}, {"FIX": "true"}):
        answer = client.get("/tap/sync", params={"LANG": "ADQL", "QUERY": query, **more})
        assert answer.status_code == 400
        assert "would write" not in answer.text


def test_capabilities_declare_the_functions(client: httpx.Client) -> None:
    text = client.get("/tap/capabilities").text
    assert "features-udf" in text
    assert "<form>ivo_to_mjd(d TIMESTAMP) -&gt; DOUBLE PRECISION</form>" in text
    assert "<form>CAST</form>" in text and "<form>IN_UNIT</form>" in text
