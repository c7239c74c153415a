"""The C functions of the very SQLite library that Python's ``sqlite3`` uses, for compiled code.

Python's extension module links the library, so its symbols are found through the module's own
file. An automatic extension (``sqlite3_auto_extension``) tells the C handle of every connection
at its opening. With both, numba code can step statements and serve SQL functions without the
interpreter. Where either is missing (a Python with SQLite built in and hidden, for example) the
rows are read through ``sqlite3`` itself, with the same answers.
"""

from __future__ import annotations

import _sqlite3
import atexit
import ctypes
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, MutableMapping
from typing import Any, Final

log = logging.getLogger(__name__)

SWITCH: Final = "SKYLOOM_SQLITE_NATIVE"
"""Environment variable; ``off`` makes everything go through Python's ``sqlite3``."""

COMPILED_USE: Final = (
    "sqlite3_db_handle",
    "sqlite3_db_mutex",
    "sqlite3_mutex_enter",
    "sqlite3_mutex_leave",
    "sqlite3_step",
    "sqlite3_reset",
    "sqlite3_bind_null",
    "sqlite3_bind_int64",
    "sqlite3_bind_double",
    "sqlite3_bind_text",
    "sqlite3_bind_blob",
    "sqlite3_column_value",
    "sqlite3_value_type",
    "sqlite3_value_int64",
    "sqlite3_value_double",
    "sqlite3_value_text",
    "sqlite3_value_bytes",
    "sqlite3_value_blob",
    "sqlite3_value_subtype",
    "sqlite3_result_int",
    "sqlite3_result_int64",
    "sqlite3_result_double",
    "sqlite3_result_null",
    "sqlite3_result_text",
    "sqlite3_result_blob",
    "sqlite3_result_error",
    "sqlite3_get_auxdata",
    "sqlite3_set_auxdata",
    "sqlite3_user_data",
    "sqlite3_malloc64",
    "sqlite3_free",
)
"""What compiled code may call, as ``numba.types.ExternalFunction`` of the same name."""

_POINTER = ctypes.c_void_p
_INT = ctypes.c_int
_PYTHON_USE: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "sqlite3_prepare_v2": (_INT, (_POINTER, ctypes.c_char_p, _INT, _POINTER, _POINTER)),
    "sqlite3_finalize": (_INT, (_POINTER,)),
    "sqlite3_reset": (_INT, (_POINTER,)),
    "sqlite3_clear_bindings": (_INT, (_POINTER,)),
    "sqlite3_bind_parameter_count": (_INT, (_POINTER,)),
    "sqlite3_bind_parameter_name": (ctypes.c_char_p, (_POINTER, _INT)),
    "sqlite3_bind_int64": (_INT, (_POINTER, _INT, ctypes.c_int64)),
    "sqlite3_bind_double": (_INT, (_POINTER, _INT, ctypes.c_double)),
    "sqlite3_bind_text": (_INT, (_POINTER, _INT, ctypes.c_char_p, _INT, _POINTER)),
    "sqlite3_column_count": (_INT, (_POINTER,)),
    "sqlite3_column_type": (_INT, (_POINTER, _INT)),
    "sqlite3_column_int64": (ctypes.c_int64, (_POINTER, _INT)),
    "sqlite3_column_double": (ctypes.c_double, (_POINTER, _INT)),
    "sqlite3_column_blob": (_POINTER, (_POINTER, _INT)),
    "sqlite3_column_bytes": (_INT, (_POINTER, _INT)),
    "sqlite3_errmsg": (ctypes.c_char_p, (_POINTER,)),
    "sqlite3_extended_errcode": (_INT, (_POINTER,)),
    "sqlite3_progress_handler": (None, (_POINTER, _INT, _POINTER, _POINTER)),
    "sqlite3_create_function_v2": (
        _INT,
        (_POINTER, ctypes.c_char_p, _INT, _INT, *(_POINTER,) * 5),
    ),
    "sqlite3_auto_extension": (_INT, (_POINTER,)),
    "sqlite3_cancel_auto_extension": (_INT, (_POINTER,)),
}
_UTF8 = 1
_DETERMINISTIC = 0x800
_INNOCUOUS = 0x200000

_HANDLE = "sqlite_handle"
"""Where the handle lies in the ``info`` of a pooled connection."""

_KNOWN = "sqlite_compiled"
"""And how many of the compiled functions it has been given."""

_OPENED = ctypes.CFUNCTYPE(_INT, _POINTER, _POINTER, _POINTER)


