"""What OpenAPI tells of an endpoint: parameters as DataLink describes them, answers, and errors
from the table of faults. Each is said once, where it is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from fastapi.routing import APIRoute
from starlette.responses import Response

from app import errors
from app.http.faults import FAULTS, VOTABLE_TYPE
from app.services.formats import FORMATS
from app.votable.descriptors import InputParameter

TABLE_TYPES: Final = tuple(each.media_types[0] for each in FORMATS.formats)
ERROR_TYPES: Final = (VOTABLE_TYPE, "text/plain", "text/html", "application/json")
"""In which an error is told: that of the protocol, that of browsers, and what Accept asks for."""
FORM_TYPES: Final = (
    *("application/x-www-form-urlencoded", "multipart/form-data"),
    "application/json",
)
"""How a body may hold parameters."""
ANY_TYPE: Final = "*/*"
FILE_ANSWERS: Final[Mapping[int, Sequence[str]]] = {
    200: (ANY_TYPE,),
    206: (ANY_TYPE,),
    303: (),
    304: (),
    307: (),
    416: ("text/plain",),
}
"""How a file is answered: whole, in parts, as known already, or with where it lies."""
_WORDS: Final = {
    400: "A parameter is wrong; the answer names it and what is allowed",
    401: "A token is missing, or not valid",
    403: "Not allowed",
    404: "There is no such thing",
    422: "This cannot be computed from these data",
    429: "So many requests of one client are too many; Retry-After tells when to come again",
    503: "Try again later; Retry-After tells when",
    504: "It took longer than the service allows",
    507: "No space is left",
}
_UNTOLD: Final = frozenset({FAULTS[errors.NoOverlapError].status, 500})
"""An answer that is no error, and what must not happen."""
_LATER: Final = frozenset(
    FAULTS[kind].status for kind in (errors.TransientError, errors.TooManyRequestsError)
)
"""Answers that tell when to come again."""
_TYPES: Final = {"int": "integer", "long": "integer", "double": "number", "float": "number"}
_ITEMS: Final = {
    "interval": "two numbers separated by a blank",
    "point": "longitude and latitude separated by a blank",
}


class PlainRoute(APIRoute):
    """A route that OpenAPI tells of and that is called as it is: what FastAPI does for each request
    takes as long as a small query."""

    def get_route_handler(self) -> Callable[..., Any]:
        """The endpoint, which takes the request."""
        return self.endpoint


def described(
    inputs: Iterable[InputParameter] = (),
    *,
    answers: Mapping[int, Sequence[str]],
    required: Sequence[str] = (),
    repeated: bool = False,
) -> dict[str, Any]:
    """Options of a route. ``answers``: status -> media types of what is no error, what is usual
    first; ``required``: names that must be given; ``repeated``: each name may be given several
    times."""
    told = {status: _answer("The answer", types) for status, types in answers.items()}
    told |= dict(_error_answers())
    parameters = [
        {
            "name": each.name,
            "in": "query",
            "required": each.name in required,
            "description": _told(each),
            "schema": _schema(each, repeated=repeated),
        }
        for each in inputs
    ]
    return {
        "status_code": next(iter(answers)),
        "response_class": Response,  # FastAPI promises JSON of what is not said to be anything else
        "responses": told,
        "openapi_extra": {"parameters": parameters},
    }


def _answer(description: str, types: Sequence[str]) -> dict[str, Any]:
    return {
        "description": description,
        "content": {media_type: {"schema": {}} for media_type in types},
    }


def _error_answers() -> Iterator[tuple[int, dict[str, Any]]]:
    for status in sorted({fault.status for fault in FAULTS.values()} - _UNTOLD):
        told = _answer(_WORDS[status], ERROR_TYPES)
        if status in _LATER:
            told["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
        yield status, told


def _told(parameter: InputParameter) -> str:
    parts = [parameter.description]
    if parameter.xtype in _ITEMS:
        parts.append(_ITEMS[parameter.xtype])
    if parameter.unit:
        parts.append(f"unit: {parameter.unit}")
    if parameter.options:
        parts.append(f"one of {', '.join(parameter.options)}")
    return "; ".join(filter(None, parts))


def _schema(parameter: InputParameter, *, repeated: bool) -> dict[str, Any]:
    """Words are told as examples: they are taken in any case, and formats as media types too."""
    scalar = parameter.arraysize in (None, "1", "1*")
    found: dict[str, Any] = {"type": _TYPES.get(parameter.datatype, "string")}
    if not scalar or found["type"] == "string":
        found = {"type": "string"}
        if parameter.options:
            found["examples"] = list(parameter.options)
    else:
        read = int if found["type"] == "integer" else float
        for name, limit in (("minimum", parameter.minimum), ("maximum", parameter.maximum)):
            if limit is not None:
                found[name] = read(limit)
    return {"type": "array", "items": found} if repeated else found


XML_ANSWER: Final = described(answers={200: ("text/xml",)})
JSON_ANSWER: Final = described(answers={200: ("application/json",)})
"""Options of routes without parameters that answer with one kind of document."""


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """The description that FastAPI makes of the routes, mended: every operation has a name of its
    own, HEAD answers without a body, and what a POST is asked stands in its body."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            operation["operationId"] = method + re.sub(r"\W+", "_", path).rstrip("_")
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]  # FastAPI's own, which is never given
            if method == "head":
                for answer in operation["responses"].values():
                    answer.pop("content", None)
            if method == "post":
                _move_to_body(operation)
    return document


def _move_to_body(operation: dict[str, Any]) -> None:
    asked = operation.get("parameters", [])
    fields = [each for each in asked if each["in"] == "query"]
    if not fields:
        return
    operation["parameters"] = [each for each in asked if each["in"] != "query"]
    form = {
        "type": "object",
        "properties": {
            each["name"]: {**each["schema"], "description": each["description"]} for each in fields
        },
        "required": [each["name"] for each in fields if each["required"]],
    }
    operation["requestBody"] = {"content": {kind: {"schema": form} for kind in FORM_TYPES}}
