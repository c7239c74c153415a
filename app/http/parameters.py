"""Parameters of a request: query string, urlencoded and multipart forms, JSON objects."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from app.errors import LimitError, ParameterError
from app.recipes.request import parameters_of_json
from app.services.parameters import Pairs, ParameterSet, is_storable
from app.services.uploads import FormFile

__all__ = ["MAX_BODY_BYTES", "ParameterSet", "read_form", "read_parameters", "read_value"]

MAX_BODY_BYTES = 4 * 2**20
"""Bodies carry parameters only; longer ones are refused."""
_MAX_FIELDS = 10_000


async def read_parameters(request: Request) -> ParameterSet:
    """All parameters of a request, those of the query string first.

    A file in a multipart form counts as a parameter with its file name as the value.

    Raises as :func:`read_form`.
    """
    parameters, files = await read_form(request, max_file_bytes=0)
    names = tuple((file.name, file.filename) for file in files)
    return ParameterSet(_storable((*parameters.pairs, *names)))


async def read_form(
    request: Request, *, max_file_bytes: int
) -> tuple[ParameterSet, tuple[FormFile, ...]]:
    """Parameters and files of a request. ``max_file_bytes`` comes on top of what a body may hold
    without files.

    Raises
    ------
    LimitError
        The body is longer than :data:`MAX_BODY_BYTES`.
    ParameterError
        The body cannot be read as its Content-Type says, or a value is no text.
    """
    pairs = _urlencoded(request.scope["query_string"].decode("latin-1"))
    files: tuple[FormFile, ...] = ()
    if request.method in {"POST", "PUT"}:
        body, files = await _read_body(request, MAX_BODY_BYTES + max_file_bytes)
        pairs += body
    return ParameterSet(_storable(pairs)), files


async def read_value(request: Request, name: str) -> str:
    """The whole body as the value of parameter ``name``. Raises what :func:`read_parameters`
    does."""
    body = b"".join([chunk async for chunk in _bounded(request, MAX_BODY_BYTES)])
    ((_, value),) = _storable(((name, _decoded(body)),))
    return value


def _storable(pairs: Pairs) -> Pairs:
    """The same pairs. NUL and lone surrogates, which no database keeps, are refused."""
    for name, value in pairs:
        if not is_storable(name) or not is_storable(value):
            shown = name if is_storable(name) else ascii(name)
            raise ParameterError(shown, "NUL and lone surrogates are no text")
    return pairs


async def _read_body(request: Request, max_bytes: int) -> tuple[Pairs, tuple[FormFile, ...]]:
    content_type = request.headers.get("content-type", "").lower()
    if content_type.startswith("multipart/form-data"):
        return await _multipart(request.headers, _bounded(request, max_bytes))
    body = b"".join([chunk async for chunk in _bounded(request, MAX_BODY_BYTES)])
    if not body.strip():
        return (), ()
    if "json" in content_type:
        return _json(body), ()
    return _urlencoded(_decoded(body)), ()


async def _bounded(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise LimitError("bytes in the body of a request", received, max_bytes)
        yield chunk


def _decoded(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise ParameterError("body", "the parameters must be UTF-8 text") from None


def _urlencoded(text: str) -> Pairs:
    try:
        return tuple(
            parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
        )
    except UnicodeDecodeError:
        raise ParameterError("query", "percent escapes must spell UTF-8 text") from None
    except ValueError:
        raise LimitError("parameters in a request", "more", _MAX_FIELDS) from None


async def _multipart(
    headers: Headers, stream: AsyncGenerator[bytes, None]
) -> tuple[Pairs, tuple[FormFile, ...]]:
    parser = MultiPartParser(headers, stream, max_part_size=MAX_BODY_BYTES)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise ParameterError("body", f"not a readable multipart form: {error}") from None
    pairs: list[tuple[str, str]] = []
    files: list[FormFile] = []
    try:
        for name, value in form.multi_items():
            if isinstance(value, str):
                pairs.append((name, value))
            else:
                files.append(FormFile(name, await value.read(), value.filename or ""))
    finally:
        await form.close()
    return tuple(pairs), tuple(files)


def _json(body: bytes) -> Pairs:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise ParameterError("body", "not readable as JSON") from None
    return parameters_of_json(value)
