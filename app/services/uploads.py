"""TAP_UPLOAD (TAP 1.1, section 2.7.5): parameters and files of a request -> tables of its query."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from app.errors import LimitError, ParameterError, UploadError, quoted, shortened
from app.schema.access import ANYBODY, Identity
from app.schema.allowances import NO_ALLOWANCES, Allowances, lower
from app.schema.fields import Table
from app.schema.reserved import RESERVED
from app.schema.uploads import UPLOAD_SCHEMA, UploadedTable, to_uploaded
from app.services.access import anybody
from app.services.parameters import ParameterSet
from app.stores.downloads import Downloads
from app.stores.results import ResultStore
from app.uws.job import Job
from app.votable.columns import read_columns
from app.votable.parse import parse_table

NAME: Final = "UPLOAD"
_FORM: Final = "name,param:form_item or name,URL (http or https); several are separated by ;"
_PARTS: Final = re.compile(
    r"\s*;\s*(?=[^,;]*,\s*(?:param:|[A-Za-z][A-Za-z0-9+.-]*:))", re.IGNORECASE
)
_TABLE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_SCHEME: Final = re.compile(r"(param|https?):", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FormFile:
    """A file in a multipart form, under the name of its form item."""

    name: str
    content: bytes
    filename: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """What one request may bring; ``max_bytes`` and ``max_rows`` are sums over its tables."""

    max_bytes: int
    max_rows: int
    max_columns: int
    max_tables: int


FindFile = Callable[[str], bytes | None]
"""The content of a form item, None if there is none."""


def parse_uploads(values: Iterable[str]) -> list[tuple[str, str]]:
    """(table name, URI) of every table that UPLOAD names. Raises ParameterError."""
    found: list[tuple[str, str]] = []
    for value in values:
        for part in filter(None, _PARTS.split(value.strip().strip(";").strip())):
            name, comma, uri = (word.strip() for word in part.partition(","))
            if not comma or not _SCHEME.match(uri):
                raise ParameterError(NAME, f"{quoted(part)} is not of the form {_FORM}")
            _check_name(name, [taken for taken, _ in found])
            found.append((name, uri))
    return found


def _check_name(name: str, taken: Sequence[str]) -> None:
    if not _TABLE_NAME.match(name):
        reason = f"{quoted(name)} is no table name: letters, digits and _ are, after a letter"
        raise ParameterError(NAME, reason)
    if name.upper() in RESERVED:
        raise ParameterError(
            NAME, f"{shortened(name)} is a reserved word of ADQL and cannot name a table"
        )
    if name.lower() in (other.lower() for other in taken):
        raise ParameterError(NAME, f"two tables are called {shortened(name)}")


class UploadService:
    """Reads the tables that come with queries, and keeps them for jobs."""

    def __init__(
        self,
        *,
        limits: UploadLimits,
        downloads: Downloads,
        results: ResultStore,
        allowances: Allowances = NO_ALLOWANCES,
        identity_of: Callable[[str | None], Identity] = anybody,
    ) -> None:
        self.limits = limits
        self._allowances = allowances
        self._identity_of = identity_of
        self._downloads = downloads
        self._results = results

    def most_bytes(self, identity: Identity) -> int:
        """Of the tables of one request of somebody."""
        return lower(self.limits.max_bytes, self._allowances.of(identity).upload_bytes)

    def load(
        self,
        parameters: ParameterSet,
        files: Iterable[FormFile] = (),
        identity: Identity = ANYBODY,
    ) -> tuple[UploadedTable, ...]:
        """The tables of a request of somebody.

        Raises ParameterError for a wrong UPLOAD, UploadError naming the table that cannot be read
        and why, LimitError for one that is too large.
        """
        contents = {file.name.lower(): file.content for file in files}
        return self._load(parameters, lambda item: contents.get(item.lower()), identity)

    def load_kept(self, job: Job, *, fetch: bool = True) -> tuple[UploadedTable, ...]:
        """The tables of a job, from what :meth:`keep` kept and, with ``fetch``, from elsewhere."""
        return self._load(
            ParameterSet(job.parameters),
            lambda item: self._results.read(job.job_id, _kept_name(item)),
            self._identity_of(job.owner),
            fetch=fetch,
        )

    def kept_sizes(self, job: Job) -> tuple[int | None, ...]:
        """Bytes of each table of a job that was kept."""
        named = parse_uploads(ParameterSet(job.parameters).all(NAME))
        items = (_form_item(uri) for _, uri in named)
        return tuple(
            None if item is None else self._results.size(job.job_id, _kept_name(item))
            for item in items
        )

    def keep(self, job_id: str, files: Iterable[FormFile]) -> None:
        """Keep the files of a job until the job is destroyed."""
        for file in files:
            self._results.write(job_id, _kept_name(file.name), [file.content])

    def _load(
        self, parameters: ParameterSet, find: FindFile, identity: Identity, *, fetch: bool = True
    ) -> tuple[UploadedTable, ...]:
        named = parse_uploads(parameters.all(NAME))
        if len(named) > self.limits.max_tables:
            raise LimitError("uploaded tables", len(named), self.limits.max_tables)
        tables: list[UploadedTable] = []
        max_bytes = self.most_bytes(identity)
        bytes_left, rows_left = max_bytes, self.limits.max_rows
        for number, (name, uri) in enumerate(named, 1):
            content = self._content(name, uri, find, fetch=fetch)
            bytes_left -= len(content)
            if bytes_left < 0:
                asked = max_bytes - bytes_left
                raise LimitError("bytes in uploaded tables", asked, max_bytes)
            tables.append(self._read(number, name, content, rows_left))
            rows_left -= tables[-1].rows.num_rows
        return tuple(tables)

    def _content(self, name: str, uri: str, find: FindFile, *, fetch: bool) -> bytes:
        item = _form_item(uri)
        if item is None and not fetch:
            raise UploadError(name, "it is fetched when the job runs")
        if item is None:
            return self._downloads.fetch(uri, name=name)
        content = find(item)
        if content is None:
            raise UploadError(name, f"the request has no form item {quoted(item)} with a file")
        return content

    def _read(self, number: int, name: str, content: bytes, max_rows: int) -> UploadedTable:
        raw = parse_table(
            content, name=name, max_rows=max_rows, max_columns=self.limits.max_columns
        )
        fields, columns = read_columns(raw, name=name, max_rows=max_rows)
        table = Table(
            schema_name=UPLOAD_SCHEMA,
            name=f"{UPLOAD_SCHEMA}.{name}",
            physical=f"upload_{number}",
            fields=fields,
        )
        return to_uploaded(table, columns)


def _form_item(uri: str) -> str | None:
    """The form item that a URI names, None for an address."""
    return uri.partition(":")[2].strip() if uri.lower().startswith("param:") else None


def _kept_name(form_item: str) -> str:
    """The name under which a form item is kept: no client's text becomes a path."""
    return f"upload-{hashlib.sha256(form_item.lower().encode()).hexdigest()[:32]}"


def items_as_files(
    parameters: ParameterSet, files: Iterable[FormFile]
) -> tuple[ParameterSet, tuple[FormFile, ...]]:
    """The same request; form items that UPLOAD refers to are files even without a file name."""
    words = re.findall(r"param:\s*([^;]+)", ";".join(parameters.all(NAME)), re.IGNORECASE)
    named = {word.strip().lower() for word in words}
    items = [pair for pair in parameters if pair[0].lower() in named]
    found = [FormFile(name, value.encode()) for name, value in items if value.strip()]
    return parameters.without(*(name for name, _ in items)), (*files, *found)
