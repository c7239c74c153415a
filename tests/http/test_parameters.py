"""However a client sends parameters, the service reads the same."""

from __future__ import annotations

import asyncio
import json

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.testclient import TestClient

from app.errors import MultiValuedParameterError, ParameterError
from app.http.faults import install_fault_handlers
from app.http.parameters import MAX_BODY_BYTES, ParameterSet, read_parameters


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    install_fault_handlers(app)

    @app.api_route("/echo", methods=["GET", "POST"])
    async def echo(request: Request) -> list[tuple[str, str]]:
        return list((await read_parameters(request)).pairs)

    return TestClient(app)


JSON = {"content-type": "application/json"}
PAIRS = [("id", "ivo://a/b?c"), ("ID", "ivo://a/b?d"), ("QUERY", "a<b & ż+1"), ("EMPTY", "")]


def test_query_string(client: TestClient) -> None:
    assert client.get("/echo", params=PAIRS).json() == [list(p) for p in PAIRS]


def test_urlencoded_form_joins_the_query_string(client: TestClient) -> None:
    answer = client.post("/echo?MAXREC=5", data={"id": ["1", "2"], "QUERY": "a+b ż"})
    assert answer.json() == [["MAXREC", "5"], ["id", "1"], ["id", "2"], ["QUERY", "a+b ż"]]


def test_multipart_form(client: TestClient) -> None:
    form = [(name, (None, value)) for name, value in PAIRS]
    answer = client.post("/echo", files=[*form, ("UPLOAD", ("t1.xml", b"<VOTABLE/>"))])
    assert answer.json() == [*(list(p) for p in PAIRS), ["UPLOAD", "t1.xml"]]


def test_json_object(client: TestClient) -> None:
    body = {"ID": "x", "TEMPLATE_IDS": ["a", "b"], "TIME": [57000, 57100.5], "BAND": None}
    assert client.post("/echo", json=body).json() == [
        ["ID", "x"],
        ["TEMPLATE_IDS", "a"],
        ["TEMPLATE_IDS", "b"],
        ["TIME", "57000 57100.5"],
    ]


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"{", "application/json"),
        (b"[1]", "application/json"),
        (b'{"a": {"b": 1}}', "application/json"),
        (b"--x\r\nnonsense", "multipart/form-data"),
        (b"a=%ff", "application/x-www-form-urlencoded"),
        (b"\xff=1", "application/x-www-form-urlencoded"),
    ],
)
def test_broken_bodies_are_explained(client: TestClient, content: bytes, content_type: str) -> None:
    answer = client.post("/echo", content=content, headers={"content-type": content_type})
    assert answer.status_code == 400
    assert answer.text.startswith("UsageError: Parameter ")


def test_huge_bodies_are_refused(client: TestClient) -> None:
    for content_type in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = client.post(
            "/echo", content=b"a" * (MAX_BODY_BYTES + 1), headers={"content-type": content_type}
        )
        assert answer.status_code == 400
        assert str(MAX_BODY_BYTES) in answer.text


def test_names_have_no_case_and_blanks_count_as_absent() -> None:
    given = ParameterSet([("Id", "a"), ("iD", "b"), ("MaxRec", " 7 "), ("Lang", "  ")])
    assert given.all("ID") == ("a", "b")
    assert given.integer("maxrec") == 7
    assert given.single("LANG") is None
    assert "LANG" not in given and "id" in given
    assert given.without("ID").pairs == (("MaxRec", " 7 "), ("Lang", "  "))
    assert given.replaced_by([("id", "c")]).all("ID") == ("c",)


def test_wrong_values_name_their_parameter() -> None:
    given = ParameterSet([("A", "1"), ("a", "2"), ("N", "many"), ("M", "-1")])
    with pytest.raises(MultiValuedParameterError, match="Parameter A "):
        given.single("A")
    with pytest.raises(ParameterError, match=r"Parameter N: .*'many'"):
        given.integer("N")
    with pytest.raises(ParameterError, match="Parameter M: at least 0"):
        given.integer("M", minimum=0)
    with pytest.raises(ParameterError, match="Parameter Q: required: some text"):
        given.require("Q", "some text")


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_what_no_database_keeps_is_refused(client: TestClient, text: str) -> None:
    for body in ({"ID": text}, {text: "x"}):
        answer = client.post("/echo", content=json.dumps(body), headers=JSON)
        assert answer.status_code == 400
        assert "NUL and lone surrogates are no text" in answer.text
    assert client.get("/echo?ID=%00").status_code == 400


def test_a_client_that_hangs_up_while_it_sends_is_no_fault(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def gone() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def nobody(_message: object) -> None: ...

    headers = [(b"content-length", b"9"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/echo", "query_string": b""}
    asyncio.run(client.app({**scope, "headers": headers}, gone, nobody))  # type: ignore[arg-type]
    assert not caplog.records
