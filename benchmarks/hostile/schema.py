"""Requests that schemathesis makes of the OpenAPI description of a running service: such as it
allows and such as it does not. Each answer is held against what the description promises."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import APIOperation, Case, GenerationMode, Response
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup

from benchmarks.hostile.requests import DEATHS, LEAKS, jobs_of, known_of, remove_jobs, secrets_of
from tests.flows.service import Service
from tests.http.access_matrix import job_kind_of

PROMISES: Final = (
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
BUSY: Final = (503, 504, 507)
"""The only statuses from 500 on that are no fault of the service; each is described."""
LONGEST_S: Final = 100.0


@dataclass
class Report:
    """What happened, counted; ``faults`` holds an example of everything that must not."""

    operations: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def look_at(self, case: Case, answer: Response, secrets: tuple[bytes, ...]) -> None:
        """Judge one answer."""
        self.statuses[answer.status_code] += 1
        operation, shown = case.operation.label, case.as_curl_command()
        if answer.status_code >= 500 and answer.status_code not in BUSY:
            self.faults.setdefault(f"{operation}: status {answer.status_code}", shown)
        for word in (*LEAKS, *secrets):
            if word in answer.content and word.decode() not in shown:
                self.faults.setdefault(f"{operation}: tells {word!r}", shown)
        try:
            case.validate_response(answer, checks=CHECKS.get_by_names(PROMISES))
        except FailureGroup as found:
            for each in found.exceptions:
                words = " ".join(f"{each.title}: {each.message}".split())
                self.faults.setdefault(f"{operation}: {words[:300]}", shown)

    def lines(self) -> Iterator[str]:
        """The report for people."""
        total = sum(self.statuses.values())
        yield f"{total} requests of {self.operations} operations in {self.seconds:.0f} s"
        yield "statuses: " + ", ".join(f"{each}: {n}" for each, n in self.statuses.most_common())
        yield from (f"FAULT {what}: {example}" for what, example in self.faults.items())


def run(
    service: Service,
    *,
    examples: int,
    number: int,
    among: Callable[[str, str], bool] = lambda _method, _path: True,
) -> Report:
    """Ask each operation ``among`` those described ``examples`` times what the description allows,
    of what is there in the service, and as often what it does not. The same ``number`` gives the
    same requests."""
    load_all_checks()
    report, known, secrets = Report(), known_of(service), secrets_of(service)
    described = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    start_s = time.monotonic()
    with requests.Session() as session:

        def ask(case: Case) -> None:
            answer = case.call(session=session, timeout=LONGEST_S, allow_redirects=False)
            report.look_at(case, answer, secrets)

        for found in described.get_all_operations():
            operation = found.ok()
            if not among(operation.method.upper(), operation.path):
                continue
            report.operations += 1
            if "{job_id}" in operation.path:
                kind = job_kind_of(operation.path)
                remove_jobs(service, {kind: known.pop(kind, "x")})
                known |= jobs_of(service, known.get("image", "x"), [kind])
            for mode in GenerationMode:
                if mode.is_negative and not (operation.query or operation.body):
                    continue  # the words of a path are any; long is the search for a wrong one
                cases = operation.as_strategy(mode, **_sound(operation, mode, known))
                _often(examples, number)(given(cases)(ask))()
    report.seconds = time.monotonic() - start_s
    log = service.log()
    for word in DEATHS:
        if word in log:
            report.faults[f"log: {word}"] = log[max(0, log.index(word) - 300) :][:3000]
    return report


def _sound(
    operation: APIOperation, mode: GenerationMode, known: Mapping[str, str]
) -> dict[str, Any]:
    """What is not left to chance: nobody waits, builds are planned only, and what is allowed is
    about what is there."""
    asked = {each.name for each in operation.query}
    query = {name: value for name, value in (("WAIT", 0), ("PLAN", "true")) if name in asked}
    if mode.is_negative:
        return {"query": query}
    named = {**known, "job_id": known.get(job_kind_of(operation.path), "x")}
    query |= {name: named["image"] for name in asked & {"ID"} if "image" in named}
    return {
        "query": query,
        "path_parameters": {
            each.name: named[each.name] for each in operation.path_parameters if each.name in named
        },
    }


def _often(examples: int, number: int) -> Callable[[Any], Any]:
    """So often, with what comes of a number, and without a search for simpler examples: a fault is
    no exception here."""

    def decorate(test: Any) -> Any:
        return seed(number)(
            settings(
                max_examples=examples,
                database=None,
                deadline=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )(test)
        )

    return decorate
