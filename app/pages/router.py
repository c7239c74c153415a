"""The pages' addresses. Each handler parses, asks one service and fills one template."""

from __future__ import annotations

from functools import partial
from typing import Any, Final
from urllib.parse import quote

from anyio import CapacityLimiter
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.errors import AdqlError, JobNotFoundError, NotFoundError, quoted
from app.pages.asked import Asked, Asking
from app.pages.coverage_view import sky_coverage
from app.pages.document import PageWriter
from app.pages.examples import find_sample, make_examples, write_targets
from app.pages.hang_up import answer_while_waited_for
from app.pages.holdings import HoldingsCounter
from app.pages.image_page import image_page
from app.pages.job_view import BUILDS, KINDS, view_job
from app.pages.page_route import Explain, ReadParameters, route_class
from app.pages.preview_view import PreviewService, parse_composite, parse_preview
from app.pages.result_table import Records, fetch, to_cells
from app.pages.search import (
    CHOICES,
    THERE,
    Card,
    SearchForm,
    parse_search,
    search_adql,
    to_cards,
)
from app.pages.snippets import build_snippet, curl_snippet, example_queries, pyvo_snippet
from app.pages.target_names import MAX_IMAGES, find_place
from app.pages.tile_view import TileService, tile_layout, tile_picture
from app.pages.topic_pages import (
    light_curve_page,
    quality_page,
    quality_panel,
    sky_page,
    triplet_page,
)
from app.pages.verdict_page import place_of, point_at
from app.pages.vocabulary import vocabulary
from app.recipes.request import parse_request
from app.schema.access import Identity
from app.schema.rows import DatasetRow
from app.services.access import GATE
from app.services.coverage import CoverageService
from app.services.discovery import describe_discovery
from app.services.hips.shelf import HipsShelf
from app.services.jobs import JobService
from app.services.light_curves import LightCurveService
from app.services.links import LinkService
from app.services.parameters import ParameterSet
from app.services.query import QueryService
from app.services.skymap import SkyMapService
from app.services.stamp_builds import StampBuilder
from app.services.stamps import StampService
from app.stores.file_cache import FileCache
from app.stores.images import ImageStore
from app.stores.tables.control import StatementControl
from app.stores.tables.datasets import DatasetStore
from app.uws.job import JobKind

QUERY_ROWS: Final = 500
QUERY_PLACES: Final = 8
"""Queries of the page that run at a time; the next ones wait."""
SEARCH_ROWS: Final = 48
LISTED_JOBS: Final = 50
LATEST: Final = 6
ROBOTS: Final = "User-agent: *\n" + "".join(
    f"Disallow: {path}\n"
    for path in (
        "/builds/",
        "/differences",
        "/jobs",
        "/lightcurve",
        "/previews",
        "/composites",
        "/tiles",
        "/tap/sync",
    )
)
_NOWHERE: Final = "62.0 -37.0"
_READ: Final = ["GET", "HEAD"]


def pages_router(
    *,
    queries: QueryService,
    skymap: SkyMapService,
    light_curves: LightCurveService,
    stamps: StampService,
    stamp_builder: StampBuilder,
    links: LinkService,
    jobs: JobService,
    datasets: DatasetStore,
    images: ImageStore,
    previews: FileCache,
    tiles: TileService,
    surveys: HipsShelf,
    coverage: CoverageService,
    writer: PageWriter,
    parameters: ReadParameters,
    explain: Explain,
) -> APIRouter:
    """All pages, at ``/``. ``parameters`` gives what the query string and form of a request hold,
    ``explain`` how an error is told (status, text, headers); errors leave as pages of their own."""
    routes = route_class(writer, parameters, explain)
    router = APIRouter(route_class=routes, include_in_schema=False)
    reader = _ReadPages(
        writer, queries, links, datasets, PreviewService(images=images, cache=previews), surveys
    )
    worker = _JobPages(writer, jobs)
    for path, handler in (
        ("/", reader.landing),
        ("/search", reader.search),
        ("/query", reader.query),
        ("/query/vocabulary", vocabulary(queries)),
        ("/images", image_page(writer, links, datasets)),
        ("/previews", reader.preview),
        ("/composites", reader.composite),
        ("/tiles", tile_picture(datasets, tiles)),
        ("/tiles/layout", tile_layout(datasets, tiles)),
        ("/static/{name:path}", reader.static),
        ("/robots.txt", reader.robots),
        ("/sky", sky_page(writer, skymap)),
        ("/sky/coverage", sky_coverage(coverage)),
        ("/quality", quality_page(writer, datasets, images)),
        ("/quality/{panel}.png", quality_panel(datasets, images)),
        ("/lightcurves", light_curve_page(writer, light_curves)),
        ("/triplets", triplet_page(writer, stamps, stamp_builder)),
        ("/tap", reader.tap),
        ("/sia", reader.sia),
        ("/tap/examples", reader.examples),
        ("/tap/examples/targets.xml", reader.targets),
        ("/jobs", worker.listing),
        ("/jobs/{kind}/{job_id}", worker.job),
    ):
        router.add_api_route(path, handler, methods=_READ)
    router.add_api_route("/jobs/{kind}", worker.start, methods=["POST"])
    router.add_api_route("/jobs/{kind}/{job_id}", worker.steer, methods=["POST"])
    return router


