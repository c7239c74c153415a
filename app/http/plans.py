"""PLAN=true: what a build would be, before anything runs."""

from __future__ import annotations

from typing import Final

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.errors import UnsupportedFormatError, quoted
from app.http.faults import VOTABLE_TYPE
from app.http.parameters import ParameterSet
from app.http.uws_parameters import CONTROLS
from app.recipes.recipe import BuildKind
from app.schema.access import identity_in
from app.services.forecasts import ForecastService, as_json, tables
from app.votable.tables import write_tables

PLAN: Final = "PLAN"
JSON_TYPE: Final = "application/json"
_NAMES: Final = {
    "votable": VOTABLE_TYPE,
    VOTABLE_TYPE: VOTABLE_TYPE,
    "text/xml": "text/xml",
    "json": JSON_TYPE,
    JSON_TYPE: JSON_TYPE,
}


class PlanAnswers:
    """Answers requests for builds of one kind that ask for the plan only."""

    def __init__(self, kind: BuildKind, forecasts: ForecastService) -> None:
        self._kind: BuildKind = kind
        self._forecasts = forecasts

    async def answer(self, request: Request, parameters: ParameterSet) -> Response | None:
        """The plan, as a VOTable of several tables or as JSON; None when a build is asked for."""
        if not parameters.flag(PLAN):
            return None
        media_type = _media_type(request, parameters)
        asked = parameters.without(*CONTROLS)
        identity = identity_in(request.state)
        run = await to_thread.run_sync(self._forecasts.dry_run, self._kind, asked.pairs, identity)
        if media_type == JSON_TYPE:
            return JSONResponse(as_json(run))
        return Response(write_tables(tables(run)), media_type=media_type)


def _media_type(request: Request, parameters: ParameterSet) -> str:
    """By RESPONSEFORMAT, else by Accept."""
    asked = parameters.single("RESPONSEFORMAT") or parameters.single("FORMAT")
    if asked is None:
        return JSON_TYPE if JSON_TYPE in request.headers.get("accept", "") else VOTABLE_TYPE
    found = _NAMES.get(asked.strip().lower().replace("x-votable xml", "x-votable+xml"))
    if found is None:
        offered = ", ".join(_NAMES)
        raise UnsupportedFormatError(
            "RESPONSEFORMAT", f"{quoted(asked)}; a plan is one of {offered}"
        )
    return found
