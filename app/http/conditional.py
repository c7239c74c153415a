"""Conditional requests (RFC 9110, section 13): what a client holds already is not sent again."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Final

from starlette.requests import Request

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")


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


def find_range(request: Request, size: int, *, etag: str, modified: str) -> tuple[int, int] | None:
    """The bytes (start, stop) that a client asks for of a file of ``size``; None for all of it: no
    range or several, one that cannot be read, or one of another version (If-Range). A start at or
    behind the end of the file cannot be satisfied."""
    found = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if found is None or request.headers.get("if-range", etag) not in {etag, modified}:
        return None
    first, last = found.groups()
    if first:
        stop = min(int(last) + 1, size) if last else size
        return None if last and int(last) < int(first) else (int(first), max(stop, int(first)))
    return (max(0, size - int(last)) if int(last) else size, size) if last else None
