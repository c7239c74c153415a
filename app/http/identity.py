"""Who asks: the one place that reads the Authorization header."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import AuthenticationError, ForbiddenError, ServiceError, TokenError
from app.http.context import ServiceAddress
from app.http.faults import FaultStyle, answers_in
from app.http.rates import RequestRates
from app.schema.access import Identity, client_of, identity_in
from app.services.identities import IdentityService

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
FOR_ALL: Final = ("/capabilities", "/availability", "/login", "/robots.txt")
"""Ends of addresses that answer also where nobody may read without a token (VOSI 1.1)."""
OWN_AUDIENCE: Final = frozenset({"/health", "/ready", "/metrics", "/operator"})
"""Addresses that see for themselves to whom they answer."""
STATIC: Final = "/static/"
BY_SIGNATURE: Final = ("/files/", "/packages/", STATIC)
"""Addresses that need no token: a signature speaks for them, or they are the pages' own."""
AnswerError = Callable[[Request, ServiceError], Awaitable[Response]]
_LONGEST: Final = 8192
_PROVIDER_PLACES: Final = 4
"""Threads that may wait for the identity provider at once."""
_OTHER_SITES: Final = frozenset({"cross-site", "same-site"})


class IdentityMiddleware:
    """Finds out who asks before a request reaches any endpoint. What is wrong is told by
    ``answer_error``.

    A token that is not good is refused, also where none is needed: who sends one would otherwise
    be shown less without a word. Each request counts in ``rates``: for whoever is known, else for
    the client's address.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        identities: IdentityService,
        answer_error: AnswerError,
        rates: RequestRates,
    ) -> None:
        self._app = app
        self._identities = identities
        self._answer_error = answer_error
        self._rates = rates
        self._places = CapacityLimiter(_PROVIDER_PLACES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http":
            request = Request(scope)
            try:
                request.state.identity = await self._admitted(request)
            except ServiceError as error:
                answer = await self._answer_error(request, error)
                await answer(scope, receive, send)
                return
            if not request.scope["path"].startswith(BY_SIGNATURE):
                send = _with_identity(send, request.state.identity)
        await self._app(scope, receive, send)

    async def _admitted(self, request: Request) -> Identity:
        path = request.scope["path"]
        is_counted = not (path in OWN_AUDIENCE or path.startswith(STATIC))
        try:
            identity = await _identity(request, self._identities, self._places)
        except ServiceError:
            if is_counted:
                self._rates.count(_stranger(request, self._identities))
            raise
        if is_counted:
            self._rates.count(identity)
        if not identity.may_read and not _is_for_all(path):
            raise AuthenticationError("this service answers those who send a token")
        return identity


def _with_identity(send: Send, identity: Identity) -> Send:
    """Tells caches that answers differ by who asks, and which are for one alone."""

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.add_vary_header("Authorization")
            kept = headers.get("cache-control", "")
            if not (identity.is_anonymous or "no-store" in kept or "private" in kept):
                headers["Cache-Control"] = f"private, {kept}" if kept else "private"
        await send(message)

    return told


def _stranger(request: Request, identities: IdentityService) -> Identity:
    """Who asks, by the address alone."""
    host = request.client.host if request.client else ""
    return replace(identities.anonymous, client=client_of(host))


async def _identity(
    request: Request, identities: IdentityService, places: CapacityLimiter
) -> Identity:
    given = request.headers.getlist("authorization")
    if not given:
        return _stranger(request, identities)
    if len(given) > 1:
        raise TokenError("send one Authorization header")
    scheme, secret = _secret(given[0])
    if scheme == "basic" and request.method not in SAFE:
        _refuse_other_sites(request)
    if identities.is_known(secret):
        return identities.of_token(secret)
    limiter = places if identities.asks_provider(secret) else None
    return await to_thread.run_sync(identities.of_token, secret, limiter=limiter)


def _secret(header: str) -> tuple[str, str]:
    """The scheme and the token that a header carries. Of Basic the user may be anything."""
    scheme, _, rest = header.strip().partition(" ")
    rest = rest.strip()
    if len(rest) > _LONGEST:
        raise TokenError("it is too long")
    match scheme.lower():
        case "bearer":
            secret = rest
        case "basic":
            try:
                secret = base64.b64decode(rest, validate=True).decode("latin-1").partition(":")[2]
            except (binascii.Error, ValueError):
                raise TokenError("its Basic credentials cannot be read") from None
        case _:
            raise TokenError("send it as Bearer, or as the password of Basic")
    if not secret:
        raise TokenError("it is empty")
    return scheme.lower(), secret


def _refuse_other_sites(request: Request) -> None:
    """Browsers send a password that they keep also with forms of other sites."""
    if request.headers.get("sec-fetch-site", "").lower() in _OTHER_SITES:
        raise ForbiddenError("a page of another site may not do this in your name")


def _is_for_all(path: str) -> bool:
    return path.endswith(FOR_ALL) or path in OWN_AUDIENCE or path.startswith(BY_SIGNATURE)


def router(*, address: ServiceAddress) -> APIRouter:
    """``/login``: has a browser ask for the token, and keep it."""
    found = APIRouter(dependencies=[answers_in(FaultStyle.TEXT)], include_in_schema=False)

    @found.get("/login")
    async def login(request: Request) -> Response:
        if identity_in(request.state).is_anonymous:
            raise AuthenticationError("give your token as the password; the name may be anything")
        headers = {"Cache-Control": "no-store"}
        return RedirectResponse(f"{address.of(request)}/", 303, headers=headers)

    return found
