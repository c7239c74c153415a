"""Log lines for people or, as JSON, for programs: each names the request and job it is about."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal, cast, get_args

LogFormat = Literal["plain", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

FIELDS: Final = "fields"
"""The name under which ``extra`` of a log call gives values with names of their own."""

_encode: Final = json.JSONEncoder(ensure_ascii=False, default=str).encode

_request: ContextVar[str | None] = ContextVar("request", default=None)
_job: ContextVar[str | None] = ContextVar("job", default=None)

_INHERITED: Final = "_SKYLOOM_LOG"
"""Tells processes that this one starts how to log."""

_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
"""What a client sends must not begin a line of its own, nor colour a terminal."""


@contextmanager
def about(*, job: str) -> Iterator[None]:
    """What is logged inside is about this job."""
    token = _job.set(job)
    try:
        yield
    finally:
        _job.reset(token)


def begin_request(request: str) -> None:
    """What this task, and the threads that work for it, log from now on is about a request."""
    _request.set(request)


def current_request() -> str | None:
    """The request that what is logged here is about."""
    return _request.get()


def log_fields(logger: logging.Logger, message: str, fields: Mapping[str, Any]) -> None:
    """Log values with names of their own, at INFO and at no more cost than it takes: it is not
    looked up where this was called from."""
    record = logging.LogRecord(logger.name, logging.INFO, "", 0, message, None, None)
    setattr(record, FIELDS, fields)
    logger.handle(record)


def configure(log_format: LogFormat = "plain", level: LogLevel = "info") -> None:
    """Write the log to standard error from now on: Skyloom from ``level``, libraries from
    warnings. Called once by each process."""
    # Nobody prints these, and looking them up takes as long as the rest of a record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(note)
    handler.setFormatter(JsonLines() if log_format == "json" else PlainLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("app").setLevel(level.upper())
    os.environ[_INHERITED] = f"{log_format} {level}"


def configure_as_parent() -> None:
    """The same in a process that this one started: as it was set there, if it was."""
    log_format, _, level = os.environ.get(_INHERITED, "").partition(" ")
    if log_format in get_args(LogFormat) and level in get_args(LogLevel):
        configure(cast(LogFormat, log_format), cast(LogLevel, level))


def note(record: logging.LogRecord) -> bool:
    """Keep with a record what it is about."""
    record.request, record.job = _request.get(), _job.get()
    return True


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    """A time of the clock in UTC; many lines fall into one second."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def facts(record: logging.LogRecord) -> dict[str, Any]:
    """What a record says beside its message."""
    known = {"request": getattr(record, "request", None), "job": getattr(record, "job", None)}
    given: Mapping[str, Any] = getattr(record, FIELDS, {})
    return {name: value for name, value in {**known, **given}.items() if value is not None}


class PlainLines(logging.Formatter):
    """``time LEVEL name: message name=value …``; tracebacks follow on lines of their own."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback."""
        pairs = "".join(f" {name}={value}" for name, value in facts(record).items())
        second, milliseconds = _second(int(record.created)), int(record.msecs)
        head = f"{second}.{milliseconds:03d}Z {record.levelname} {record.name}: "
        line = head + record.getMessage() + pairs
        line = line if line.isprintable() else line.translate(_CONTROLS)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """One JSON object for each record: time (UTC), level, logger, message, and what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        told = {
            "time": f"{_second(int(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **facts(record),
        }
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return _encode(told)