class _ReadPages:
    """Pages that only look."""

    def __init__(
        self,
        writer: PageWriter,
        queries: QueryService,
        links: LinkService,
        datasets: DatasetStore,
        previews: PreviewService,
        surveys: HipsShelf,
    ) -> None:
        self._writer = writer
        self._queries = queries
        self._links = links
        self._datasets = datasets
        self._previews = previews
        self._surveys = surveys
        self._holdings = HoldingsCounter(queries=queries)
        self._query_places = CapacityLimiter(QUERY_PLACES)

    def landing(self, request: Request, identity: Asking) -> Response:
        """What the service holds and how to ask it."""
        service_url = self._writer.service_url(request)
        holdings = self._holdings.count(service_url)
        example = self._example(service_url)
        position = example[1] if example else _NOWHERE
        adql = search_adql(SearchForm(pos=position), top=10)
        values: dict[str, Any] = {
            "holdings": holdings,
            "surveys": self._surveys.surveys(),
            "form": SearchForm(),
            "states": CHOICES,
            "example_pos": position,
            "query": adql,
            "place": None,
            "latest": self._latest(service_url, identity),
            "pyvo_snippet": pyvo_snippet(service_url, position),
            "curl_snippet": curl_snippet(service_url, position),
            "build_snippet": build_snippet(service_url, example[0]) if example else None,
        }
        return self._writer.write(request, "landing.html", values)

    def tap(self, request: Request) -> Response:
        """Where things are, for people who open the address of the TAP service."""
        return self._writer.write(request, "tap.html", {})

    def sia(self, request: Request) -> Response:
        """The same for the address of SIA, with its parameters."""
        inputs = describe_discovery(self._writer.service_url(request)).inputs
        return self._writer.write(request, "sia.html", {"inputs": inputs})

    def examples(self, request: Request) -> Response:
        """Queries to start from, for people and (as RDFa) for programs."""
        sample = find_sample(self._queries, self._writer.service_url(request))
        examples = make_examples(sample)
        values = {
            "examples": [example for example in examples if not example.uploads],
            "upload": next(example for example in examples if example.uploads),
        }
        return self._writer.write(request, "examples.html", values)

    def targets(self, request: Request) -> Response:
        """The table that the example of an upload sends along."""
        sample = find_sample(self._queries, self._writer.service_url(request))
        return Response(b"".join(write_targets(sample)), media_type="application/x-votable+xml")

    def search(self, request: Request, asked: Asked, identity: Asking) -> Response:
        """Images that the form asks for, as cards."""
        service_url = self._writer.service_url(request)
        ask = partial(fetch, self._queries, service_url=service_url, maxrec=MAX_IMAGES)
        form = parse_search(asked, partial(find_place, ask=ask))
        adql = search_adql(form, top=SEARCH_ROWS + 1)
        records = fetch(self._queries, adql, service_url=service_url, maxrec=SEARCH_ROWS)
        values = {
            "holdings": self._holdings.count(service_url),
            "form": form,
            "states": CHOICES,
            "example_pos": _NOWHERE,
            "cards": self._cards(records, identity),
            "truncated": records.truncated,
            "adql": search_adql(form, top=1000),
        }
        return self._writer.write(request, "search.html", values)

    async def query(self, request: Request, asked: Asked) -> Response:
        """Runs ADQL and shows the table; a fault is shown above the text it is in. Such queries
        have threads of their own: slow ones hold up nobody else, and end with their reader."""
        answer = partial(self._query, request, asked)
        return await answer_while_waited_for(request, answer, places=self._query_places)

    def _query(self, request: Request, asked: ParameterSet, control: StatementControl) -> Response:
        service_url = self._writer.service_url(request)
        text = asked.single("QUERY")
        values: dict[str, Any] = {
            "query": text or search_adql(SearchForm(), top=10),
            "table": None,
            "fault": None,
            "pointer": None,
            "place": None,
            "examples": example_queries(self._position(service_url)),
            "catalog_tables": self._queries.current_catalog().tables,
        }
        status = 200
        if text is not None:
            try:
                records = fetch(
                    self._queries,
                    text,
                    service_url=service_url,
                    maxrec=QUERY_ROWS,
                    control=control,
                )
                values["table"] = to_cells(records, self._writer.root(request))
            except AdqlError as fault:
                status = 400
                at = (fault.line, fault.column)
                values |= {
                    "fault": str(fault),
                    "pointer": point_at(text, *at),
                    "place": place_of(str(fault), *at),
                }
        return self._writer.write(request, "query.html", values, status=status)

    def preview(self, asked: Asked, identity: Asking) -> Response:
        """PNG of one image."""
        content = self._previews.get(self._get_row(asked, identity), parse_preview(asked))
        return Response(content, media_type="image/png", headers={"Cache-Control": "max-age=3600"})

    def composite(self, asked: Asked, identity: Asking) -> Response:
        """PNG of three images in colours."""
        names, wanted = parse_composite(asked)
        rows = [self._datasets.get(name) for name in names]
        for row in rows:
            GATE.require(identity, row)
        content = self._previews.get_composite(rows, wanted)
        return Response(content, media_type="image/png", headers={"Cache-Control": "max-age=3600"})

    def static(self, request: Request, name: str) -> Response:
        """Style sheet, scripts and icon."""
        found = self._writer.static_files.get(name)
        if found is None:
            raise NotFoundError(f"The file {quoted(name)}")
        content, encoding = found.encoded(request.headers.get("accept-encoding", ""))
        cache = {"Cache-Control": found.cache_control(request.query_params.get("v"))}
        return Response(content, media_type=found.media_type, headers=cache | encoding)

    def robots(self) -> Response:
        """What crawlers leave alone: addresses that build, and pictures without end."""
        return Response(ROBOTS, media_type="text/plain; charset=utf-8")

    def _get_row(self, asked: ParameterSet, identity: Identity) -> DatasetRow:
        row = self._datasets.get(asked.require("ID", "the obs_publisher_did of an image"))
        GATE.require(identity, row)
        return row

    def _latest(self, service_url: str, identity: Identity) -> Any:
        adql = search_adql(SearchForm(state=THERE, sort="newest"), top=LATEST)
        found = fetch(self._queries, adql, service_url=service_url, maxrec=LATEST)
        return self._cards(found, identity)

    def _cards(self, records: Records, identity: Identity) -> list[Card]:
        names = [str(record["obs_publisher_did"]) for record in records.by_name()]
        rows = self._datasets.get_many(names)
        hidden = {
            row.dataset_id
            for row in rows
            if row.is_external or not GATE.may_read(identity, row.rights)
        }
        return to_cards(records, hidden)

    def _position(self, service_url: str) -> str:
        """Somewhere to look at, as ``lon lat``."""
        example = self._example(service_url)
        return example[1] if example else _NOWHERE

    def _example(self, service_url: str) -> tuple[str, str] | None:
        """(identifier, position) of a calibrated image to show how things are asked."""
        adql = (
            "SELECT TOP 1 obs_publisher_did, s_ra, s_dec FROM ivoa.ObsCore "
            "WHERE s_ra IS NOT NULL AND s_dec IS NOT NULL ORDER BY calib_level, t_max DESC"
        )
        for row in fetch(self._queries, adql, service_url=service_url, maxrec=1).by_name():
            return str(row["obs_publisher_did"]), f"{row['s_ra']:.5f} {row['s_dec']:.5f}"
        return None


