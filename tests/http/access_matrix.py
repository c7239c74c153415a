"""What every endpoint answers to whom, for data that are public and for data that are not.

The endpoints come from the application's own route table; :data:`DECLARED` says what each is, and
one that is missing there fails the test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from app.uws.job import JobKind

Who = Literal["anonymous", "owner", "member", "other", "expired", "revoked"]
WHO: Final[tuple[Who, ...]] = ("anonymous", "owner", "member", "other", "expired", "revoked")
"""``owner`` has jobs and may see what is proprietary; so may ``member``, whom an identity provider
knows, but the jobs are not theirs."""
Data = Literal["public", "proprietary"]
DATA: Final[tuple[Data, ...]] = ("public", "proprietary")

Rule = Literal["open", "pixels", "job", "list", "told", "filtered", "login"]
"""``open``: for everybody. ``pixels``, ``job``: what is not public is refused. ``list``: answers
everybody, with one's own jobs. ``told``: answers everybody, with signed addresses for those who may
have the files. ``filtered``: answers everybody, with the images they may see. ``login``: asks for
a token."""


@dataclass(frozen=True)
class Endpoint:
    """What an endpoint is and how it is asked. In ``query`` and in the path stand names of
    :class:`Known`."""

    rule: Rule
    query: tuple[tuple[str, str], ...] = ()


def _open(**query: str) -> Endpoint:
    return Endpoint("open", tuple(query.items()))


def _pixels(**query: str) -> Endpoint:
    return Endpoint("pixels", tuple(query.items()))


_IMAGE: Final = {"ID": "{image}"}
_PLACE: Final = {"POS": "{place}"}
_JOB_LISTS: Final[Mapping[str, JobKind]] = {
    "/tap/async": "tap",
    "/soda/async": "cutout",
    "/builds/template/async": "template",
    "/builds/difference/async": "difference",
}
_OF_JOBS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "/phase": (("PHASE", "ABORT"),),
    "/executionduration": (("EXECUTIONDURATION", "5"),),
    "/destruction": (("DESTRUCTION", "2998-01-01T00:00:00Z"),),
    **dict.fromkeys(
        ("", "/owner", "/quote", "/parameters", "/parameters/{name}", "/results", "/error"), ()
    ),
    "/results/{result_id}": (),
}

DECLARED: Final[Mapping[str, Endpoint]] = {
    **{path: Endpoint("list") for path in (*_JOB_LISTS, "/jobs")},
    **{
        f"{path}/{{job_id}}{part}": Endpoint("job", query)
        for path in _JOB_LISTS
        for part, query in _OF_JOBS.items()
    },
    "/jobs/{kind}": _open(),
    "/jobs/{kind}/{job_id}": Endpoint("job"),
    # pixels, by the identifier of an image
    "/soda/sync": _pixels(**_IMAGE, CIRCLE="{circle}"),
    "/previews": _pixels(**_IMAGE, SIZE="64"),
    "/composites": Endpoint(
        "pixels",
        (("ID", "{image}"), ("ID", "{neighbour}"), ("ID", "{neighbour}"), ("SIZE", "64")),
    ),
    "/tiles": _pixels(**_IMAGE, LEVEL="0", ROW="0", COLUMN="0"),
    "/tiles/layout": _pixels(**_IMAGE),
    "/psf": _pixels(**_IMAGE, **_PLACE, RESPONSEFORMAT="json"),
    "/quality": _pixels(**_IMAGE),
    "/quality/{panel}.png": _pixels(**_IMAGE),
    "/builds/template/sync": _pixels(**_IMAGE, PLAN="true"),
    "/builds/difference/sync": _pixels(**_IMAGE, PLAN="true"),
    "/differences": _pixels(**_IMAGE),
    "/skymap/{tract}/{patch}/{band}": _pixels(),
    # what is known of images
    "/images": Endpoint("told", tuple(_IMAGE.items())),
    "/datalink/links": Endpoint("told", tuple(_IMAGE.items())),
    "/lightcurve": Endpoint("filtered", (*_PLACE.items(), ("RESPONSEFORMAT", "csv"))),
    "/lightcurves": Endpoint("filtered", tuple(_PLACE.items())),
    "/stamps": Endpoint("filtered", (*_PLACE.items(), ("RESPONSEFORMAT", "csv"))),
    "/triplets": Endpoint("filtered", tuple(_PLACE.items())),
    # a signature speaks for these
    "/files/{token}/{name}": _open(),
    "/packages/{token}/{name}": _open(),
    # rows, and what is the same for all
    "/tap/sync": _open(LANG="ADQL", QUERY="SELECT TOP 5 obs_id, data_rights FROM ivoa.ObsCore"),
    "/tap/validate": _open(LANG="ADQL", QUERY="SELECT 1 FROM ivoa.ObsCore"),
    "/sia/query": _open(POS="CIRCLE 150 2 1"),
    "/skymap": _open(**_PLACE, RESPONSEFORMAT="csv"),
    "/skymap/{tract}/{patch}": _open(),
    "/moc": _open(),
    "/sky": _open(**_PLACE),
    "/sky/coverage": _open(),
    "/search": _open(**_PLACE),
    "/query": _open(QUERY="SELECT TOP 5 obs_id FROM ivoa.ObsCore"),
    "/query/vocabulary": _open(),
    "/hips": _open(),
    "/hips/{name}/{path:path}": _open(),
    "/": _open(),
    "/tap": _open(),
    "/sia": _open(),
    "/tap/tables": _open(),
    "/tap/tables/{name}": _open(),
    "/tap/examples": _open(),
    "/tap/examples/targets.xml": _open(),
    **{f"/{each}/capabilities": _open() for each in ("tap", "sia", "soda")},
    **{f"/{each}/availability": _open() for each in ("tap", "sia", "soda")},
    "/static/{name:path}": _open(),
    "/robots.txt": _open(),
    "/openapi.json": _open(),
    **{path: _open() for path in ("/availability", "/health", "/ready", "/metrics", "/operator")},
    "/login": Endpoint("login"),
}


BUSY: Final = 503
"""What a machine with much to do may answer to anybody."""


def routes_of(routes: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """(path, method) of every endpoint that an application answers at."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from routes_of(included.routes)
            continue
        for method in sorted(route.methods or ()):
            yield route.path, method


def job_kind_of(path: str) -> JobKind:
    """Which jobs an endpoint is about."""
    return next((kind for start, kind in _JOB_LISTS.items() if path.startswith(start)), "template")


def filled(text: str, known: Mapping[str, str]) -> str:
    """A path or value with what stands for its names."""
    return re.sub(r"\{(\w+)(:path)?\}", lambda found: known.get(found[1], "x"), text)


def status_wanted(rule: Rule, who: Who, data: Data) -> Callable[[int], bool]:
    """Whether a status is the right one."""
    if who in ("expired", "revoked") or (rule == "login" and who == "anonymous"):
        return lambda status: status == 401
    if rule in ("pixels", "job") and not is_theirs(rule, who, data):
        refused = 401 if who == "anonymous" else 403
        return lambda status: status == refused
    return lambda status: status not in (401, 403) and (status < 500 or status == BUSY)


def is_theirs(rule: Rule, who: Who, data: Data) -> bool:
    """Whether what is not public is told, to those who are answered."""
    granted = who == "owner" or (who == "member" and rule not in ("job", "list"))
    return granted or data == "public"
