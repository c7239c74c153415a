"""``/tap/validate``: whether a text is a query that this service answers, without running it."""

from __future__ import annotations

from html import escape
from typing import Any, Final

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from app.adql.judging import Verdict
from app.http.parameters import read_form
from app.schema.fields import Field
from app.services.query import QueryService, check_language
from app.services.uploads import UploadService, items_as_files

_PAGE: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font-family: sans-serif; margin: 2em; max-width: 60em }}
pre {{ background: #eee; padding: 1em; overflow: auto }} td, th {{ text-align: left;
padding: 0.2em 1em 0.2em 0 }}</style></head>
<body><h1>{title}</h1>
{body}
</body></html>
"""


def add_validate(tap: APIRouter, queries: QueryService, uploads: UploadService) -> None:
    """Add the resource to the router of TAP."""

    @tap.api_route("/tap/validate", methods=["GET", "HEAD", "POST"], summary="Judge a query")
    async def validate(request: Request) -> Response:
        form = await read_form(request, max_file_bytes=uploads.limits.max_bytes)
        parameters, files = items_as_files(*form)
        check_language(parameters)
        query = parameters.require("QUERY", "the text of an ADQL query")
        syntax_only = parameters.flag("SYNTAX")

        def judge() -> Verdict:
            tables = () if syntax_only else uploads.load(parameters, files)
            return queries.judge(query, syntax_only=syntax_only, uploads=tables)

        verdict = await to_thread.run_sync(judge)
        if _wants_page(request):
            return HTMLResponse(to_page(query, verdict))
        return JSONResponse(to_json(query, verdict))


def _wants_page(request: Request) -> bool:
    accepted = request.headers.get("accept", "").lower()
    return "text/html" in accepted and "application/json" not in accepted


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


def to_page(query: str, verdict: Verdict) -> str:
    """The verdict for people."""
    if verdict.valid:
        return _PAGE.format(title="This query is valid", body=_pre(query) + _table(verdict))
    lines = query.splitlines()
    if verdict.line is not None and verdict.column is not None and verdict.line <= len(lines):
        lines.insert(verdict.line, " " * (verdict.column - 1) + "^")
    body = f"<p>{escape(verdict.message)}</p>{_pre(chr(10).join(lines))}"
    if verdict.mended is not None:
        changes = "".join(f"<li>{escape(change)}</li>" for change in verdict.mended.changes)
        body += f"<p>With FIX=true:</p>{_pre(verdict.mended.text)}<ul>{changes}</ul>"
    return _PAGE.format(title="This query is not valid", body=body)


def _pre(text: str) -> str:
    return f"<pre>{escape(text)}</pre>\n"


def _table(verdict: Verdict) -> str:
    if not verdict.fields:
        return ""
    rows = "".join(
        "<tr>"
        + "".join(f"<td>{escape(value or '')}</td>" for value in _column(field).values())
        + "</tr>\n"
        for field in verdict.fields
    )
    head = "".join(f"<th>{name}</th>" for name in _column(verdict.fields[0]))
    return f"<table><tr>{head}</tr>\n{rows}</table>"
