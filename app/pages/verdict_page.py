"""What is to be said of a query, for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from app.adql.judging import Verdict
from app.pages.document import PageWriter


def verdict_page(writer: PageWriter) -> Callable[[Request, str, Verdict], Response]:
    """The page of the verdict on a query."""

    def verdict(request: Request, query: str, verdict: Verdict) -> Response:
        at = (verdict.line, verdict.column)
        values = {
            "query": query,
            "verdict": verdict,
            "pointer": point_at(query, *at),
            "place": place_of(verdict.message, *at),
        }
        return writer.write(request, "verdict.html", values)

    return verdict


def place_of(message: str, line: int | None, column: int | None) -> dict[str, Any] | None:
    """What the editor needs to show a fault in the text, where it has a place there."""
    return None if line is None else {"line": line, "column": column, "message": message}


def point_at(text: str, line: int | None, column: int | None) -> str | None:
    """The line of a query that a fault is in, with a mark under its column (both from 1)."""
    lines = text.splitlines()
    if line is None or column is None or not 1 <= line <= len(lines):
        return None
    return f"{lines[line - 1]}\n{' ' * (column - 1)}^"
