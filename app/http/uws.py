"""UWS 1.1 for any kind of job: job list, job, its properties and results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from app.errors import LimitError, NotFoundError, ParameterError, quoted
from app.http.context import ServiceAddress
from app.http.faults import FaultStyle, answers_in, job_error_document
from app.http.parameters import ParameterSet, read_form, read_parameters, read_value
from app.http.sent_files import answer_file
from app.http.uws_described import DESTRUCTION, DURATION, PHASE, XML_TYPE, JobDescriptions
from app.http.uws_parameters import (
    CONTROLS,
    parse_instant,
    parse_phase,
    refuse_control,
    values_of,
    wait_seconds,
)
from app.http.waiting import wait_until
from app.schema.access import Identity, identity_in
from app.services.jobs import WAITING, JobService
from app.services.links import LinkService
from app.services.uploads import FormFile, UploadService, items_as_files
from app.stores.results import ResultStore
from app.uws import xml
from app.uws.job import Job, JobKind, Phase
from app.votable.descriptors import InputParameter

READ: Final = ["GET", "HEAD"]
AnswerFirst = Callable[[Request, ParameterSet], Awaitable[Response | None]]
"""Looks at a request for a new job; answers it, or leaves it to become one (None)."""


def uws_router(
    *,
    prefix: str,
    kind: JobKind,
    jobs: JobService,
    results: ResultStore,
    links: LinkService,
    address: ServiceAddress,
    style: FaultStyle,
    inputs: Sequence[InputParameter] = (),
    uploads: UploadService | None = None,
    answer_first: AnswerFirst | None = None,
    first_types: Sequence[str] = (),
) -> APIRouter:
    """The job list of ``kind`` at ``prefix``, its full path, and everything below it.

    Products are answered by a redirect to their signed file, other results as files of the
    results store. ``inputs`` tells what a job is asked. With ``uploads`` the files of a request are
    kept with its job. What ``answer_first`` answers, in ``first_types``, makes no job.
    """
    resource = _Jobs(prefix, kind, jobs, results, links, address, style, uploads, answer_first)
    router = APIRouter(prefix=prefix, tags=["UWS"], dependencies=[answers_in(style)])
    _add_routes(router, resource, JobDescriptions(inputs, first_types))
    return router


def _add_routes(router: APIRouter, resource: _Jobs, told: JobDescriptions) -> None:
    job, add, post = "/{job_id}", router.add_api_route, ["POST"]
    add("", resource.list_jobs, methods=READ, summary="Job list", **told.listed)
    add("", resource.create_job, methods=post, summary="Create a job", **told.created)
    add(job, resource.show_job, methods=READ, summary="Job", **told.shown)
    add(job, resource.act_on_job, methods=post, summary="Change or delete a job", **told.acted)
    add(job, resource.delete_job, methods=["DELETE"], summary="Delete a job", **told.deleted)
    for name, reader in resource.texts().items():
        add(f"{job}/{name}", reader, methods=READ, summary=f"Job {name}", **told.text)
    setters = (
        ("phase", resource.set_phase, PHASE),
        ("executionduration", resource.set_duration, DURATION),
        ("destruction", resource.set_destruction, DESTRUCTION),
    )
    for name, setter, parameter in setters:
        add(f"{job}/{name}", setter, methods=post, **told.set(parameter))
    add(f"{job}/parameters", resource.show_parameters, methods=READ, **told.document)
    add(f"{job}/parameters", resource.set_parameters, methods=post, **told.parameters_set)
    name = f"{job}/parameters/{{name}}"
    add(name, resource.show_parameter, methods=READ, **told.text)
    add(name, resource.set_parameter, methods=["PUT"], **told.put())
    add(f"{job}/results", resource.show_results, methods=READ, **told.document)
    add(f"{job}/results/{{result_id}}", resource.show_result, methods=READ, **told.result)
    add(f"{job}/error", resource.show_error, methods=READ, **told.error)


class _Jobs:
    """The handlers of one job list: read the request, call the service, answer."""

    def __init__(
        self,
        path: str,
        kind: JobKind,
        jobs: JobService,
        results: ResultStore,
        links: LinkService,
        address: ServiceAddress,
        style: FaultStyle,
        uploads: UploadService | None,
        answer_first: AnswerFirst | None,
    ) -> None:
        self._path = path
        self._kind = kind
        self._jobs = jobs
        self._results = results
        self._links = links
        self._address = address
        self._style = style
        self._uploads = uploads
        self._answer_first = answer_first

    # -- the list -------------------------------------------------------------------------------

    async def list_jobs(self, request: Request) -> Response:
        parameters = await read_parameters(request)
        phases = [parse_phase(value) for value in parameters.all("PHASE")] or None
        after_text = parameters.single("AFTER")
        after = None if after_text is None else parse_instant("AFTER", after_text)
        last = parameters.integer("LAST", minimum=1)
        of_mine = partial(self._jobs.list_jobs, self._kind, identity=identity_in(request.state))
        find = partial(of_mine, phases=phases, after=after, last=last)
        found = await to_thread.run_sync(find)
        return Response(xml.write_jobs(found, self._list_url(request)), media_type=XML_TYPE)

    async def _read(self, request: Request) -> tuple[ParameterSet, tuple[FormFile, ...]]:
        """Parameters, and files where the jobs take any. Raises LimitError for too long ones."""
        if self._uploads is None:
            return await read_parameters(request), ()
        most = self._uploads.most_bytes(identity_in(request.state))
        parameters, files = items_as_files(*await read_form(request, max_file_bytes=most))
        if _size(files) > most:
            raise LimitError("bytes in uploaded tables", _size(files), most)
        return parameters, files

    def _keep(self, job_id: str, files: tuple[FormFile, ...]) -> None:
        if self._uploads is not None:
            self._uploads.keep(job_id, files)

    async def create_job(self, request: Request) -> Response:
        parameters, files = await self._read(request)
        if self._answer_first is not None:
            answer = await self._answer_first(request, parameters)
            if answer is not None:
                return answer
        phase = parameters.single("PHASE")
        if phase is not None and phase.strip().upper() != "RUN":
            raise ParameterError(
                "PHASE", f"only RUN can be asked of a new job, got {quoted(phase)}"
            )
        service_url = self._address.of(request)

        def make() -> Job:
            job = self._jobs.create(
                self._kind,
                parameters.without(*CONTROLS),
                identity=identity_in(request.state),
                service_url=service_url,
                run_id=parameters.single("RUNID"),
                upload_bytes=_size(files),
            )
            self._apply_limits(job, parameters, files)
            return self._jobs.start(job.job_id) if phase is not None else job

        job = await to_thread.run_sync(make)
        return _see_other(f"{self._list_url(request)}/{job.job_id}")

    def _apply_limits(
        self, job: Job, parameters: ParameterSet, files: tuple[FormFile, ...]
    ) -> None:
        try:
            self._limit(job.job_id, parameters)
            self._keep(job.job_id, files)
        except Exception:
            self._jobs.delete(job.job_id)
            raise

    def _limit(self, job_id: str, parameters: ParameterSet) -> None:
        duration_s = parameters.integer("EXECUTIONDURATION", minimum=0)
        if duration_s is not None:
            self._jobs.set_execution_duration(job_id, duration_s)
        destruction = parameters.single("DESTRUCTION")
        if destruction is not None:
            self._jobs.set_destruction(job_id, parse_instant("DESTRUCTION", destruction))

    # -- one job --------------------------------------------------------------------------------

    async def show_job(self, request: Request, job_id: str) -> Response:
        parameters = await read_parameters(request)
        wait_s = wait_seconds(parameters)
        job = await self._get(request, job_id)
        if wait_s > 0:
            name = parameters.single("PHASE")
            guard = None if name is None else parse_phase(name)
            job = await self._wait(request, job, wait_s, guard)
        document = await to_thread.run_sync(self._document, job, self._list_url(request))
        return Response(document, media_type=XML_TYPE)

    def _document(self, job: Job, list_url: str) -> bytes:
        ahead = self._jobs.queued_before(job) if job.phase is Phase.QUEUED else None
        return xml.write_job(self._jobs.quoted(job), list_url, queued_before=ahead)

    async def _wait(self, request: Request, job: Job, wait_s: float, guard: Phase | None) -> Job:
        """Hold the request until the phase changes (UWS 1.1, section 2.2.1.1)."""
        phase = job.phase
        if phase not in WAITING or (guard is not None and guard is not phase):
            return job
        return await wait_until(
            self._jobs,
            job.job_id,
            self._kind,
            lambda now_job: now_job.phase is not phase,
            timeout_s=wait_s,
            request=request,
        )

    async def act_on_job(self, request: Request, job_id: str) -> Response:
        parameters, files = await self._read(request)
        action = (parameters.single("ACTION") or "").strip().upper()
        if action == "DELETE":
            return await self.delete_job(request, job_id)
        if action:
            raise ParameterError("ACTION", f"only DELETE is known, got {quoted(action)}")
        await self._get(request, job_id)
        await to_thread.run_sync(
            self._update, job_id, parameters, files, identity_in(request.state)
        )
        return self._to_job(request, job_id)

    def _update(
        self,
        job_id: str,
        parameters: ParameterSet,
        files: tuple[FormFile, ...],
        identity: Identity,
    ) -> None:
        """Everything that a POST to a job may change, the phase last."""
        phase = parameters.single("PHASE")
        move = None if phase is None else self._mover(phase)
        self._limit(job_id, parameters)
        news = parameters.without("PHASE", "EXECUTIONDURATION", "DESTRUCTION", "ACTION")
        if news.pairs or files:
            self._set(job_id, news, files, identity)
        if move is not None:
            move(job_id)

    def _set(
        self,
        job_id: str,
        parameters: ParameterSet,
        files: tuple[FormFile, ...],
        identity: Identity,
    ) -> None:
        self._jobs.set_parameters(job_id, parameters, upload_bytes=_size(files), identity=identity)
        self._keep(job_id, files)

    async def delete_job(self, request: Request, job_id: str) -> Response:
        await self._get(request, job_id)
        await to_thread.run_sync(self._jobs.delete, job_id)
        return _see_other(self._list_url(request))

    # -- properties -----------------------------------------------------------------------------

    def texts(self) -> dict[str, Callable[[Request, str], object]]:
        """Name -> handler of the properties that are plain text."""
        formats: dict[str, Callable[[Job], str]] = {
            "phase": lambda job: job.phase.value,
            "executionduration": xml.format_execution_duration,
            "destruction": xml.format_destruction,
            "owner": xml.format_owner,
        }
        texts = {name: self._text(format_text) for name, format_text in formats.items()}
        return {**texts, "quote": self.show_quote}

    async def show_quote(self, request: Request, job_id: str) -> Response:
        job = await self._get(request, job_id)
        return PlainTextResponse(xml.format_quote(await to_thread.run_sync(self._jobs.quoted, job)))

    def _text(self, format_text: Callable[[Job], str]) -> Callable[[Request, str], object]:
        async def show(request: Request, job_id: str) -> Response:
            return PlainTextResponse(format_text(await self._get(request, job_id)))

        return show

    async def set_phase(self, request: Request, job_id: str) -> Response:
        parameters = await read_parameters(request)
        phase = parameters.require("PHASE", "RUN or ABORT")
        move = self._mover(phase)
        await self._get(request, job_id)
        await to_thread.run_sync(move, job_id)
        return self._to_job(request, job_id)

    def _mover(self, phase: str) -> Callable[[str], Job]:
        """What a user's PHASE does to a job."""
        movers = {"RUN": self._jobs.start, "ABORT": self._jobs.abort}
        try:
            return movers[phase.strip().upper()]
        except KeyError:
            raise ParameterError("PHASE", f"RUN or ABORT, got {quoted(phase)}") from None

    async def set_duration(self, request: Request, job_id: str) -> Response:
        parameters = await read_parameters(request)
        parameters.require("EXECUTIONDURATION", "seconds, 0 for as long as allowed")
        return await self._limited(request, job_id, parameters)

    async def set_destruction(self, request: Request, job_id: str) -> Response:
        parameters = await read_parameters(request)
        parameters.require("DESTRUCTION", "an ISO 8601 time in UTC")
        return await self._limited(request, job_id, parameters)

    async def _limited(self, request: Request, job_id: str, parameters: ParameterSet) -> Response:
        await self._get(request, job_id)
        await to_thread.run_sync(self._limit, job_id, parameters)
        return self._to_job(request, job_id)

    async def show_parameters(self, request: Request, job_id: str) -> Response:
        return Response(xml.write_parameters(await self._get(request, job_id)), media_type=XML_TYPE)

    async def set_parameters(self, request: Request, job_id: str) -> Response:
        parameters, files = await self._read(request)
        for name, _ in parameters:
            refuse_control(name)
        await self._get(request, job_id)
        await to_thread.run_sync(self._set, job_id, parameters, files, identity_in(request.state))
        return self._to_job(request, job_id)

    async def show_parameter(self, request: Request, job_id: str, name: str) -> Response:
        values = values_of(await self._get(request, job_id), name)
        if not values:
            raise NotFoundError(f"The parameter {quoted(name)} of job {job_id}")
        return PlainTextResponse("\n".join(values))

    async def set_parameter(self, request: Request, job_id: str, name: str) -> Response:
        """The body is the value (UWS 1.1, section 2.1.11)."""
        refuse_control(name)
        value = await read_value(request, name)
        await self._get(request, job_id)
        await to_thread.run_sync(self._jobs.set_parameters, job_id, ((name, value),))
        return self._to_job(request, job_id)

    # -- results and error ----------------------------------------------------------------------

    async def show_results(self, request: Request, job_id: str) -> Response:
        document = xml.write_results(await self._get(request, job_id), self._list_url(request))
        return Response(document, media_type=XML_TYPE)

    async def show_result(self, request: Request, job_id: str, result_id: str) -> Response:
        job = await self._get(request, job_id)
        found = next((each for each in job.results if each.result_id == result_id), None)
        if found is None:
            raise NotFoundError(
                f"The result {quoted(result_id)} of job {job_id} ({job.phase.value})"
            )
        if found.dataset_id is not None:
            service_url = self._address.of(request)
            identity = identity_in(request.state)
            url = await to_thread.run_sync(
                self._links.file_url, found.dataset_id, service_url, identity
            )
            return _see_other(url)
        file = await to_thread.run_sync(self._results.find, found.path or "")
        download = await to_thread.run_sync(self._links.sent, file, found.media_type)
        return await answer_file(request, download)

    async def show_error(self, request: Request, job_id: str) -> Response:
        job = await self._get(request, job_id)
        if job.error is None:
            raise NotFoundError(f"An error of job {job_id} ({job.phase.value})")
        return job_error_document(job.error, self._style)

    # -- addresses ------------------------------------------------------------------------------

    async def _get(self, request: Request, job_id: str) -> Job:
        """The job, if it is for the one who asks."""
        identity = identity_in(request.state)
        return await to_thread.run_sync(self._jobs.get, job_id, self._kind, identity)

    def _list_url(self, request: Request) -> str:
        return self._address.of(request) + self._path

    def _to_job(self, request: Request, job_id: str) -> Response:
        return _see_other(f"{self._list_url(request)}/{job_id}")


def _size(files: tuple[FormFile, ...]) -> int:
    return sum(len(file.content) for file in files)


def _see_other(url: str) -> Response:
    return RedirectResponse(url, status_code=303)
