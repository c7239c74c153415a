"""Files through worker processes, in order, whatever a file does to its reader."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from time import perf_counter

from app.services.ingest.files import FoundFile
from app.services.ingest.read_file import FileReader, FileResult

Results = Generator[FileResult, None, None]

_AHEAD = 16
"""Files under way for each worker."""
_TRIAL_FILES = 8
"""Files read before it is judged whether starting processes pays."""
_POOL_START_S = 6.0
"""What starting them costs, in reading time that must be left."""

_reader: FileReader | None = None


def read_all(reader: FileReader, files: Sequence[FoundFile], workers: int) -> Results:
    """Results in the order of ``files``. Closing the iterator stops the workers.

    The first files are read here; if the others would take long, ``workers`` processes share them.
    """
    waiting = deque(files)
    started = perf_counter()
    while waiting:
        done = len(files) - len(waiting)
        rest_s = (perf_counter() - started) / max(done, 1) * len(waiting)
        if workers > 1 and done >= _TRIAL_FILES and rest_s > _POOL_START_S:
            yield from read_in_pool(reader, waiting, workers)
            return
        yield reader.read(waiting.popleft())


def read_in_pool(reader: FileReader, waiting: deque[FoundFile], workers: int) -> Results:
    """Results in order, from processes; ``waiting`` is used up.

    A reader that dies (a crash in a library, killed for its memory) takes the pool with it:
    the files that were under way are then read one at a time, and reading goes on.
    """
    while waiting:
        under_way: deque[tuple[FoundFile, Future[FileResult]]] = deque()
        pool = _new_pool(reader, workers)
        try:
            while waiting or under_way:
                while waiting and len(under_way) < workers * _AHEAD:
                    under_way.append((waiting[0], pool.submit(_read_one, waiting[0])))
                    waiting.popleft()
                result = under_way[0][1].result()
                under_way.popleft()
                yield result
        except BrokenProcessPool:
            yield from _read_apart(reader, [file for file, _ in under_way])
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _read_apart(reader: FileReader, files: Sequence[FoundFile]) -> Results:
    """One file at a time, so that it is known which one kills its reader."""
    pool = _new_pool(reader, 1)
    try:
        for file in files:
            try:
                yield pool.submit(_read_one, file).result()
            except BrokenProcessPool:
                yield FileResult(file, reason="its reader crashed or was killed")
                pool.shutdown()
                pool = _new_pool(reader, 1)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _new_pool(reader: FileReader, workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(reader,),
    )


def _start(reader: FileReader) -> None:
    """In a new worker: Ctrl-C is the parent's to handle."""
    global _reader  # noqa: PLW0603  (the one value a worker process is started with)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _reader = reader


def _read_one(file: FoundFile) -> FileResult:
    assert _reader is not None
    return _reader.read(file)
