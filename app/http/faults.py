"""Errors as answers: the one place that knows status codes, DALI faults and SODA labels."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final, Literal

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Match

from app import errors
from app.errors import ServiceError, shortened, told
from app.http.context import asks_for_page
from app.uws.job import JobError
from app.votable.documents import write_error

log = logging.getLogger(__name__)

VOTABLE_TYPE: Final = "application/x-votable+xml"
RETRY_AFTER_S: Final = "10"
REALM: Final = "Skyloom"
METHODS: Final = ("DELETE", "GET", "HEAD", "POST", "PUT")
VOTABLE_ROOTS: Final = frozenset({"tap", "sia", "datalink", "skymap", "lightcurve"})
"""Below these an address that no endpoint takes answers as the endpoints there do."""

ErrorPage = Callable[[Request, int, str], Response]
"""Tells a reader of pages a status and what is wrong."""


@dataclass(frozen=True, slots=True)
class Fault:
    """How one class of errors leaves the service.

    ``dali`` leads the text in a VOTable (DALI 1.1, section 4.2), ``label`` in plain text
    (SODA 1.0, section 5.3), ``uws`` is the type of a job's errorSummary (UWS 1.1, section 2.1.7).
    """

    status: int
    dali: str
    label: str
    uws: Literal["transient", "fatal"]


FAULTS: Final[Mapping[type[BaseException], Fault]] = {
    errors.MultiValuedParameterError: Fault(
        400, "UsageFault", "MultiValuedParamNotSupported", "fatal"
    ),
    errors.AuthenticationError: Fault(401, "UsageFault", "AuthenticationError", "fatal"),
    errors.ForbiddenError: Fault(403, "UsageFault", "AuthorizationError", "fatal"),
    errors.SignatureError: Fault(403, "UsageFault", "AuthorizationError", "fatal"),
    errors.PhaseError: Fault(403, "UsageFault", "UsageError", "fatal"),
    errors.UsageError: Fault(400, "UsageFault", "UsageError", "fatal"),
    errors.NotFoundError: Fault(404, "NotFoundFault", "UsageError", "fatal"),
    errors.NoOverlapError: Fault(204, "UsageFault", "UsageError", "fatal"),
    errors.StorageFullError: Fault(507, "TransientFault", "ServiceUnavailable", "transient"),
    errors.TimeLimitError: Fault(504, "TransientFault", "ServiceUnavailable", "transient"),
    errors.TooManyRequestsError: Fault(429, "TransientFault", "ServiceUnavailable", "transient"),
    errors.TransientError: Fault(503, "TransientFault", "ServiceUnavailable", "transient"),
    errors.ComputationError: Fault(422, "FatalFault", "Error", "fatal"),
    ServiceError: Fault(500, "DefaultFault", "Error", "fatal"),
}
UNEXPECTED: Final = Fault(500, "DefaultFault", "Error", "fatal")


class FaultStyle(StrEnum):
    """What an error document of an endpoint looks like."""

    VOTABLE = "votable"
    TEXT = "text"


def answers_in(style: FaultStyle) -> Any:
    """A dependency for routers: errors of their endpoints are written in ``style``."""

    async def set_style(request: Request) -> None:
        request.state.fault_style = style

    return Depends(set_style)


def fault_of(error_type: type[BaseException]) -> Fault:
    """The entry of the nearest class in the table."""
    for ancestor in error_type.__mro__:
        if ancestor in FAULTS:
            return FAULTS[ancestor]
    return UNEXPECTED


def explain(error: BaseException) -> tuple[Fault, str]:
    """The fault and a text for the client; an error nobody foresaw is logged, not shown."""
    fault = fault_of(type(error))
    if isinstance(error, errors.StoreUnavailableError):
        log.warning("%s", error)
    if isinstance(error, ServiceError):
        return fault, told(error)
    number = uuid.uuid4().hex[:12]
    log.error("unexpected error %s", number, exc_info=error)
    return fault, f"internal error; it is logged as {number}"


def headers_of(error: Exception) -> dict[str, str]:
    """What an answer tells beside the error: when to come back, or how to sign in (RFC 9110,
    section 11.6.1; RFC 6750, section 3)."""
    if isinstance(error, errors.AllowanceError):
        return {"Retry-After": str(error.wait_s)}
    if fault_of(type(error)).status == 503:
        return {"Retry-After": RETRY_AFTER_S}
    if isinstance(error, errors.AuthenticationError):
        why = ', error="invalid_token"' if isinstance(error, errors.TokenError) else ""
        bearer = f'Bearer realm="{REALM}"{why}'
        return {"WWW-Authenticate": f'{bearer}, Basic realm="{REALM}", charset="UTF-8"'}
    return {}


def describe(error: Exception) -> str:
    """``UsageFault: …`` as it stands in a VOTable."""
    fault, message = explain(error)
    return f"{fault.dali}: {message}"


def describe_plainly(error: ServiceError) -> str:
    """``UsageError: …`` as it stands in plain text (SODA 1.0, section 5.3)."""
    fault, message = explain(error)
    return f"{fault.label}: {message}"


def job_error_document(error: JobError, style: FaultStyle) -> Response:
    """What ``/{job}/error`` answers, always with status 200 (UWS 1.1, section 2.1.7)."""
    kind = getattr(errors, error.fault, ServiceError)
    fault = fault_of(kind if isinstance(kind, type) else ServiceError)
    if style is FaultStyle.VOTABLE:
        return Response(write_error(f"{fault.dali}: {error.message}"), media_type=VOTABLE_TYPE)
    return PlainTextResponse(f"{fault.label}: {error.message}\n")


def install_fault_handlers(app: FastAPI, *, error_page: ErrorPage | None = None) -> None:
    """Make every error of ``app`` leave as a fault document. With an ``error_page`` browsers get
    that where faults are plain text, and at addresses outside of TAP that are none."""
    app.add_exception_handler(ServiceError, partial(answer_error, error_page=error_page))
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, partial(_on_http_error, error_page=error_page))
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, partial(answer_error, error_page=error_page))


async def answer_error(
    request: Request, error: Exception, *, error_page: ErrorPage | None
) -> Response:
    """How an error leaves the service; see :func:`install_fault_handlers`."""
    fault, message = explain(error)
    headers = headers_of(error)
    reads_text = _style_of(request) is FaultStyle.TEXT and fault.status >= 400
    if error_page is not None and reads_text and asks_for_page(request):
        answer = error_page(request, fault.status, message)
        answer.headers.update(headers)
        return answer
    return _document(request, fault, message, headers)


async def _on_disconnect(_request: Request, _error: Exception) -> Response:
    """The client hung up while it sent its request: nobody reads this, and nothing is wrong."""
    return Response(status_code=400)


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    problems = error.errors() if isinstance(error, RequestValidationError) else ()
    texts = [
        f"{'.'.join(str(p) for p in problem['loc'])}: {problem['msg']}" for problem in problems
    ]
    return _document(request, FAULTS[errors.UsageError], "; ".join(texts), {})


async def _on_http_error(
    request: Request, error: Exception, *, error_page: ErrorPage | None
) -> Response:
    if not isinstance(error, HTTPException):
        return await answer_error(request, error, error_page=error_page)
    known = FAULTS[errors.NotFoundError if error.status_code == 404 else errors.UsageError]
    fault = Fault(error.status_code, known.dali, known.label, "fatal")
    message = f"{request.method} {shortened(request.url.path)}: {error.detail}"
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(allowed_methods(request))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        message += f"; allowed are {headers['Allow']}"
    if error_page is not None and asks_for_page(request) and _root_of(request) != "tap":
        answer = error_page(request, error.status_code, message)
        answer.headers.update(headers)
        return answer
    return _document(request, fault, message, headers)


def refuse(request: Request) -> Response:
    """The answer to a request that came while the server stops."""
    fault, message = explain(errors.StoppingError())
    headers = {"Retry-After": RETRY_AFTER_S, "Connection": "close"}
    return _document(request, fault, message, headers)


def allowed_methods(request: Request) -> list[str]:
    """Every method that some route takes at the path of a request (the router that refuses one
    knows only those of the first route)."""
    return [method for method in METHODS if _is_taken(request, method)]


def _is_taken(request: Request, method: str) -> bool:
    scope = {**request.scope, "method": method}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes)


def _document(request: Request, fault: Fault, message: str, headers: Mapping[str, str]) -> Response:
    plain_headers = dict(headers)
    if fault.status in {204, 304}:
        return Response(status_code=fault.status, headers=plain_headers)
    if _wants_json(request):
        body = {"fault": fault.dali, "label": fault.label, "message": message}
        return JSONResponse(body, status_code=fault.status, headers=plain_headers)
    if _style_of(request) is FaultStyle.VOTABLE:
        document = write_error(f"{fault.dali}: {message}")
        return Response(document, fault.status, media_type=VOTABLE_TYPE, headers=plain_headers)
    return PlainTextResponse(f"{fault.label}: {message}\n", fault.status, headers=plain_headers)


def _style_of(request: Request) -> FaultStyle:
    """What the endpoint has set; where there is none, by the first word of the path."""
    default = FaultStyle.VOTABLE if _root_of(request) in VOTABLE_ROOTS else FaultStyle.TEXT
    return getattr(request.state, "fault_style", default)


def _root_of(request: Request) -> str:
    """The first word of the path."""
    return str(request.scope["path"]).lstrip("/").partition("/")[0]


def _wants_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "").lower()
    return "application/json" in accepted
