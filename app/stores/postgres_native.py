"""The C functions of the very libpq that psycopg uses, for compiled code."""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import psycopg

log = logging.getLogger(__name__)

SWITCH: Final = "SKYLOOM_POSTGRES_NATIVE"
"""Environment variable; ``off`` makes all rows come through psycopg."""

COMPILED_USE: Final = (
    "PQgetResult",
    "PQresultStatus",
    "PQntuples",
    "PQftype",
    "PQgetisnull",
    "PQgetvalue",
    "PQgetlength",
    "PQclear",
)
"""What compiled code calls, as ``numba.types.ExternalFunction`` of the same name."""

_POINTER = ctypes.c_void_p
_INT = ctypes.c_int
_PYTHON_USE: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "PQgetvalue": (_POINTER, (_POINTER, _INT, _INT)),
    "PQgetlength": (_INT, (_POINTER, _INT, _INT)),
    "PQnfields": (_INT, (_POINTER,)),
    "PQresultErrorField": (ctypes.c_char_p, (_POINTER, _INT)),
    "PQresultErrorMessage": (ctypes.c_char_p, (_POINTER,)),
    "PQclear": (None, (_POINTER,)),
}
_SQLSTATE = ord("C")
_PRIMARY = ord("M")
_OLDEST = 170000
"""libpq 17 has rows in chunks."""


class NativeLibpq:
    """libpq's C interface: ``call["PQ…"]`` from Python, symbols from compiled code."""

    def __init__(self) -> None:
        if psycopg.pq.version() < _OLDEST:
            raise RuntimeError(f"libpq {psycopg.pq.version()} gives no rows in chunks")
        module = importlib.import_module(psycopg.pq.PGconn.__module__)
        library = ctypes.CDLL(str(module.__file__))
        self.call: dict[str, Callable[..., Any]] = {}
        for name, (result, arguments) in _PYTHON_USE.items():
            function = library[name]
            function.restype, function.argtypes = result, arguments
            self.call[name] = function
        self._symbols = {
            name: ctypes.cast(library[name], _POINTER).value or 0 for name in COMPILED_USE
        }

    def provide_symbols(self) -> None:
        """Let compiled code find the functions."""
        from llvmlite import binding

        for name, address in self._symbols.items():
            binding.add_symbol(name, address)

    def error(self, result: int) -> psycopg.Error:
        """What a failed result complains of, as psycopg would raise it."""
        state = self.call["PQresultErrorField"](result, _SQLSTATE)
        primary = self.call["PQresultErrorField"](result, _PRIMARY)
        text = (primary or self.call["PQresultErrorMessage"](result) or b"").decode(
            errors="replace"
        )
        if state is None:
            return psycopg.OperationalError(text)
        try:
            return psycopg.errors.lookup(state.decode())(text)
        except KeyError:
            error = psycopg.DatabaseError(text)
            error.sqlstate = state.decode()
            return error


def native_libpq() -> NativeLibpq | None:
    """The C interface, None where there is none or it is switched off."""
    return None if os.environ.get(SWITCH, "").lower() == "off" else _load()


@lru_cache(maxsize=1)
def _load() -> NativeLibpq | None:
    try:
        native = NativeLibpq()
        native.provide_symbols()
    except (AttributeError, OSError, RuntimeError, TypeError) as error:
        log.warning("PostgreSQL is read through psycopg: %s", error)
        return None
    return native
