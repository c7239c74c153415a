"""``/builds/template`` and ``/builds/difference``: each ``/sync`` (answers with the FITS file) and
``/async`` (UWS jobs whose result is named ``result``)."""

from __future__ import annotations

from typing import Final, cast

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app import errors
from app.errors import NotFoundError, ServiceError, StoppedError
from app.http.context import ServiceAddress
from app.http.description import described
from app.http.faults import VOTABLE_TYPE, FaultStyle, answers_in
from app.http.parameters import ParameterSet, read_parameters
from app.http.plans import JSON_TYPE, PlanAnswers
from app.http.sent_files import answer_file
from app.http.uws import uws_router
from app.http.uws_parameters import CONTROLS
from app.http.waiting import wait_until
from app.recipes.recipe import BuildKind, BuildPlan
from app.recipes.target import name_patches
from app.schema.access import Identity, identity_in
from app.schema.rows import DatasetRow
from app.services.build_descriptors import build_inputs
from app.services.builds import BuildService
from app.services.builds_rows import FITS_MEDIA_TYPE
from app.services.forecasts import ForecastService
from app.services.jobs import ENDED, JobService
from app.services.links import LinkService
from app.stores.results import ResultStore
from app.uws.job import Job, JobError, Phase

ASK: Final = ["GET", "HEAD", "POST"]
KINDS: Final[tuple[BuildKind, ...]] = ("template", "difference")
DATASET_HEADER: Final = "X-Skyloom-Dataset"
MISSING_HEADER: Final = "X-Skyloom-Missing"
"""Patches under the image that lack a coadd (INPUTS=coadds)."""


def router(
    *,
    builds: BuildService,
    jobs: JobService,
    results: ResultStore,
    links: LinkService,
    address: ServiceAddress,
    forecasts: ForecastService,
    sync_limit_s: float,
) -> APIRouter:
    """Everything below ``/builds``. A synchronous build that takes longer than
    ``sync_limit_s`` goes on as a job, to which the client is sent (303). PLAN=true answers with
    what would be built and makes no job."""
    found = APIRouter(tags=["Builds"], dependencies=[answers_in(FaultStyle.TEXT)])
    for kind in KINDS:
        plans = PlanAnswers(kind, forecasts)
        _add_sync(found, _SyncBuilds(kind, builds, jobs, links, address, sync_limit_s, plans))
        found.include_router(
            uws_router(
                prefix=f"/builds/{kind}/async",
                kind=kind,
                jobs=jobs,
                results=results,
                links=links,
                address=address,
                style=FaultStyle.TEXT,
                inputs=build_inputs((), kind),
                answer_first=plans.answer,
                first_types=(VOTABLE_TYPE, JSON_TYPE),
            )
        )
    return found


def _add_sync(found: APIRouter, sync: _SyncBuilds) -> None:
    found.add_api_route(
        f"/builds/{sync.kind}/sync",
        sync.answer,
        methods=ASK,
        summary=f"Build a {sync.kind} (or find it built) and answer with its FITS file",
        **described(
            build_inputs((), sync.kind),
            answers={200: (FITS_MEDIA_TYPE, VOTABLE_TYPE, JSON_TYPE), 303: (), 307: ()},
        ),
    )


class _SyncBuilds:
    """The synchronous resource of one kind of build."""

    def __init__(
        self,
        kind: BuildKind,
        builds: BuildService,
        jobs: JobService,
        links: LinkService,
        address: ServiceAddress,
        time_limit_s: float,
        plans: PlanAnswers,
    ) -> None:
        self.kind: BuildKind = kind
        self._builds = builds
        self._jobs = jobs
        self._links = links
        self._address = address
        self._time_limit_s = time_limit_s
        self._plans = plans

    async def answer(self, request: Request) -> Response:
        parameters = await read_parameters(request)
        told = await self._plans.answer(request, parameters)
        if told is not None:
            return told
        parameters = parameters.without(*CONTROLS)
        identity = identity_in(request.state)
        plan, product = await to_thread.run_sync(self._find, parameters, identity)
        if product is not None:
            return await self._file(request, plan, product)
        job = await to_thread.run_sync(self._start, parameters, self._address.of(request), identity)
        job = await self._wait(job)
        if job.phase not in ENDED:
            url = f"{self._address.of(request)}/builds/{self.kind}/async/{job.job_id}"
            return RedirectResponse(url, status_code=303)
        try:
            product = await to_thread.run_sync(self._product_of, job)
        finally:
            await to_thread.run_sync(self._forget, job)
        return await self._file(request, plan, product)

    def _find(
        self, parameters: ParameterSet, identity: Identity
    ) -> tuple[BuildPlan, DatasetRow | None]:
        """The plan, and the product if it is there. Raises what is wrong with the request."""
        recipe, plan = self._builds.prepare(self.kind, parameters.pairs, identity)
        product = self._builds.find_product(recipe.key())
        if product is None:
            self._builds.require_small(plan, identity)
        return plan, product

    def _start(self, parameters: ParameterSet, service_url: str, identity: Identity) -> Job:
        job = self._jobs.create(
            self.kind, parameters.pairs, identity=identity, service_url=service_url
        )
        return self._jobs.start(job.job_id)

    async def _wait(self, job: Job) -> Job:
        """The job once it has ended or the time is over; no thread is held meanwhile.

        A client that hangs up does not stop it: the product serves whoever asks next.
        """
        return await wait_until(
            self._jobs,
            job.job_id,
            self.kind,
            lambda now_job: now_job.phase in ENDED,
            timeout_s=self._time_limit_s,
        )

    def _product_of(self, job: Job) -> DatasetRow:
        return self._builds.get_product(product_of(job))

    async def _file(self, request: Request, plan: BuildPlan, product: DatasetRow) -> Response:
        headers = {DATASET_HEADER: product.dataset_id}
        if plan.missing_patches:
            headers[MISSING_HEADER] = name_patches(plan.missing_patches)
        subtype = str(product.columns.get("dataproduct_subtype", "product")).rpartition(".")[2]
        name = f"{subtype}_{product.columns.get('lsst_band')}_{product.recipe_key}.fits"
        download = await to_thread.run_sync(self._links.open_product, product, name)
        return await answer_file(request, download, headers)

    def _forget(self, job: Job) -> None:
        """Jobs of synchronous requests do not fill the job list."""
        self._jobs.destroy(job)


def product_of(job: Job) -> str:
    """obs_publisher_did of what a job that has ended built. Raises the error it ended with."""
    if job.error is not None:
        raise error_of(job.error)
    if job.phase is not Phase.COMPLETED:
        raise StoppedError()
    for result in job.results:
        if result.dataset_id is not None:
            return result.dataset_id
    raise NotFoundError(f"The product of job {job.job_id}")


def error_of(error: JobError) -> ServiceError:
    """The error a job ended with, as an exception of its class with its own words."""
    kind: object = getattr(errors, error.fault, ServiceError)
    if not (isinstance(kind, type) and issubclass(kind, ServiceError)):
        kind = ServiceError
    told = type(kind.__name__, (kind,), {"__doc__": "{0}"})
    return cast(ServiceError, BaseException.__new__(told, error.message))
