"""DataLink 1.1: ``/datalink/links``."""

from __future__ import annotations

from typing import Final

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.errors import UnsupportedFormatError, quoted
from app.http.context import ServiceAddress
from app.http.description import described
from app.http.faults import FaultStyle, answers_in
from app.http.parameters import ParameterSet, read_parameters
from app.http.streaming import stream
from app.schema.access import identity_in
from app.services.links import LinkService
from app.votable.datalink import MEDIA_TYPE, write_links
from app.votable.descriptors import InputParameter

ASK: Final = ["GET", "HEAD", "POST"]
FORMATS: Final = frozenset({"votable", "application/x-votable+xml", MEDIA_TYPE, "text/xml"})


def router(*, links: LinkService, address: ServiceAddress) -> APIRouter:
    """The links resource."""
    datalink = APIRouter(tags=["DataLink"], dependencies=[answers_in(FaultStyle.VOTABLE)])

    inputs = (
        InputParameter(name="ID", description="Identifier of a dataset (obs_publisher_did)"),
        InputParameter(name="RESPONSEFORMAT", description="VOTable alone"),
    )
    told = described(inputs, answers={200: (MEDIA_TYPE, "text/xml")}, repeated=True)

    @datalink.api_route("/datalink/links", methods=ASK, summary="Links of datasets (ID=…)", **told)
    async def find_links(request: Request) -> Response:
        parameters = await read_parameters(request)
        media_type = _media_type(parameters)
        service_url = address.of(request)
        asked, identity = parameters.all("ID"), identity_in(request.state)
        table = await to_thread.run_sync(links.find_links, asked, service_url, identity)
        return await stream(
            request,
            lambda: write_links(table.links, table.descriptors, truncated=table.truncated),
            media_type=media_type,
            headers={"Cache-Control": f"private, max-age={links.keep_s}"},
        )

    return datalink


def _media_type(parameters: ParameterSet) -> str:
    """VOTable is the only format (DataLink 1.1, section 2.1.3)."""
    asked = (parameters.single("RESPONSEFORMAT") or "votable").strip().lower()
    folded = asked.replace(" ", "").replace("x-votablexml", "x-votable+xml")
    if folded not in FORMATS:
        raise UnsupportedFormatError("RESPONSEFORMAT", f"{quoted(asked)}; offered is {MEDIA_TYPE}")
    return "text/xml" if folded == "text/xml" else MEDIA_TYPE
