"""UWS 1.1 documents and the plain-text forms of a job's properties."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final
from xml.etree import ElementTree as ET

from app.uws.job import Job, JobResult, Phase

UWS_NAMESPACE: Final = "http://www.ivoa.net/xml/UWS/v1.0"
XLINK_NAMESPACE: Final = "http://www.w3.org/1999/xlink"
XSI_NAMESPACE: Final = "http://www.w3.org/2001/XMLSchema-instance"
UWS_VERSION: Final = "1.1"

_NIL: Final = f"{{{XSI_NAMESPACE}}}nil"
_HREF: Final = f"{{{XLINK_NAMESPACE}}}href"

ET.register_namespace("uws", UWS_NAMESPACE)
ET.register_namespace("xlink", XLINK_NAMESPACE)
ET.register_namespace("xsi", XSI_NAMESPACE)

ResultUrl = Callable[[JobResult], str]


def write_job(
    job: Job,
    jobs_url: str,
    *,
    result_url: ResultUrl | None = None,
    queued_before: int | None = None,
) -> bytes:
    """The document of ``{jobs_url}/{job_id}``.

    Results are linked as ``{jobs_url}/{job_id}/results/{result_id}`` unless ``result_url`` says
    otherwise. ``queued_before`` is the number of jobs that run before a queued one.
    """
    root = ET.Element(_uws("job"), {"version": UWS_VERSION})
    _text(root, "jobId", job.job_id)
    if job.run_id is not None:
        _text(root, "runId", job.run_id)
    _nillable(root, "ownerId", job.owner)
    _text(root, "phase", job.phase.value)
    _nillable(root, "quote", _optional(job.quote))
    _text(root, "creationTime", format_instant(job.creation_time))
    _nillable(root, "startTime", _optional(job.start_time))
    _nillable(root, "endTime", _optional(job.end_time))
    _text(root, "executionDuration", str(job.execution_duration_s))
    _text(root, "destruction", format_instant(job.destruction))
    root.append(_parameters(job))
    root.append(_results(job, result_url or _result_url(jobs_url, job)))
    _append_error(root, job)
    _append_info(root, job, queued_before)
    return _document(root)


def write_jobs(jobs: Iterable[Job], jobs_url: str) -> bytes:
    """The job list, in the order given."""
    root = ET.Element(_uws("jobs"), {"version": UWS_VERSION})
    for job in jobs:
        reference = ET.SubElement(
            root, _uws("jobref"), {"id": job.job_id, _HREF: f"{jobs_url}/{job.job_id}"}
        )
        _text(reference, "phase", job.phase.value)
        if job.run_id is not None:
            _text(reference, "runId", job.run_id)
        _nillable(reference, "ownerId", job.owner)
        _text(reference, "creationTime", format_instant(job.creation_time))
    return _document(root)


def write_parameters(job: Job) -> bytes:
    """The document of ``…/parameters``."""
    return _document(_parameters(job))


def write_results(job: Job, jobs_url: str, *, result_url: ResultUrl | None = None) -> bytes:
    """The document of ``…/results``."""
    return _document(_results(job, result_url or _result_url(jobs_url, job)))


def format_instant(instant: datetime) -> str:
    """``2026-01-02T03:04:05.678Z`` (DALI 1.1, section 3.3.3, with UWS 1.1's trailing Z)."""
    utc = instant.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(timespec="milliseconds") + "Z"


def format_quote(job: Job) -> str:
    """Body of ``…/quote``: an instant, or nothing when it is not known."""
    return _optional(job.quote) or ""


def format_execution_duration(job: Job) -> str:
    """Body of ``…/executionduration``: whole seconds, 0 = no limit."""
    return str(job.execution_duration_s)


def format_destruction(job: Job) -> str:
    """Body of ``…/destruction``."""
    return format_instant(job.destruction)


def format_owner(job: Job) -> str:
    """Body of ``…/owner``: nothing when nobody is known to own the job."""
    return job.owner or ""


def _uws(name: str) -> str:
    return f"{{{UWS_NAMESPACE}}}{name}"


def _text(parent: ET.Element, name: str, value: str) -> ET.Element:
    element = ET.SubElement(parent, _uws(name))
    element.text = clean(value)
    return element


def _nillable(parent: ET.Element, name: str, value: str | None) -> None:
    if value is None:
        ET.SubElement(parent, _uws(name), {_NIL: "true"})
    else:
        _text(parent, name, value)


def _optional(instant: datetime | None) -> str | None:
    return None if instant is None else format_instant(instant)


def _parameters(job: Job) -> ET.Element:
    """Parameters as given. A name that is given several times, or in several cases, becomes one
    parameter for each value: identifiers must differ even when case is ignored (taplint E_PADU),
    so later ones carry a number."""
    element = ET.Element(_uws("parameters"))
    seen: dict[str, int] = {}
    for name, value in job.parameters:
        count = seen[name.lower()] = seen.get(name.lower(), 0) + 1
        identifier = name if count == 1 else f"{name}_{count}"
        parameter = ET.SubElement(element, _uws("parameter"), {"id": clean(identifier)})
        parameter.text = clean(value)
    return element


def _result_url(jobs_url: str, job: Job) -> ResultUrl:
    return lambda result: f"{jobs_url}/{job.job_id}/results/{result.result_id}"


def _results(job: Job, result_url: ResultUrl) -> ET.Element:
    element = ET.Element(_uws("results"))
    for result in job.results:
        attributes = {
            "id": result.result_id,
            _HREF: result_url(result),
            "mime-type": result.media_type,
        }
        if result.size_bytes is not None:
            attributes["size"] = str(result.size_bytes)
        ET.SubElement(element, _uws("result"), attributes)
    return element


def _append_error(root: ET.Element, job: Job) -> None:
    if job.error is None:
        return
    kind = "transient" if job.error.transient else "fatal"
    summary = ET.SubElement(root, _uws("errorSummary"), {"type": kind, "hasDetail": "true"})
    _text(summary, "message", job.error.message)


def _append_info(root: ET.Element, job: Job, queued_before: int | None) -> None:
    """``jobInfo`` with the latest progress: the stage under way, what is done of it (rows, for a
    query), total and fraction where they are known; of a queued job its place in the queue. A job
    that is complete has none: what was last told of it is not its end."""
    told: dict[str, float | str] = {} if job.phase is Phase.COMPLETED else dict(job.progress)
    if job.phase is Phase.QUEUED and queued_before is not None:
        told = {"stage": "queue", "queuePosition": queued_before + 1}
    if not told:
        return
    info = ET.SubElement(root, _uws("jobInfo"))
    progress = ET.SubElement(info, "progress")
    for name, value in told.items():
        ET.SubElement(progress, clean(name)).text = clean(_number(value))


def _number(value: float | str) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def clean(text: str) -> str:
    """Text with the characters that XML 1.0 cannot carry replaced."""
    return "".join(c if _is_xml(ord(c)) else "\ufffd" for c in text)


def _is_xml(code: int) -> bool:
    return (
        code in (0x9, 0xA, 0xD)
        or 0x20 <= code <= 0xD7FF
        or 0xE000 <= code <= 0xFFFD
        or 0x10000 <= code <= 0x10FFFF
    )


def _document(root: ET.Element) -> bytes:
    body: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return body
