"""How a query went, told when its last row was taken or nobody waits for more."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

import pyarrow as pa

from app.errors import ServiceError


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryEnd:
    """``first_s``: to the first rows; ``seconds``: until the last were taken, by a slow client
    too. ``fault`` is the class of what went wrong, "stopped" when somebody lost interest."""

    text: str
    rows: int
    first_s: float | None
    seconds: float
    fault: str | None


def observed(
    batches: Generator[pa.RecordBatch, None, None], text: str, on_end: Callable[[QueryEnd], None]
) -> Generator[pa.RecordBatch, None, None]:
    """The same batches; ``on_end`` is called once when they end, if they were begun."""
    started_s = time.monotonic()
    rows, first_s, fault = 0, None, "stopped"
    try:
        for batch in batches:
            if first_s is None:
                first_s = time.monotonic() - started_s
            rows += batch.num_rows
            yield batch
        fault = ""
    except ServiceError as error:
        fault = type(error).__name__
        raise
    finally:
        batches.close()
        seconds = time.monotonic() - started_s
        end = QueryEnd(text=text, rows=rows, first_s=first_s, seconds=seconds, fault=fault or None)
        on_end(end)
