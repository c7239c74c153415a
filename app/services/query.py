"""Queries: parameters -> request -> compiled statement -> batches -> file."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from app.adql.compile import compile_query
from app.errors import ParameterError, StoppedError
from app.schema.fields import Catalog, Field
from app.services.executors import ShouldStop
from app.services.formats import FORMATS, VOTABLE_SERIALIZATIONS
from app.services.parameters import ParameterSet
from app.stores.results import ResultStore
from app.stores.tables.base import TableStore
from app.tabular.registry import OutputFormat
from app.uws.job import Job, JobResult
from app.votable.datalink import MEDIA_TYPE
from app.votable.descriptors import InputParameter, ServiceDescriptor
from app.votable.markup import Info
from app.votable.writer import DescribeError, write_results
from app.workers.engine import Progress

LANGUAGES: Final = ("ADQL", "ADQL-2.0", "ADQL-2.1")
LINKS_STANDARD: Final = "ivo://ivoa.net/std/DataLink#links-1.1"
DATASET_UTYPE: Final = "obscore:Curation.PublisherDID"
SERVICE_URL_BIND: Final = "service_url"
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRequest:
    """What a client asks of TAP. ``maxrec`` None: the service's default.

    ``service_url`` is the public address that links in the answer start with.
    """

    query: str
    service_url: str
    maxrec: int | None = None
    output: OutputFormat = FORMATS.formats[0]
    media_type: str = FORMATS.formats[0].media_type


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """An answer under way: ``batches`` must be iterated or closed. At most ``maxrec + 1`` rows
    come; the writers cut the last one and say OVERFLOW."""

    request: QueryRequest
    fields: tuple[Field, ...]
    batches: Generator[pa.RecordBatch, None, None]
    maxrec: int


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
    )


def _check_fixed(parameters: ParameterSet) -> None:
    request = parameters.single("REQUEST")
    if request is not None and request.strip().lower() != "doquery":
        raise ParameterError("REQUEST", f"only doQuery is known, got {request!r}")
    language = parameters.single("LANG")
    if language is not None and language.strip().upper() not in LANGUAGES:
        raise ParameterError("LANG", f"offered are {', '.join(LANGUAGES)}, got {language!r}")
    if "UPLOAD" in parameters:
        raise ParameterError("UPLOAD", "this service takes no table uploads")


class QueryService:
    """Compiles and runs queries, within the limits of the service."""

    def __init__(
        self,
        *,
        tables: TableStore,
        catalog: Catalog,
        default_rows: int,
        max_rows: int,
        time_limit_s: float,
    ) -> None:
        self._tables = tables
        self.catalog = catalog
        self.default_rows = min(default_rows, max_rows)
        self.max_rows = max_rows
        self.time_limit_s = time_limit_s

    def run(self, request: QueryRequest) -> QueryResult:
        """Start a query. MAXREC above the service's limit is lowered to it.

        Raises AdqlError, with line and column, when the text cannot be compiled; errors of the
        database come with the first batch.
        """
        asked = self.default_rows if request.maxrec is None else request.maxrec
        compiled = compile_query(
            request.query,
            catalog=self.catalog,
            target=self._tables.target,
            maxrec=min(asked, self.max_rows),
            prefixes={SERVICE_URL_BIND: request.service_url},
        )
        batches = self._tables.stream(compiled, time_limit_s=self.time_limit_s)
        return QueryResult(
            request=request, fields=compiled.fields, batches=batches, maxrec=compiled.maxrec
        )

    def ping(self) -> None:
        """Return when the database answers; StoreUnavailableError otherwise."""
        self._tables.ping()


def write_answer(
    result: QueryResult,
    batches: Iterable[pa.RecordBatch],
    *,
    describe_error: DescribeError | None = None,
) -> Iterator[bytes]:
    """The file of an answer, in the format that was asked for.

    A VOTable repeats the query and tells how to follow identifiers of datasets. With
    ``describe_error`` an error on the way ends a VOTable well formed instead of being raised.
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
        infos=(Info("QUERY", _BLANKS.sub(" ", request.query).strip()),),
        descriptors=_link_descriptors(result),
        describe_error=describe_error,
    )


def _link_descriptors(result: QueryResult) -> tuple[ServiceDescriptor, ...]:
    """How to ask for the links of the datasets in a column of identifiers, if there is one."""
    column = next((f.name for f in result.fields if f.utype == DATASET_UTYPE), None)
    if column is None:
        return ()
    identifier = InputParameter(name="ID", ref=column, ucd="meta.id;meta.main")
    return (
        ServiceDescriptor(
            resource_id="datalink",
            access_url=f"{result.request.service_url}/datalink/links",
            standard_id=LINKS_STANDARD,
            content_type=MEDIA_TYPE,
            description="Files, provenance and services of each dataset",
            inputs=(identifier,),
        ),
    )


class TapExecutor:
    """Runs TAP jobs into the results store (see :class:`app.services.executors.Executor`)."""

    def __init__(
        self, *, queries: QueryService, results: ResultStore, default_service_url: str
    ) -> None:
        self._queries = queries
        self._results = results
        self._default_service_url = default_service_url

    def run(
        self, job: Job, should_stop: ShouldStop, progress: Progress
    ) -> tuple[JobResult, ...] | None:
        """Answer the query of ``job`` into ``results/<job_id>/result``, whole or not at all."""
        service_url = job.service_url or self._default_service_url
        request = parse_query_request(ParameterSet(job.parameters), service_url=service_url)
        progress("query", 0, 1)
        result = self._queries.run(request)
        with closing(result.batches):
            rows = _watched(result, should_stop, progress)
            path, size_bytes = self._results.write(job.job_id, "result", write_answer(result, rows))
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
    """The batches, until the job is to stop; rows read are reported against the row limit."""
    done = 0
    for batch in result.batches:
        if should_stop():
            raise StoppedError
        done = min(done + batch.num_rows, result.maxrec)
        progress("rows", done, result.maxrec)
        yield batch