class _JobPages:
    """Pages that start, watch and stop jobs."""

    def __init__(self, writer: PageWriter, jobs: JobService) -> None:
        self._writer = writer
        self._jobs = jobs

    def listing(self, request: Request, identity: Asking) -> Response:
        """The newest jobs of all kinds."""
        found = [
            job
            for kind in KINDS
            for job in self._jobs.list_jobs(kind, identity=identity, last=LISTED_JOBS)
        ]
        found.sort(key=lambda job: job.creation_time, reverse=True)
        values = {"jobs": found[:LISTED_JOBS], "limit": LISTED_JOBS}
        return self._writer.write(request, "jobs.html", values)

    def job(self, request: Request, kind: str, job_id: str, identity: Asking) -> Response:
        """One job, as it is now."""
        job = self._jobs.quoted(self._jobs.get(job_id, _kind_of(kind, job_id), identity))
        return self._writer.write(request, "job.html", view_job(job, self._writer.root(request)))

    def start(self, request: Request, kind: str, asked: Asked, identity: Asking) -> Response:
        """Starts a build and shows its page. Raises ParameterError before there is a job."""
        if kind not in BUILDS:
            raise NotFoundError(f"A build called {quoted(kind)}")
        pairs = [(name, value) for name, value in asked if value.strip()]
        parse_request("template" if kind == "template" else "difference", pairs)
        service_url = self._writer.service_url(request)
        job = self._jobs.create(
            _kind_of(kind, ""), pairs, identity=identity, service_url=service_url
        )
        self._jobs.start(job.job_id)
        return self._see_job(request, kind, job.job_id)

    def steer(
        self, request: Request, kind: str, job_id: str, asked: Asked, identity: Asking
    ) -> Response:
        """PHASE=ABORT stops a job."""
        self._jobs.get(job_id, _kind_of(kind, job_id), identity)
        if (asked.single("PHASE") or "").upper() == "ABORT":
            self._jobs.abort(job_id)
        return self._see_job(request, kind, job_id)

    def _see_job(self, request: Request, kind: str, job_id: str) -> Response:
        path = f"{self._writer.root(request)}/jobs/{kind}/{quote(job_id, safe='')}"
        return RedirectResponse(path, status_code=303)


def _kind_of(kind: str, job_id: str) -> JobKind:
    for known in KINDS:
        if kind == known:
            return known
    raise JobNotFoundError(job_id)
