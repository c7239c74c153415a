"""``/operator``: the state of the service for the person who looks after it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.errors import NotFoundError
from app.operations.audience import Audience, includes
from app.operations.overview import Overview, OverviewService
from app.pages.document import PageWriter
from app.uws.job import Job, Phase

PHASES: Final = (
    Phase.PENDING,
    Phase.QUEUED,
    Phase.EXECUTING,
    Phase.COMPLETED,
    Phase.ERROR,
    Phase.ABORTED,
)
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")


def operator_router(
    *,
    writer: PageWriter,
    overview: OverviewService,
    audience: Audience,
    is_operator: Callable[[Request], bool],
) -> APIRouter:
    """The page, for an ``audience`` and for who has the role of the operator."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/operator", methods=["GET", "HEAD"])
    async def operator(request: Request) -> Response:
        host = request.client.host if request.client else None
        if not is_operator(request) and not includes(audience, host):
            raise NotFoundError("A page for this client at /operator")
        checks = await overview.checks()
        seen = await to_thread.run_sync(overview.look, checks)
        answer = writer.write(request, "operator.html", view_overview(seen))
        answer.headers["Cache-Control"] = "no-store"
        return answer

    return router


def view_overview(seen: Overview) -> dict[str, Any]:
    """What the template shows."""
    return {
        "seen": seen,
        "phases": [phase.value for phase in PHASES],
        "up": words_of(seen.at - seen.up_since),
        "jobs": [(job, words_of(seen.at - _since(job)), _progress(job)) for job in seen.jobs],
        "folders": [(each, size_of(each.size_bytes)) for each in seen.storage.folders],
        "left": size_of(seen.storage.left_bytes),
        "waiting": sum(each[Phase.QUEUED.value] for each in seen.counts.values()),
        "running": sum(each[Phase.EXECUTING.value] for each in seen.counts.values()),
    }


def _since(job: Job) -> Any:
    return job.start_time or job.creation_time


def _progress(job: Job) -> str:
    stage, fraction = job.progress.get("stage"), job.progress.get("fraction")
    if stage is None:
        return ""
    return f"{stage} {fraction:.0%}" if isinstance(fraction, float) else str(stage)


def words_of(span: timedelta) -> str:
    """A span of time in its two largest units."""
    seconds = max(0, int(span.total_seconds()))
    parts = ((seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"))
    told = [f"{number} {unit}" for number, unit in (*parts, (seconds % 60, "s")) if number]
    return " ".join(told[:2]) or "0 s"


def size_of(size_bytes: float) -> str:
    """A number of bytes in a unit in which it is small."""
    power = 0
    while size_bytes >= 1000 and power < len(_UNITS) - 1:
        size_bytes, power = size_bytes / 1000, power + 1
    return f"{size_bytes:.3g} {_UNITS[power]}"
