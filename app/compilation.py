"""Where numba keeps what it compiled, and when it compiles anew.

Numba keeps a function's machine code until the file of that function changes. What the function
took in from other modules, functions and constants, is part of that code: after an update that
changed only those, old code would go on silently. Here a function is compiled anew when its module
or any module of the same package that it imports, at whatever remove, has changed.

Numba finds these classes by the names that ``app`` sets before numba is imported. The variable has
to stay: numba reads it at each compilation again. Their order is that of numba's own: the folder
NUMBA_CACHE_DIR, beside the source, the user's.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

from numba.core import caching

_IMPORT = re.compile(
    r"^\s*(?:from\s+([\w.]+)\s+import\s+(\([^)]*\)|[^\n]*)|import\s+([\w.]+))", re.MULTILINE
)


class _ByImports:
    """Takes code for fresh while a module and all that it imports of its package are unchanged."""

    _py_file: str

    def get_source_stamp(self) -> str:
        return stamp_with_imports(Path(self._py_file))


class GivenFolder(_ByImports, caching.UserProvidedCacheLocator):
    """In NUMBA_CACHE_DIR, where that is set."""


class BesideSource(_ByImports, caching.InTreeCacheLocator):
    """In ``__pycache__`` beside the module, where that can be written."""


class UserFolder(_ByImports, caching.UserWideCacheLocator):
    """In the user's folder for caches."""


@cache
def stamp_with_imports(path: Path) -> str:
    """A hash of a module's source and of those it imports from its own package, at any remove."""
    seen, waiting = {path}, [path]
    while waiting:
        found = _imported(waiting.pop()) - seen
        seen |= found
        waiting += found
    digest = hashlib.sha256()
    for each in sorted(seen):
        digest.update(hashlib.sha256(each.read_bytes()).digest())
    return digest.hexdigest()


@cache
def _imported(path: Path) -> frozenset[Path]:
    """The modules of the same package that one imports by name."""
    package = path.parent
    while (package.parent / "__init__.py").is_file():
        package = package.parent
    found = set()
    for origin, names, plain in _IMPORT.findall(path.read_text(encoding="utf-8")):
        module = origin or plain
        if module.split(".")[0] != package.name:
            continue
        asked = [module, *(f"{module}.{name}" for name in re.findall(r"\w+", names))]
        found |= {place for name in asked if (place := _module_file(package, name)) is not None}
    return frozenset(found)


def _module_file(package: Path, name: str) -> Path | None:
    place = package.parent.joinpath(*name.split("."))
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((each for each in candidates if each.is_file()), None)
