"""``/differences?ID=…``: the difference image of an exposure, built when it is first asked for."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from app.http.builds import product_of
from app.http.context import ServiceAddress, asks_for_page
from app.http.description import described
from app.http.faults import RETRY_AFTER_S, FaultStyle, answers_in
from app.http.parameters import read_parameters
from app.http.sent_files import STATE_HEADER
from app.http.waiting import wait_until
from app.schema.access import Identity, identity_in
from app.schema.obscore import BUILDABLE
from app.schema.rows import DatasetRow, difference_path
from app.services.builds_rows import FITS_MEDIA_TYPE
from app.services.first_use import FirstUseService
from app.services.jobs import ENDED, JobService
from app.services.links import LinkService
from app.uws.job import Job
from app.votable.descriptors import InputParameter, number_input

READ: Final = ["GET", "HEAD"]
NOT_KEPT: Final = {"Cache-Control": "no-store"}
"""File addresses expire, and jobs come to an end."""
ROUND: Final = "ROUND"
MOST_ROUNDS: Final = 8
"""So often a program is sent back to wait once more: urllib, by which astropy opens addresses,
follows ten redirects, the one to the file among them."""
EXPOSURE: Final = InputParameter(name="ID", description="Identifier of an exposure")
ROUNDS: Final = number_input(
    ROUND, "How often its client has been sent back", datatype="int", limits=("0", None)
)
TO_COME_BACK: Final = 503
"""After so much waiting a program wants the file: astropy takes whatever comes with a 2xx status
for it, and gives it back from its cache ever after."""


def router(
    *,
    first_use: FirstUseService,
    jobs: JobService,
    links: LinkService,
    address: ServiceAddress,
    wait_s: float,
) -> APIRouter:
    """The link of differences. What is built within ``wait_s`` is answered with its file (303).
    What takes longer sends browsers to the page of its job, and programs to this address again
    (303), :data:`MOST_ROUNDS` times, so that those which follow redirects get the file; then they
    are told to come back (503). Without ``wait_s`` the job is told at once (202). HEAD builds
    nothing."""
    found = APIRouter(tags=["Builds"], dependencies=[answers_in(FaultStyle.TEXT)])
    answers = _Answers(first_use, jobs, links, address, wait_s)
    found.add_api_route(
        "/differences",
        answers.answer,
        methods=READ,
        summary="The difference image of an exposure (ID=…), built on first use",
        **described(
            (EXPOSURE, ROUNDS),
            answers={303: ("text/plain",), 202: ("text/plain",), 200: ()},
            required=(EXPOSURE.name,),
        ),
    )
    return found


class _Answers:
    def __init__(
        self,
        first_use: FirstUseService,
        jobs: JobService,
        links: LinkService,
        address: ServiceAddress,
        wait_s: float,
    ) -> None:
        self._first_use = first_use
        self._jobs = jobs
        self._links = links
        self._address = address
        self._wait_s = wait_s

    async def answer(self, request: Request) -> Response:
        parameters = await read_parameters(request)
        dataset_id = parameters.require("ID", "the obs_publisher_did of an exposure")
        asked = parameters.integer(ROUND, minimum=0) or 0
        service_url = self._address.of(request)
        identity = identity_in(request.state)
        found = await to_thread.run_sync(self._first_use.find, dataset_id, identity)
        if isinstance(found, DatasetRow):
            return await self._file(found.dataset_id, service_url, identity)
        if request.method == "HEAD":
            headers = {STATE_HEADER: BUILDABLE, "Content-Type": FITS_MEDIA_TYPE, **NOT_KEPT}
            return Response(headers=headers)
        job = await to_thread.run_sync(self._first_use.start, found, service_url, identity)
        job = await wait_until(
            self._jobs,
            job.job_id,
            "difference",
            lambda now_job: now_job.phase in ENDED,
            timeout_s=self._wait_s,
            request=request,
        )
        if job.phase in ENDED:
            return await self._file(product_of(job), service_url, identity)
        if asks_for_page(request):
            page = f"{service_url}/jobs/difference/{job.job_id}"
            return _see_other(page)
        return await self._under_way(job, dataset_id, asked + 1, service_url)

    async def _file(self, dataset_id: str, service_url: str, identity: Identity) -> Response:
        url = await to_thread.run_sync(self._links.file_url, dataset_id, service_url, identity)
        return _see_other(url)

    async def _under_way(
        self, job: Job, dataset_id: str, number: int, service_url: str
    ) -> Response:
        quoted = await to_thread.run_sync(self._jobs.quoted, job)
        left_s = _left_s(quoted)
        job_url = f"{service_url}/builds/difference/async/{job.job_id}"
        here = service_url + difference_path(dataset_id)
        words = _words(quoted, left_s, job_url, here)
        if self._wait_s > 0 and number <= MOST_ROUNDS:
            again = {"Location": f"{here}&{ROUND}={number}"}
            return PlainTextResponse(words, 303, {**again, **NOT_KEPT})
        headers = {"Location": job_url, "Retry-After": left_s or RETRY_AFTER_S, **NOT_KEPT}
        return PlainTextResponse(words, 202 if number == 1 else TO_COME_BACK, headers)


def _see_other(url: str) -> Response:
    """Of the type that is described, as the answers with words are."""
    headers = {"Content-Type": "text/plain; charset=utf-8", **NOT_KEPT}
    return RedirectResponse(url, status_code=303, headers=headers)


def _left_s(job: Job) -> str | None:
    """Whole seconds until a job will be done, at least one."""
    if job.quote is None:
        return None
    return str(max(1, math.ceil((job.quote - datetime.now(UTC)).total_seconds())))


def _words(job: Job, left_s: str | None, job_url: str, ask_again: str) -> str:
    stage, total = job.progress.get("stage"), job.progress.get("total")
    step = "" if stage is None else f", {stage} {job.progress.get('done', 0)} of {total}"
    quote = "nobody can say yet when" if left_s is None else f"in about {left_s} s"
    return (
        "The difference image is not built yet; it is being built.\n"
        f"phase: {job.phase.value}{step}\n"
        f"done: {quote}\n"
        f"job: {job_url}\n"
        f"ask again: {ask_again}\n"
    )
