"""Templates to answers: one environment, one way to make a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from app import __version__

NOT_FOUND: Final = 404
_FOLDER: Final = Path(__file__).parent
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_STATIC_TYPES: Final = {
    "skyloom.css": "text/css",
    "skyloom.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


class PageWriter:
    """Fills templates. ``address`` gives the public address of the service for a request."""

    def __init__(self, *, title: str, address: Callable[[Request], str]) -> None:
        self._title = title
        self._address = address
        self._environment = Environment(
            loader=FileSystemLoader(_FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "thousands": _thousands,
            "query_string": _query_string,
            "moment": _moment,
        }

    def service_url(self, request: Request) -> str:
        """The public address, without a slash at the end."""
        return self._address(request)

    def root(self, request: Request) -> str:
        """The path of the service's root, without a slash at the end: links stay on the page's
        own host, whatever name the reader uses for it."""
        return urlsplit(self._address(request)).path.rstrip("/")

    def write(
        self, request: Request, template: str, values: Mapping[str, Any], *, status: int = 200
    ) -> HTMLResponse:
        """A page."""
        text = self._environment.get_template(template).render(
            service_title=self._title,
            version=__version__,
            root=self.root(request),
            base_url=self._address(request),
            **values,
        )
        return HTMLResponse(text, status, headers=_HEADERS)

    def write_error(self, request: Request, status: int, message: str) -> HTMLResponse:
        """What is wrong, and where to go from there."""
        heading = "Not found" if status == NOT_FOUND else "This did not work"
        values = {"heading": heading, "message": message}
        return self.write(request, "error.html", values, status=status)


def read_static(name: str) -> tuple[bytes, str] | None:
    """(content, media type) of a file that pages use; None for any other name."""
    media_type = _STATIC_TYPES.get(name)
    return None if media_type is None else ((_FOLDER / "static" / name).read_bytes(), media_type)


def _thousands(number: int) -> str:
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _query_string(values: Mapping[str, str]) -> str:
    return urlencode([(name, value) for name, value in values.items() if value])


def _moment(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}"
