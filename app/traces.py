"""Traces for OpenTelemetry, where its standard environment variables (``OTEL_…``) ask for them.

Without them its SDK is not imported and :func:`span` does nothing. A trace begins with
a request, or is the one that the client's ``traceparent`` names; a job keeps that of the request
that made it, and workers are told it with their tasks. No text of a query and nothing else that a
user wrote becomes part of a span.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

from app.errors import UsageError

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

Value = str | int | float | bool
PARENT: Final = "traceparent"
"""The header of W3C Trace Context."""
_ADDRESSES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_TEXT: Final = re.compile(r"'(?:[^']|'')*'")
_STATEMENT: Final = re.compile(
    r'\W*(\w+)(?:(?:(?<=UPDATE)|.*?\b(?:FROM|INTO))\s+([\w."]+))?', re.S | re.I
)


class _Kept:
    """What this process traces with; None: it does not."""

    tracer: Tracer | None = None


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces. Raises UsageError where it asks for what there is
    not."""
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter == "none":
        return False
    if exporter not in ("", "otlp"):
        raise UsageError(f"OTEL_TRACES_EXPORTER={exporter}: traces go by otlp, or none are made")
    if not exporter and not any(environment.get(name) for name in _ADDRESSES):
        return False
    for name in _PROTOCOLS:
        if environment.get(name, "http/protobuf") != "http/protobuf":
            raise UsageError(f"{name}={environment[name]}: traces are sent as http/protobuf")
    return True


def configure() -> None:
    """Trace from now on, if the environment asks for it. Called once by each process. Raises
    UsageError when the libraries are not installed."""
    if _Kept.tracer is not None or not is_wanted(os.environ):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as fault:
        raise UsageError(
            "the environment asks for traces (OTEL_…): pip install 'skyloom[otel]', or set "
            "OTEL_SDK_DISABLED=true"
        ) from fault
    if "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        os.environ.setdefault("OTEL_SERVICE_NAME", "skyloom")
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _Kept.tracer = provider.get_tracer("skyloom")
    _watch_statements()


def is_on() -> bool:
    """Whether this process traces."""
    return _Kept.tracer is not None


@contextmanager
def span(
    name: str,
    *,
    parent: str | None = None,
    kind: Literal["internal", "server", "consumer"] = "internal",
    **attributes: Value | None,
) -> Iterator[Span | None]:
    """What is done inside, as a span: of the trace of a ``traceparent``, else of the one under way,
    else the first of a new one. Names of attributes have ``_`` for dots."""
    tracer = _Kept.tracer
    if tracer is None:
        yield None
        return
    from opentelemetry.trace import SpanKind

    with tracer.start_as_current_span(
        name,
        context=_context(parent),
        kind=SpanKind[kind.upper()],
        attributes=_dotted(attributes),
        record_exception=False,  # what errors say may be a user's own words
        set_status_on_exception=False,
    ) as begun:
        try:
            yield begun
        except BaseException as fault:
            mark_failed(begun, type(fault).__name__)
            raise


def mark_failed(span: Span, why: str) -> None:
    """Have a span tell that it failed, and the class of the error or the status of the answer."""
    from opentelemetry.trace import StatusCode

    span.set_status(StatusCode.ERROR)
    span.set_attribute("error.type", why)


def past(name: str, seconds: float, **attributes: Value | None) -> None:
    """A span of what has just ended and took some seconds, in the trace under way."""
    if _Kept.tracer is not None and carried() is not None:
        now_ns = time.time_ns()
        begun = _Kept.tracer.start_span(
            name, attributes=_dotted(attributes), start_time=now_ns - int(seconds * 1e9)
        )
        begun.end(now_ns)


def carried() -> str | None:
    """The ``traceparent`` of what is under way, for whoever goes on with it; None without one."""
    if _Kept.tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(PARENT)


def _context(parent: str | None) -> Any:
    if parent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({PARENT: parent})


def _dotted(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    return {
        name.replace("_", "."): value for name, value in attributes.items() if value is not None
    }


def statement_name(statement: str) -> tuple[str, str]:
    """The first word of a statement and the table that it names first, without the rest of it."""
    found = _STATEMENT.match(_TEXT.sub("''", statement))
    words = found.groups(default="") if found else ("", "")
    return words[0].upper(), words[1].replace('"', "")


def _watch_statements() -> None:
    """Every statement of SQLAlchemy within a trace becomes a span of it."""
    from sqlalchemy import Engine, event

    def begin(
        _connection: Any, _cursor: Any, _sql: str, _given: Any, context: Any, _many: bool
    ) -> None:
        if context is not None:
            context.begun_s = time.monotonic()

    def end(
        connection: Any, _cursor: Any, sql: str, _given: Any, context: Any, _many: bool
    ) -> None:
        if context is not None:
            word, table = statement_name(sql)
            past(
                f"{word} {table}".strip(),
                time.monotonic() - context.begun_s,
                db_system_name=connection.dialect.name,
                db_operation_name=word,
                db_collection_name=table or None,
            )

    event.listen(Engine, "before_cursor_execute", begin)
    event.listen(Engine, "after_cursor_execute", end)
