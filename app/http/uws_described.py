"""What OpenAPI tells of job lists and jobs: the resources of UWS 1.1, section 2.2.2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from app.http.description import FILE_ANSWERS, described
from app.http.faults import VOTABLE_TYPE
from app.uws.job import Phase
from app.votable.descriptors import InputParameter, number_input

XML_TYPE: Final = "text/xml"
TEXT_TYPE: Final = "text/plain"
PHASE: Final = InputParameter(name="PHASE", description="What to do", options=("RUN", "ABORT"))
START: Final = InputParameter(name="PHASE", description="Start at once", options=("RUN",))
ACTION: Final = InputParameter(name="ACTION", description="What to do", options=("DELETE",))
DURATION: Final = number_input(
    "EXECUTIONDURATION",
    "How long the job may run, 0 for as long as is allowed",
    "s",
    datatype="int",
    limits=("0", None),
)
DESTRUCTION: Final = InputParameter(
    name="DESTRUCTION", description="When the job goes, such as 2026-01-02T03:04:05Z"
)
_PHASES: Final = tuple(each.value for each in Phase)
_LIST: Final = (
    InputParameter(name="PHASE", description="Only jobs in this phase", options=_PHASES),
    InputParameter(name="AFTER", description="Only jobs made after this time"),
    number_input("LAST", "So many of the newest jobs", datatype="int", limits=("1", None)),
)
_JOB: Final = (
    number_input("WAIT", "Answer when the phase changes, or after so long", "s", datatype="int"),
    InputParameter(name="PHASE", description="Wait only in this phase", options=_PHASES),
)
_TO_JOB: Final[Mapping[int, Sequence[str]]] = {303: ()}


class JobDescriptions:
    """Options of the routes of one kind of job. ``inputs`` are what its work is asked; ``first``
    are the media types of what is answered at once and makes no job."""

    def __init__(self, inputs: Sequence[InputParameter], first: Sequence[str] = ()) -> None:
        self._work = tuple(each for each in inputs if each.name != "RUNID")
        run_id = InputParameter(name="RUNID", description="Told with the job")
        made = (*self._work, run_id, START, DURATION, DESTRUCTION)
        answers = {**_TO_JOB, 200: first} if first else _TO_JOB
        self.listed = described(_LIST, answers={200: (XML_TYPE,)})
        self.created = described(made, answers=answers)
        self.shown = described(_JOB, answers={200: (XML_TYPE,)})
        self.acted = described((ACTION, PHASE, DURATION, DESTRUCTION), answers=_TO_JOB)
        self.deleted = described(answers=_TO_JOB)
        self.text = described(answers={200: (TEXT_TYPE,)})
        self.document = described(answers={200: (XML_TYPE,)})
        self.parameters_set = described(self._work, answers=_TO_JOB)
        self.result = described(answers=FILE_ANSWERS)
        self.error = described(answers={200: (VOTABLE_TYPE, TEXT_TYPE)})

    @staticmethod
    def set(parameter: InputParameter) -> dict[str, Any]:
        """Of a route that sets one property."""
        return described((parameter,), answers=_TO_JOB, required=(parameter.name,))

    @staticmethod
    def put() -> dict[str, Any]:
        """Of a route whose body is a value."""
        told = described(answers=_TO_JOB)
        content = {TEXT_TYPE: {"schema": {"type": "string"}}}
        return {**told, "openapi_extra": {"requestBody": {"content": content}}}
