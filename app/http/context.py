"""What a request tells: under which address its client knows this service, and what it reads."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request


class ServiceAddress:
    """``base_url`` when configured (behind a proxy), else the address of each request."""

    def __init__(self, *, base_url: str | None) -> None:
        self._base_url = base_url.rstrip("/") if base_url else None

    def of(self, request: Request) -> str:
        """The address, without a slash at the end."""
        return self._base_url or str(request.base_url).rstrip("/")


JAVA_ACCEPT: Final = "text/html, image/gif, image/jpeg"
"""What Java's own client, and with it TOPCAT, STILTS and Aladin, begins to accept where nobody said
anything: no browser."""


def asks_for_page(request: Request) -> bool:
    """Whether the client reads pages, as browsers do."""
    accepted = request.headers.get("accept", "").lower()
    if accepted.startswith(JAVA_ACCEPT):
        return False
    return "text/html" in accepted and "application/json" not in accepted