class NativeSqlite:
    """SQLite's C interface: ``call["sqlite3_…"]`` from Python, symbols from compiled code.

    Raises OSError or AttributeError when the library hides what is needed, RuntimeError when it
    does not tell the handles of new connections.
    """

    def __init__(self) -> None:
        library = ctypes.CDLL(_sqlite3.__file__)
        self.call: dict[str, Callable[..., Any]] = {}
        for name, (result, arguments) in _PYTHON_USE.items():
            function = library[name]
            function.restype, function.argtypes = result, arguments
            self.call[name] = function
        self._symbols = {
            name: ctypes.cast(library[name], _POINTER).value or 0 for name in COMPILED_USE
        }
        self._opened = threading.local()
        self._listen()

    def _listen(self) -> None:
        """Have the handles told, and try it."""
        told = _OPENED(self._remember)
        self._callback = told  # SQLite calls it as long as the process lives
        address = ctypes.cast(told, _POINTER)
        self.call["sqlite3_auto_extension"](address)
        atexit.register(self.call["sqlite3_cancel_auto_extension"], address)
        sqlite3.connect(":memory:").close()
        if self._take() is None:
            raise RuntimeError("SQLite does not call its automatic extensions")

    def _remember(self, handle: int, _message: int, _routines: int) -> int:
        self._opened.handle = handle
        return 0

    def _take(self) -> int | None:
        """The handle of the connection that this thread opened last, once."""
        handle = getattr(self._opened, "handle", None)
        self._opened.handle = None
        return handle

    def provide_symbols(self) -> None:
        """Let compiled code find the functions."""
        from llvmlite import binding

        for name, address in self._symbols.items():
            binding.add_symbol(name, address)

    def adopt(self, info: MutableMapping[Any, Any]) -> None:
        """Note the handle of the connection that this thread has just opened and give it the
        compiled functions. To be called when all other functions are there: a later one of the
        same name and number of arguments takes the place of an earlier one."""
        handle = self._take()
        if handle is None:
            return
        info[_HANDLE] = handle
        self.refresh(info)

    def refresh(self, info: MutableMapping[Any, Any]) -> None:
        """Give a connection the compiled functions that came since it was last asked."""
        handle, known = info.get(_HANDLE), info.get(_KNOWN, 0)
        if handle is None:
            return
        info[_KNOWN] = len(_COMPILED)
        for name, n_args, address in _COMPILED[known:]:
            flags = _UTF8 | _DETERMINISTIC | _INNOCUOUS
            status = self.call["sqlite3_create_function_v2"](
                handle, name.encode(), n_args, flags, None, address, None, None, None
            )
            if status:
                raise self.error(handle)

    def prepare(self, handle: int, sql: str) -> int:
        """A statement, to be finalized. Raises sqlite3.Error."""
        text, pointer = sql.encode(), ctypes.c_void_p()
        status = self.call["sqlite3_prepare_v2"](
            handle, text, len(text), ctypes.byref(pointer), None
        )
        if status or not pointer.value:
            raise self.error(handle)
        return pointer.value

    def error(self, handle: int) -> sqlite3.Error:
        """What the connection complains of, as ``sqlite3`` would raise it."""
        code = int(self.call["sqlite3_extended_errcode"](handle))
        text = self.call["sqlite3_errmsg"](handle) or b"unknown error"
        error = sqlite3.OperationalError(text.decode(errors="replace"))
        error.sqlite_errorcode = code
        return error


_COMPILED: Final[list[tuple[str, int, int]]] = []
_lock = threading.Lock()
_loaded: list[NativeSqlite | None] = []


def register_compiled(name: str, n_args: int, address: int) -> None:
    """Serve an SQL function by machine code on every connection handed out from now on.

    ``address`` is that of a C function ``void f(sqlite3_context*, int, sqlite3_value**)`` (a numba
    ``cfunc`` over ``intp, int32, CPointer(intp)``), which must be deterministic and must stay
    loaded. It replaces a Python function of the same name and number of arguments.
    """
    _COMPILED.append((name, n_args, address))


def native_sqlite() -> NativeSqlite | None:
    """The C interface, None where there is none or it is switched off."""
    if os.environ.get(SWITCH, "").lower() == "off":
        return None
    with _lock:
        if not _loaded:
            _loaded.append(_load())
        return _loaded[0]


def handle_of(info: MutableMapping[Any, Any]) -> int | None:
    """The C handle of a pooled connection, by its ``info``."""
    handle = info.get(_HANDLE)
    return None if handle is None else int(handle)


def _load() -> NativeSqlite | None:
    try:
        native = NativeSqlite()
        native.provide_symbols()
    except (AttributeError, OSError, RuntimeError) as error:
        log.warning("SQLite is read through Python: %s", error)
        return None
    return native
