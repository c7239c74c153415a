"""Queries: parameters -> request -> compiled statement -> batches -> file."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

from app.adql.compile import compile_tree
from app.adql.compiled import CompiledQuery
from app.adql.judging import Verdict, judge_query, mend_query, with_offer
from app.adql.mending import Mended
from app.adql.parse import parse
from app.adql.tree import Query
from app.cells.warm import warm_up
from app.errors import AdqlError, ParameterError, ServiceError, StoppedError, quoted
from app.schema.access import Identity
from app.schema.allowances import NO_ALLOWANCES, Allowances, lower
from app.schema.catalog import CatalogSource
from app.schema.fields import Catalog, Field
from app.schema.uploads import UploadedTable, with_uploads
from app.services.access import anybody
from app.services.executors import ShouldStop, StopSignal
from app.services.formats import FORMATS, VOTABLE_SERIALIZATIONS
from app.services.parameters import ParameterSet
from app.services.plans import PlanCache
from app.services.query_end import QueryEnd, observed
from app.services.read_ahead import read_ahead
from app.services.storage_quota import Meter, no_meter
from app.services.table_descriptors import describe_services
from app.services.uploads import UploadService, parse_uploads
from app.stores.results import ResultStore
from app.stores.tables.base import TableStore
from app.stores.tables.control import StatementControl
from app.tabular.registry import OutputFormat
from app.uws.job import Job, JobResult
from app.votable.descriptors import ServiceDescriptor
from app.votable.markup import Info
from app.votable.writer import DescribeError, write_results
from app.workers.engine import Progress

log = logging.getLogger(__name__)

LANGUAGES: Final = ("ADQL", "ADQL-2.0", "ADQL-2.1")
MAX_OFFERED: Final = 4000
"""Characters of a query whose error tells what FIX=true would write: mending takes many looks."""
SERVICE_URL_BIND: Final = "service_url"
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRequest:
    """What a client asks of TAP, or of a service that makes the query itself (as a tree).
    ``maxrec`` None: the service's default.

    ``service_url`` is the public address that links in the answer start with. A VOTable also holds
    ``infos`` and ``descriptors``.
    """

    query: str | Query
    service_url: str
    maxrec: int | None = None
    most_rows: int | None = None
    """Of whoever asks, where that is less than the service's own limit."""
    output: OutputFormat = FORMATS.formats[0]
    media_type: str = FORMATS.formats[0].media_type
    uploads: tuple[UploadedTable, ...] = ()
    fix: bool = False
    """Mend common slips instead of refusing the query."""
    infos: tuple[Info, ...] = ()
    descriptors: tuple[ServiceDescriptor, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """An answer under way: ``batches`` must be iterated or closed. At most ``maxrec + 1`` rows
    come; the writers cut the last one and say OVERFLOW. ``control`` stops the statement."""

    request: QueryRequest
    fields: tuple[Field, ...]
    batches: Generator[pa.RecordBatch, None, None]
    maxrec: int
    control: StatementControl
    mended: Mended | None = None


def parse_query_request(parameters: ParameterSet, *, service_url: str) -> QueryRequest:
    """The request in TAP parameters (TAP 1.1, section 2.7). Unknown ones are left aside.

    Raises ParameterError, UnsupportedFormatError or MultiValuedParameterError, naming the
    parameter.
    """
    _check_fixed(parameters)
    name = "RESPONSEFORMAT" if "RESPONSEFORMAT" in parameters else "FORMAT"
    output, media_type = FORMATS.choose(parameters.single(name), parameter=name)
    return QueryRequest(
        query=parameters.require("QUERY", "the text of an ADQL query"),
        service_url=service_url,
        maxrec=parameters.integer("MAXREC", minimum=0),
        output=output,
        media_type=media_type,
        fix=parameters.flag("FIX"),
    )


def _check_fixed(parameters: ParameterSet) -> None:
    request = parameters.single("REQUEST")
    if request is not None and request.strip().lower() != "doquery":
        raise ParameterError("REQUEST", f"only doQuery is known, got {quoted(request)}")
    check_language(parameters)
    parse_uploads(parameters.all("UPLOAD"))


def check_language(parameters: ParameterSet) -> None:
    """ParameterError unless LANG is absent or one of :data:`LANGUAGES`."""
    language = parameters.single("LANG")
    if language is not None and language.strip().upper() not in LANGUAGES:
        raise ParameterError("LANG", f"offered are {', '.join(LANGUAGES)}, got {quoted(language)}")


class QueryService:
    """Compiles and runs queries, within the limits of the service."""

    def __init__(
        self,
        *,
        tables: TableStore,
        catalogs: CatalogSource,
        default_rows: int,
        max_rows: int,
        time_limit_s: float,
        on_end: Callable[[QueryEnd], None] | None = None,
        allowances: Allowances = NO_ALLOWANCES,
    ) -> None:
        self._tables = tables
        self._catalogs = catalogs
        self.default_rows = min(default_rows, max_rows)
        self.max_rows = max_rows
        self.time_limit_s = time_limit_s
        self._plans = PlanCache()
        self._on_end = on_end
        self._allowances = allowances

    def most_rows(self, identity: Identity) -> int:
        """The hard limit of rows in one answer to somebody."""
        return lower(self.max_rows, self._allowances.of(identity).rows)

    def current_catalog(self) -> Catalog:
        """What may be queried now. Raises StoreUnavailableError when the database does not say."""
        return self._catalogs.current()

    def run(
        self,
        request: QueryRequest,
        *,
        time_limit_s: float | None = None,
        control: StatementControl | None = None,
    ) -> QueryResult:
        """Start a query. MAXREC above the limit of the service, or of whoever asks, is lowered to
        it, and so is ``time_limit_s``. ``control`` is what stops it, if the caller has one already.

        Raises AdqlError, with line and column, when the text cannot be compiled; errors of the
        database come with the first batch.
        """
        compiled, mended = self._compile(request)
        control = control or StatementControl()
        batches = self._tables.stream(
            compiled,
            time_limit_s=min(time_limit_s or self.time_limit_s, self.time_limit_s),
            uploads=request.uploads,
            control=control,
        )
        rows = read_ahead(batches, control)
        if self._on_end is not None:
            text = request.query if isinstance(request.query, str) else "search for images"
            rows = observed(rows, text, self._on_end)
        return QueryResult(
            request=request,
            fields=compiled.fields,
            batches=rows,
            maxrec=compiled.maxrec,
            control=control,
            mended=mended,
        )

    def describe(
        self, request: QueryRequest, *, control: StatementControl | None = None
    ) -> QueryResult:
        """The columns of the answer, without a look at any row. Raises what :meth:`run` does."""
        compiled, mended = self._compile(request)
        return QueryResult(
            request=request,
            fields=compiled.fields,
            batches=_no_batches(),
            maxrec=0,
            control=control or StatementControl(),
            mended=mended,
        )

    def judge(
        self, query: str, *, syntax_only: bool = False, uploads: Sequence[UploadedTable] = ()
    ) -> Verdict:
        """What is to be said of a query; it is not run."""
        catalog = with_uploads(self.current_catalog(), uploads)
        return judge_query(query, catalog, target=self._tables.target, syntax_only=syntax_only)

    def cost(self, job: Job, uploads: tuple[UploadedTable, ...]) -> float:
        """What the database expects the query of a TAP job to cost, in a unit of its own.

        Raises what is wrong with the query, or UsageError for what cannot be told.
        """
        request = parse_query_request(ParameterSet(job.parameters), service_url="")
        compiled, _ = self._compile(replace(request, uploads=uploads))
        return self._tables.cost(compiled, uploads)

    def _compile(self, request: QueryRequest) -> tuple[CompiledQuery, Mended | None]:
        """The statement, and what was mended for it, if that was asked for and needed."""
        catalog = self.current_catalog()
        if request.uploads:
            catalog = with_uploads(catalog, request.uploads)
        query = request.query
        try:
            return self._planned(query, request, catalog), None
        except AdqlError as fault:
            if not isinstance(query, str) or (not request.fix and len(query) > MAX_OFFERED):
                raise
            mended = mend_query(query, catalog, target=self._tables.target)
            if mended is None:
                raise
            if not request.fix:
                raise with_offer(fault, mended) from None
        return self._planned(mended.text, request, catalog), mended

    def _planned(
        self, query: str | Query, request: QueryRequest, catalog: Catalog
    ) -> CompiledQuery:
        """The statement of a query; of one that came before, on the same catalog, the same."""
        asked = self.default_rows if request.maxrec is None else request.maxrec
        most = self.max_rows if request.most_rows is None else request.most_rows
        maxrec = min(asked, most)

        def make() -> CompiledQuery:
            return compile_tree(
                parse(query) if isinstance(query, str) else query,
                catalog=catalog,
                target=self._tables.target,
                maxrec=maxrec,
                prefixes={SERVICE_URL_BIND: request.service_url},
            )

        if request.uploads:
            return make()
        return self._plans.get((query, maxrec, request.service_url), catalog, make)

    def warm_up(self) -> None:
        """Make compiled code ready, so that the first answer need not wait for it."""
        warm_up()
        with suppress(ServiceError):  # whoever asks next is told
            self._tables.warm_up()

    def ping(self) -> None:
        """Return when the database answers; StoreUnavailableError otherwise."""
        self._tables.ping()


def _no_batches() -> Generator[pa.RecordBatch, None, None]:
    yield from ()


def write_answer(
    result: QueryResult,
    batches: Iterable[pa.RecordBatch],
    *,
    describe_error: DescribeError | None = None,
) -> Iterator[bytes]:
    """The file of an answer, in the format that was asked for.

    A VOTable repeats the query, tells what was mended in it and how to follow identifiers of
    datasets. With ``describe_error`` an error on the way ends a VOTable well formed instead of
    being raised.
    """
    request = result.request
    serialization = VOTABLE_SERIALIZATIONS.get(request.output.name)
    if serialization is None:
        return request.output.write(result.fields, batches, result.maxrec)
    return write_results(
        result.fields,
        batches,
        maxrec=result.maxrec,
        serialization=serialization,
        infos=_infos(result),
        descriptors=(
            *request.descriptors,
            *describe_services(result.fields, request.service_url),
        ),
        describe_error=describe_error,
    )


def _infos(result: QueryResult) -> tuple[Info, ...]:
    """The query as it was asked and, where it was mended, each change and what was run."""
    request = result.request
    if not isinstance(request.query, str):
        return request.infos
    asked = Info("QUERY", _BLANKS.sub(" ", request.query).strip())
    if result.mended is None:
        return (asked, *request.infos)
    changes = (Info("FIX", change) for change in result.mended.changes)
    return asked, *changes, Info("FIXED_QUERY", _BLANKS.sub(" ", result.mended.text).strip())


class TapExecutor:
    """Runs TAP jobs into the results store (see :class:`app.services.executors.Executor`).
    ``identity_of`` tells who the owner of a job is, ``meter`` bounds what it may write."""

    def __init__(
        self,
        *,
        queries: QueryService,
        uploads: UploadService,
        results: ResultStore,
        default_service_url: str,
        identity_of: Callable[[str | None], Identity] = anybody,
        meter: Callable[[Job], Meter] = no_meter,
    ) -> None:
        self._identity_of = identity_of
        self._meter = meter
        self._queries = queries
        self._uploads = uploads
        self._results = results
        self._default_service_url = default_service_url

    def run(
        self, job: Job, should_stop: StopSignal, progress: Progress
    ) -> tuple[JobResult, ...] | None:
        """Answer the query of ``job`` into ``results/<job_id>/result``, whole or not at all."""
        service_url = job.service_url or self._default_service_url
        request = parse_query_request(ParameterSet(job.parameters), service_url=service_url)
        most_rows = self._queries.most_rows(self._identity_of(job.owner))
        request = replace(request, uploads=self._uploads.load_kept(job), most_rows=most_rows)
        if job.run_id is not None:
            log.info("job %s of run %r", job.job_id, job.run_id)
        progress("query", 0, 0)
        result = self._queries.run(request, time_limit_s=job.execution_duration_s or None)
        should_stop.then(result.control.cancel)
        with closing(result.batches):
            rows = _watched(result, should_stop, progress)
            chunks = self._meter(job)(write_answer(result, rows))
            path, size_bytes = self._results.write(job.job_id, "result", chunks)
        return (
            JobResult(
                result_id="result",
                media_type=request.media_type,
                path=path,
                size_bytes=size_bytes,
            ),
        )


def _watched(
    result: QueryResult, should_stop: ShouldStop, progress: Progress
) -> Iterator[pa.RecordBatch]:
    """The batches, until the job is to stop; the number of rows read is reported."""
    done = 0
    for batch in result.batches:
        if should_stop():
            raise StoppedError
        done = min(done + batch.num_rows, result.maxrec)
        progress("rows", done, 0)
        yield batch
