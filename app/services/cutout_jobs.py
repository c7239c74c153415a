"""Jobs of ``/soda/async``: one result for each combination of what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from app.errors import ServiceError, StoppedError, TransientError
from app.recipes.cutout import CutoutRequest, parse_cutouts
from app.recipes.cutout_forms import MEDIA_TYPES, parse_form
from app.recipes.picture import PICTURE_NAMES, parse_picture, refuse_picture_names
from app.schema.access import Identity
from app.services.access import anybody
from app.services.cutout_files import CutoutWriter
from app.services.cutout_pictures import CutoutPictures
from app.services.cutouts import CutoutService
from app.services.executors import ShouldStop, StopSignal
from app.services.storage_quota import Meter, no_meter
from app.stores.results import ResultStore
from app.uws.job import Job, JobResult
from app.workers.engine import Progress

Cutter = Callable[[CutoutRequest], Iterable[bytes]]
TEXT_TYPE = "text/plain"


class CutoutExecutor:
    """Runs cutout jobs (see :class:`app.services.executors.Executor`). ``describe_error`` gives
    the text of a cutout that is not there, which begins with a label (SODA 1.0, section 5.3);
    ``identity_of`` who the owner of a job is; ``meter`` bounds what it may write."""

    def __init__(
        self,
        *,
        cutouts: CutoutService,
        writer: CutoutWriter,
        pictures: CutoutPictures,
        results: ResultStore,
        describe_error: Callable[[ServiceError], str],
        identity_of: Callable[[str | None], Identity] = anybody,
        meter: Callable[[Job], Meter] = no_meter,
    ) -> None:
        self._meter = meter
        self._cutouts = cutouts
        self._writer = writer
        self._pictures = pictures
        self._results = results
        self._describe_error = describe_error
        self._identity_of = identity_of

    def run(
        self, job: Job, should_stop: StopSignal, progress: Progress
    ) -> tuple[JobResult, ...] | None:
        """Write ``results/<job_id>/cutout-1`` and so on, in the order of the combinations."""
        asked = parse_cutouts(job.parameters, PICTURE_NAMES)
        media_type, cut = self._cutter(job)
        meter = self._meter(job)
        results = []
        for number, request in enumerate(asked, start=1):
            progress("cut", number - 1, len(asked))
            name = f"cutout-{number}"
            results.append(
                self._write(
                    job, name, media_type, lambda asked: meter(cut(asked)), request, should_stop
                )
            )
        return tuple(results)

    def _cutter(self, job: Job) -> tuple[str, Cutter]:
        """The media type of what a job asks for, and what makes it."""
        identity = self._identity_of(job.owner)
        form = parse_form(job.parameters)
        if form == "fits":
            refuse_picture_names(job.parameters)
            return MEDIA_TYPES[form], lambda asked: self._writer.write(
                self._cutouts.find(asked, identity)
            )
        options = parse_picture(job.parameters, form)
        return MEDIA_TYPES[form], lambda asked: [
            self._pictures.draw(self._cutouts.find(asked, identity), options)
        ]

    def _write(
        self,
        job: Job,
        name: str,
        media_type: str,
        cut: Cutter,
        request: CutoutRequest,
        should_stop: ShouldStop,
    ) -> JobResult:
        try:
            chunks = _watched(cut(request), should_stop)
            path, size_bytes = self._results.write(job.job_id, name, chunks)
        except TransientError:
            raise
        except ServiceError as error:
            told = f"{self._describe_error(error)}\n".encode()
            path, size_bytes = self._results.write(job.job_id, name, [told])
            media_type = TEXT_TYPE
        return JobResult(result_id=name, media_type=media_type, path=path, size_bytes=size_bytes)


def _watched(chunks: Iterable[bytes], should_stop: ShouldStop) -> Iterator[bytes]:
    """The chunks, until the job is to stop."""
    for chunk in chunks:
        if should_stop():
            raise StoppedError()
        yield chunk
