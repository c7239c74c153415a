"""Templates to answers: one environment, one way to make a page."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from app import __version__
from app.pages.static_files import StaticFiles

NOT_FOUND: Final = 404
_FOLDER: Final = Path(__file__).parent
_POLICY: Final = (
    "default-src 'self'; style-src 'self' 'nonce-{}'; style-src-attr 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = {
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class PageWriter:
    """Fills templates. ``address`` gives the public address of the service for a request."""

    def __init__(self, *, title: str, address: Callable[[Request], str]) -> None:
        self._title = title
        self._address = address
        self.static_files = StaticFiles()
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
        """A page. Its own bundle may make style sheets in the browser, since it knows the nonce."""
        root = self.root(request)
        nonce = secrets.token_urlsafe(12)
        text = self._environment.get_template(template).render(
            service_title=self._title,
            version=__version__,
            root=root,
            base_url=self._address(request),
            static=lambda name: f"{root}{self.static_files.address(name)}",
            bundle=partial(self._bundle, root, nonce),
            **values,
        )
        headers = {**_HEADERS, "Content-Security-Policy": _POLICY.format(nonce)}
        return HTMLResponse(text, status, headers=headers)

    def _bundle(self, root: str, nonce: str, name: str) -> Markup:
        """Elements for the head that load ``built/<name>.css`` and ``built/<name>.js``: nothing
        where a bundle was not built, since every page works without."""
        elements = {
            ".css": Markup('<link rel="stylesheet" href="{}{}">'),
            ".js": Markup('<script src="{}{}" nonce="{}" defer></script>'),
        }
        addresses = {end: self.static_files.address(f"built/{name}{end}") for end in elements}
        return Markup("").join(
            elements[end].format(root, address, nonce)
            for end, address in addresses.items()
            if address
        )

    def write_error(self, request: Request, status: int, message: str) -> HTMLResponse:
        """What is wrong, and where to go from there."""
        heading = "Not found" if status == NOT_FOUND else "This did not work"
        values = {"heading": heading, "message": message}
        return self.write(request, "error.html", values, status=status)


def _thousands(number: int) -> str:
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _query_string(values: Mapping[str, str] | Sequence[tuple[str, str]]) -> str:
    pairs = values.items() if isinstance(values, Mapping) else values
    return urlencode([(name, value) for name, value in pairs if value])


def _moment(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}"
