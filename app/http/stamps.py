"""``/stamps?POS=…``: science, template and difference side by side at positions."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final, Literal

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from app.errors import NoOverlapError, UnsupportedFormatError
from app.http.context import ServiceAddress, asks_for_page
from app.http.description import TABLE_TYPES, described
from app.http.faults import RETRY_AFTER_S, FaultStyle, answers_in, describe
from app.http.parameters import ParameterSet, read_form
from app.http.shares import SharedPlaces
from app.http.streaming import stream
from app.http.waiting import wait_until
from app.pixels.picture import PictureOptions
from app.recipes.picture import LOOK_NAMES, parse_look, refuse_picture_names
from app.recipes.values import group
from app.schema.access import identity_in
from app.services.builds_rows import FITS_MEDIA_TYPE
from app.services.formats import FORMATS, VOTABLE_SERIALIZATIONS
from app.services.jobs import ENDED, JobService
from app.services.stamp_builds import StampBuilder, StampBuilds, Wanted
from app.services.stamp_descriptor import stamp_inputs
from app.services.stamp_epochs import StampEpochs
from app.services.stamp_files import StampWriter
from app.services.stamp_pictures import PICTURES, PictureForm, StampPictures
from app.services.stamp_request import NAMES, StampRequest, parse_stamps
from app.services.stamp_table import FIELDS, batches
from app.services.stamps import StampService
from app.services.uploads import UploadService, items_as_files
from app.tabular.registry import OutputFormat
from app.uws.job import Job
from app.votable.writer import write_results

ASK: Final = ["GET", "HEAD", "POST"]
DEFAULT_EPOCHS: Final = 200
MAX_EPOCHS: Final = 2000
SHOWN_EPOCHS: Final = 50
MAX_SHOWN: Final = 100
"""Of a picture."""
PICTURES_AT_ONCE: Final = 2
STAMPS_AT_ONCE: Final = 2 * (os.cpu_count() or 1)
ROUND: Final = "ROUND"
MOST_ROUNDS: Final = 8
"""So often a program is sent back to wait once more, see :mod:`app.http.differences`."""
NOT_KEPT: Final = {"Cache-Control": "no-store"}

_FITS_WORDS: Final = ("fits", FITS_MEDIA_TYPE, "image/fits")
_ENDINGS: Final[Mapping[PictureForm, str]] = {"png": "png", "apng": "png", "gif": "gif"}
Output = OutputFormat | PictureForm | Literal["fits"]


def router(
    *,
    stamps: StampService,
    builder: StampBuilder,
    jobs: JobService,
    uploads: UploadService,
    address: ServiceAddress,
    wait_s: float,
) -> APIRouter:
    """Triplets at positions. ``wait_s``: how long an answer waits for what it has built."""
    found = APIRouter(tags=["Stamps"], dependencies=[answers_in(FaultStyle.TEXT)])
    answers = _Answers(stamps, builder, jobs, uploads, address, wait_s)
    found.add_api_route(
        "/stamps",
        answers.answer,
        methods=ASK,
        summary="Science, template and difference at positions (POS=…)",
        **described(
            stamp_inputs(),
            answers={
                200: (FITS_MEDIA_TYPE, *PICTURES.values(), *TABLE_TYPES),
                202: ("text/plain",),
                204: (),
                303: (),
            },
        ),
    )
    return found


class _Answers:
    def __init__(
        self,
        stamps: StampService,
        builder: StampBuilder,
        jobs: JobService,
        uploads: UploadService,
        address: ServiceAddress,
        wait_s: float,
    ) -> None:
        self._stamps = stamps
        self._writer = StampWriter(stamps=stamps)
        self._builder = builder
        self._jobs = jobs
        self._uploads = uploads
        self._address = address
        self._wait_s = wait_s
        self._pictures = StampPictures(stamps=stamps)
        self._cutting = SharedPlaces(STAMPS_AT_ONCE, "stamps")
        self._drawing = SharedPlaces(PICTURES_AT_ONCE, "stamp-pictures")

    async def answer(self, request: Request) -> Response:
        identity = identity_in(request.state)
        form = await read_form(request, max_file_bytes=self._uploads.most_bytes(identity))
        parameters, files = items_as_files(*form)
        if (
            request.method == "GET"
            and asks_for_page(request)
            and "RESPONSEFORMAT" not in parameters
        ):
            page = f"{self._address.of(request)}/triplets?{request.url.query}"
            return RedirectResponse(page, 303)
        output = _output(parameters)
        most = _most(parameters, output)
        look = _look(parameters, output)
        number = parameters.integer(ROUND, minimum=0) or 0
        tables = await to_thread.run_sync(self._uploads.load, parameters, files, identity)
        asked = parse_stamps(parameters.pairs, tables, (*LOOK_NAMES, ROUND))
        epochs = await to_thread.run_sync(self._stamps.find, asked, most, identity)
        if asked.build and request.method != "HEAD":
            built = await self._built(request, asked, epochs, most, number)
            if isinstance(built, Response):
                return built
            epochs = built
        if isinstance(output, OutputFormat):
            write = partial(_table, output, epochs, most)
            return await stream(request, write, media_type=output.media_types[0])
        if not epochs.epochs and (output != "fits" or not epochs.truncated):
            raise NoOverlapError("POS")
        if output == "fits":
            return await self._fits(request, asked, epochs)
        draw = partial(self._pictures.draw, epochs, asked, look, output)
        content = await self._drawing.run(identity.account, draw)
        headers = {"Content-Disposition": f'inline; filename="stamps.{_ENDINGS[output]}"'}
        return Response(content, media_type=PICTURES[output], headers=headers)

    async def _fits(self, request: Request, asked: StampRequest, epochs: StampEpochs) -> Response:
        headers = {"Content-Disposition": 'attachment; filename="stamps.fits"'}
        return await stream(
            request,
            lambda: self._writer.write(epochs, asked),
            media_type=FITS_MEDIA_TYPE,
            threads=self._cutting.of(identity_in(request.state).account),
            headers=headers,
        )

    async def _built(
        self, request: Request, asked: StampRequest, epochs: StampEpochs, most: int, number: int
    ) -> StampEpochs | Response:
        """The epochs once all that can be built is, or the answer that tells to wait."""
        service_url = self._address.of(request)
        identity = identity_in(request.state)
        builds = await to_thread.run_sync(self._builder.start, epochs, service_url, identity)
        jobs = await self._wait(request, builds)
        under_way = [job for job in jobs.values() if job.phase not in ENDED]
        if under_way:
            return await self._under_way(request, under_way, len(jobs), number)
        again = await to_thread.run_sync(self._stamps.find, asked, most, identity)
        return builds.explained(again, jobs)

    async def _wait(self, request: Request, builds: StampBuilds) -> Mapping[Wanted, Job]:
        """The jobs once all have ended, or the time is over."""
        deadline_s = time.monotonic() + self._wait_s
        return {
            wanted: await wait_until(
                self._jobs,
                job.job_id,
                "difference",
                lambda now_job: now_job.phase in ENDED,
                timeout_s=max(0.0, deadline_s - time.monotonic()),
                request=request,
            )
            for wanted, job in builds.jobs.items()
        }

    async def _under_way(
        self, request: Request, jobs: list[Job], total: int, number: int
    ) -> Response:
        """Who asks by GET is sent here again, so that programs which follow redirects get the
        stamps; an uploaded list cannot follow."""
        service_url = self._address.of(request)
        words = [f"{total - len(jobs)} of {total} images are built; these are under way:\n"]
        words += [
            f"{job.phase.value}: {service_url}/builds/difference/async/{job.job_id}\n"
            for job in jobs
        ]
        text = "".join(words)
        if request.method == "GET" and self._wait_s > 0 and number < MOST_ROUNDS:
            query = request.url.remove_query_params(ROUND).query
            location = f"{service_url}/stamps?{query}&{ROUND}={number + 1}"
            return PlainTextResponse(text, 303, {"Location": location, **NOT_KEPT})
        status = 202 if number == 0 and self._wait_s == 0 else 503
        return PlainTextResponse(text, status, {"Retry-After": RETRY_AFTER_S, **NOT_KEPT})


def _output(parameters: ParameterSet) -> Output:
    """What RESPONSEFORMAT names: pixels, a picture of them, or a table of the epochs."""
    asked = parameters.single("RESPONSEFORMAT") or parameters.single("FORMAT") or "fits"
    word = asked.strip().lower()
    if word in _FITS_WORDS:
        return "fits"
    for form, media_type in PICTURES.items():
        if word in (form, media_type):
            return form
    try:
        return FORMATS.choose(asked)[0]
    except UnsupportedFormatError as fault:
        offered = ", ".join(f"{form} ({media_type})" for form, media_type in PICTURES.items())
        raise UnsupportedFormatError(fault.args[0], f"{fault.args[1]}, {offered}") from None


def _most(parameters: ParameterSet, output: Output) -> int:
    """How many epochs an answer has at most."""
    default, limit = (DEFAULT_EPOCHS, MAX_EPOCHS)
    if output in PICTURES:
        default, limit = (SHOWN_EPOCHS, MAX_SHOWN)
    maxrec = parameters.integer("MAXREC", minimum=0)
    return min(default if maxrec is None else maxrec, limit)


def _look(parameters: ParameterSet, output: Output) -> PictureOptions:
    """How pictures are drawn."""
    if output not in PICTURES:
        refuse_picture_names(parameters.pairs, LOOK_NAMES, " or ".join(PICTURES))
    return parse_look(group(parameters.pairs, (*NAMES, *LOOK_NAMES, ROUND)))


def _table(output: OutputFormat, epochs: StampEpochs, most: int) -> Iterator[bytes]:
    """Which epochs there are. What is left out makes an overflow."""
    rows = batches(epochs.epochs)
    serialization = VOTABLE_SERIALIZATIONS.get(output.name)
    if serialization is None:
        return output.write(FIELDS, rows, most)
    return write_results(
        FIELDS,
        rows,
        maxrec=most,
        serialization=serialization,
        describe_error=describe,
        truncated=epochs.truncated,
    )
