"""Batches are fetched in a thread of their own while earlier ones are being written."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Final

import pyarrow as pa

from app.stores.tables.base import FIRST_BATCH_ROWS
from app.stores.tables.control import StatementControl

DEPTH: Final = 2
"""Batches that may wait to be written."""


def read_ahead(
    source: Generator[pa.RecordBatch, None, None], control: StatementControl
) -> Generator[pa.RecordBatch, None, None]:
    """The batches of ``source``, which ``control`` stops.

    An answer that its first batch holds is read by the caller's own thread. Errors of the source
    come where its next batch would have come. Closing stops the statement and closes the source.
    """
    with closing(source):
        first = next(source)
        if first.num_rows < FIRST_BATCH_ROWS:
            yield first
            yield from source
            return
        with closing(_Ahead(source, control)) as ahead:
            yield first
            yield from ahead.batches()


class _Ahead:
    """A thread that goes through a source, at most :data:`DEPTH` batches ahead of its reader."""

    def __init__(
        self, source: Generator[pa.RecordBatch, None, None], control: StatementControl
    ) -> None:
        self._source = source
        self._control = control
        self._ready: queue.Queue[pa.RecordBatch | BaseException | None] = queue.Queue(DEPTH)
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        end: BaseException | None = None
        try:
            for batch in self._source:
                self._ready.put(batch)
                if self._is_closed:
                    break
        except BaseException as error:
            end = error
        self._ready.put(end)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The batches, then what the source raised, if it did."""
        while isinstance(item := self._ready.get(), pa.RecordBatch):
            yield item
        if item is not None:
            raise item

    def close(self) -> None:
        """Stop the statement and wait for the thread."""
        self._is_closed = True
        if self._thread.is_alive():
            self._control.cancel()
        while self._thread.is_alive():
            try:
                self._ready.get(timeout=0.01)
            except queue.Empty:
                continue
        self._thread.join()
