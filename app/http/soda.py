"""SODA 1.0: ``/soda/sync`` answers with a part of an image, as FITS or drawn;
``/soda/async`` (UWS jobs) makes many; ``/soda/capabilities`` and ``/soda/availability``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final, Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.http import vosi
from app.http.availability import Availability
from app.http.context import ServiceAddress
from app.http.description import XML_ANSWER, described
from app.http.faults import FaultStyle, answers_in
from app.http.parameters import ParameterSet, read_parameters
from app.http.shares import SharedPlaces
from app.http.streaming import stream
from app.http.uws import uws_router
from app.recipes.cutout import CutoutRequest, parse_cutout
from app.recipes.cutout_forms import MEDIA_TYPES, parse_form
from app.recipes.picture import PICTURE_NAMES, parse_picture, refuse_picture_names
from app.schema.access import Identity, identity_in
from app.services.cutout_descriptor import describe_parameters
from app.services.cutout_files import CutoutWriter
from app.services.cutout_pictures import CutoutPictures
from app.services.cutouts import CutoutService
from app.services.jobs import JobService
from app.services.links import LinkService
from app.services.query import QueryService
from app.stores.results import ResultStore

ASK: Final = ["GET", "HEAD", "POST"]
READ: Final = ["GET", "HEAD"]
CUTS_AT_ONCE: Final = 2 * (os.cpu_count() or 1)
PICTURES_AT_ONCE: Final = 2
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


def router(
    *,
    cutouts: CutoutService,
    writer: CutoutWriter,
    pictures: CutoutPictures,
    queries: QueryService,
    jobs: JobService,
    results: ResultStore,
    links: LinkService,
    address: ServiceAddress,
    availability: Availability | None = None,
) -> APIRouter:
    """Everything below ``/soda``."""
    soda = APIRouter(tags=["SODA"], dependencies=[answers_in(FaultStyle.TEXT)])
    sync = _Sync(cutouts, writer, pictures)
    soda.add_api_route(
        "/soda/sync",
        sync.answer,
        methods=ASK,
        summary="A part of an image",
        **described(
            describe_parameters(),
            answers={200: tuple(MEDIA_TYPES.values()), 204: ()},
            required=("ID",),
        ),
    )

    @soda.api_route("/soda/capabilities", methods=READ, summary="VOSI capabilities", **XML_ANSWER)
    async def capabilities(request: Request) -> Response:
        document = vosi.write_soda_capabilities(address.of(request))
        return Response(document, media_type=vosi.MEDIA_TYPE)

    available = availability or Availability(queries.ping)

    @soda.api_route("/soda/availability", methods=READ, summary="VOSI availability", **XML_ANSWER)
    async def availability_now() -> Response:
        return await available.answer()

    soda.include_router(
        uws_router(
            prefix="/soda/async",
            kind="cutout",
            jobs=jobs,
            results=results,
            links=links,
            address=address,
            style=FaultStyle.TEXT,
            inputs=tuple(describe_parameters()),
        )
    )
    return soda


class _Sync:
    """The synchronous resource: one request, one part of one image."""

    def __init__(
        self, cutouts: CutoutService, writer: CutoutWriter, pictures: CutoutPictures
    ) -> None:
        self._cutouts = cutouts
        self._writer = writer
        self._pictures = pictures
        self._drawing = SharedPlaces(PICTURES_AT_ONCE, "pictures")
        self._cutting = SharedPlaces(CUTS_AT_ONCE, "soda")

    async def answer(self, request: Request) -> Response:
        parameters = await read_parameters(request)
        form = parse_form(parameters.pairs)
        asked = parse_cutout(parameters.pairs, PICTURE_NAMES)
        if form == "fits":
            return await self._fits(request, parameters, asked)
        return await self._picture(identity_in(request.state), parameters, asked, form)

    async def _fits(
        self, request: Request, parameters: ParameterSet, asked: CutoutRequest
    ) -> Response:
        refuse_picture_names(parameters.pairs)

        identity = identity_in(request.state)

        def make() -> Iterator[bytes]:
            return self._writer.write(self._cutouts.find(asked, identity))

        headers = {"Content-Disposition": f'attachment; filename="{_name(asked)}.fits"'}
        return await stream(
            request,
            make,
            media_type=MEDIA_TYPES["fits"],
            threads=self._cutting.of(identity.account),
            headers=headers,
        )

    async def _picture(
        self,
        identity: Identity,
        parameters: ParameterSet,
        asked: CutoutRequest,
        form: Literal["png", "jpeg"],
    ) -> Response:
        options = parse_picture(parameters.pairs, form)

        def draw() -> bytes:
            return self._pictures.draw(self._cutouts.find(asked, identity), options)

        content = await self._drawing.run(identity.account, draw)
        headers = {"Content-Disposition": f'inline; filename="{_name(asked)}.{form}"'}
        return Response(content, media_type=MEDIA_TYPES[form], headers=headers)


def _name(asked: CutoutRequest) -> str:
    """The image's own name, as far as it can be one of a file."""
    tail = re.split(r"[?/]", asked.dataset_id)[-1]
    return f"{_UNSAFE.sub('_', tail) or 'image'}_cutout"
