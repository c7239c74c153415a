"""Skyloom: FITS images published the Virtual Observatory way, differences woven on demand."""

import os

__version__ = "0.1.0"

# Read by numba when it is first imported; app/compilation.py tells why.
os.environ.setdefault(
    "NUMBA_CACHE_LOCATOR_CLASSES",
    ",".join(f"app.compilation.{each}" for each in ("GivenFolder", "BesideSource", "UserFolder")),
)
