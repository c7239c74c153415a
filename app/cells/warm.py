"""Compiled code made ready before the first answer needs it."""

from __future__ import annotations

import importlib
from typing import Final

_KERNELS: Final = ("base64", "batches", "binary", "characters", "text")


def warm_up() -> None:
    """Load all compiled code: under a second where numba finds it on disk, else some ten."""
    for name in _KERNELS:
        importlib.import_module(f"app.cells.kernels.{name}")
