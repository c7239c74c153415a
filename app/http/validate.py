"""``/tap/validate``: whether a text is a query that this service answers, without running it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.adql.judging import Verdict
from app.http.context import asks_for_page
from app.http.description import described
from app.http.parameters import read_form
from app.schema.access import identity_in
from app.schema.fields import Field
from app.services.query import QueryService, check_language
from app.services.query_parameters import QUERY_INPUTS
from app.services.uploads import UploadService, items_as_files
from app.votable.descriptors import InputParameter

ASK: Final = ["GET", "HEAD", "POST"]
INPUTS: Final = (
    *(each for each in QUERY_INPUTS if each.name in {"LANG", "QUERY", "UPLOAD"}),
    InputParameter(
        name="SYNTAX",
        description="Whether the grammar alone is looked at",
        options=("true", "false"),
    ),
)
VerdictPage = Callable[[Request, str, Verdict], Response]
"""Tells a reader of pages the verdict on a query."""


def add_validate(
    tap: APIRouter, queries: QueryService, uploads: UploadService, page: VerdictPage | None
) -> None:
    """Add the resource to the router of TAP. Browsers get the ``page``, where there is one."""

    told = described(INPUTS, answers={200: ("application/json", "text/html")}, required=("QUERY",))

    @tap.api_route("/tap/validate", methods=ASK, summary="Judge a query", **told)
    async def validate(request: Request) -> Response:
        identity = identity_in(request.state)
        form = await read_form(request, max_file_bytes=uploads.most_bytes(identity))
        parameters, files = items_as_files(*form)
        check_language(parameters)
        query = parameters.require("QUERY", "the text of an ADQL query")
        syntax_only = parameters.flag("SYNTAX")

        def judge() -> Verdict:
            tables = () if syntax_only else uploads.load(parameters, files, identity)
            return queries.judge(query, syntax_only=syntax_only, uploads=tables)

        verdict = await to_thread.run_sync(judge)
        if page is not None and asks_for_page(request):
            return page(request, query, verdict)
        return JSONResponse(to_json(query, verdict))


def to_json(query: str, verdict: Verdict) -> dict[str, Any]:
    """The verdict as an object; ``fix`` is what FIX=true would make of the query."""
    mended = verdict.mended
    return {
        "query": query,
        "valid": verdict.valid,
        "kind": verdict.kind or None,
        "message": verdict.message or None,
        "line": verdict.line,
        "column": verdict.column,
        "fix": None if mended is None else {"query": mended.text, "changes": list(mended.changes)},
        "columns": [_column(field) for field in verdict.fields],
    }


def _column(field: Field) -> dict[str, str | None]:
    names = ("name", "datatype", "arraysize", "xtype", "unit", "ucd", "utype")
    return {name: getattr(field, name) for name in names}
