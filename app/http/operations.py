"""``/health``, ``/ready``, ``/metrics`` and ``/availability``, for what looks after the service."""

from __future__ import annotations

import gzip
from functools import partial
from typing import Final

from anyio import to_thread
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.errors import NotFoundError
from app.http.availability import Availability
from app.http.description import JSON_ANSWER, XML_ANSWER, described
from app.http.faults import RETRY_AFTER_S, FaultStyle, answers_in
from app.operations.audience import Audience, includes
from app.operations.checks import Checks
from app.operations.metrics import Metrics
from app.operations.state import ServerState

READ: Final = ["GET", "HEAD"]
_UNKEPT: Final = {"Cache-Control": "no-store"}
_PRESSED: Final = 1
"""The fastest level: figures become a tenth or less all the same."""


def router(
    *,
    checks: Checks,
    metrics: Metrics,
    state: ServerState,
    availability: Availability,
    metrics_for: Audience,
) -> APIRouter:
    """The addresses at the root of the service."""
    found = APIRouter(tags=["Operations"], dependencies=[answers_in(FaultStyle.TEXT)])

    @found.api_route("/health", methods=READ, summary="Whether the server is alive", **JSON_ANSWER)
    async def health() -> Response:
        return JSONResponse({"status": "alive"}, headers=_UNKEPT)

    @found.api_route("/ready", methods=READ, summary="Whether the server can work", **JSON_ANSWER)
    async def ready() -> Response:
        looks = await checks.look()
        is_ready = checks.is_ready(looks) and not state.is_stopping
        told = {
            "status": "ready" if is_ready else "stopping" if state.is_stopping else "not ready",
            "checks": {
                name: {"ok": each.is_well, "detail": each.detail} for name, each in looks.items()
            },
        }
        headers = _UNKEPT if is_ready else {**_UNKEPT, "Retry-After": RETRY_AFTER_S}
        return JSONResponse(told, 200 if is_ready else 503, headers=headers)

    told = described(answers={200: ("text/plain",)})

    @found.api_route("/metrics", methods=READ, summary="Figures for Prometheus", **told)
    async def figures(request: Request) -> Response:
        if not includes(metrics_for, request.client.host if request.client else None):
            raise NotFoundError("A page for this client at /metrics")
        headers = {**_UNKEPT, "Content-Type": CONTENT_TYPE_LATEST, "Vary": "Accept-Encoding"}
        text = await to_thread.run_sync(metrics.text)
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            text = await to_thread.run_sync(partial(gzip.compress, text, _PRESSED))
        return Response(text, headers=headers)

    @found.api_route("/availability", methods=READ, summary="VOSI availability", **XML_ANSWER)
    async def available() -> Response:
        return await availability.answer()

    return found
