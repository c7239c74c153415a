"""Conditional requests (RFC 9110, section 13): what a client holds already is not sent again."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from starlette.requests import Request


def is_fresh(request: Request, *, etag: str, modified: str) -> bool:
    """True if the client holds this version: by If-None-Match, else by If-Modified-Since.
    ``modified`` is the Last-Modified of the answer."""
    given = request.headers.get("if-none-match")
    if given is not None:
        known = {part.strip().removeprefix("W/") for part in given.split(",")}
        return etag in known or given.strip() == "*"
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        return parsedate_to_datetime(modified) <= parsedate_to_datetime(since)
    except (ValueError, TypeError):
        return False
