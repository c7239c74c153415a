"""A job as its page shows it."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from app.uws.job import ACTIVE, Job, JobKind

KINDS: Final[tuple[JobKind, ...]] = ("difference", "template", "tap", "cutout")
BUILDS: Final[tuple[JobKind, ...]] = ("difference", "template")
HEADINGS: Final = {
    "difference": "Difference image",
    "template": "Template",
    "tap": "Query",
    "cutout": "Cutouts",
}
_UWS_PATHS: Final = {"tap": "tap/async", "cutout": "soda/async"}


def view_job(job: Job, root: str) -> dict[str, Any]:
    """What the template needs of a job."""
    progress = job.progress
    results_path = f"{root}/{uws_path(job.kind)}/{job.job_id}/results"
    return {
        "job": job,
        "heading": HEADINGS[job.kind],
        "active": job.phase in ACTIVE,
        "stage": progress.get("stage"),
        "done": progress.get("done", 0),
        "total": progress.get("total", 0),
        "uws_path": uws_path(job.kind),
        "results": [
            {
                "result_id": result.result_id,
                "media_type": result.media_type,
                "dataset_id": result.dataset_id,
                "href": f"{results_path}/{quote(result.result_id)}",
            }
            for result in job.results
        ],
    }


def uws_path(kind: JobKind) -> str:
    """Path of the job list of a kind, below the root."""
    return _UWS_PATHS.get(kind) or f"builds/{kind}/async"
