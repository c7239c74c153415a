"""Has SQLite's geometry served by machine code, once that is at hand.

The first use on a machine compiles for some seconds and keeps the code on the disk; later ones load
it in about a second. A service therefore loads in the background (:func:`start_loading`) while the
Python functions answer, and ``skyloom init`` compiles beforehand (:func:`load_geometry`).
"""

from __future__ import annotations

import logging
import threading

from app.stores.sqlite_native import native_sqlite, register_compiled

log = logging.getLogger(__name__)

_lock = threading.Lock()
_started = threading.Event()
_loaded = threading.Event()


def load_geometry() -> bool:
    """Compile or load the functions and register them; whether they serve from now on."""
    if native_sqlite() is None:
        return False
    with _lock:
        if not _loaded.is_set():
            from app.stores.sqlite_geometry import compiled_functions

            for name, n_args, address in compiled_functions():
                register_compiled(name, n_args, address)
            _loaded.set()
    return True


def start_loading() -> None:
    """Do so in the background, once in a process."""
    if not _started.is_set():
        _started.set()
        threading.Thread(target=_load_quietly, name="sqlite-geometry").start()


def _load_quietly() -> None:
    """What cannot be compiled here is answered by Python."""
    try:
        load_geometry()
    except Exception:
        log.exception("the geometry of SQLite is answered by Python")
