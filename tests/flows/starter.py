"""``skyloom`` processes that begin as copies of one which has imported what they all import.

A process of its own, without threads, imports the server, makes one database and then forks: each
copy gets its own words, environment and output, runs ``app.cli`` as ``python -m`` does, and ends as
Python ends. ``app.cli`` and what lies beside it ask for the environment when they are imported:
each copy imports them itself.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final

ROOT: Final = Path(__file__).parents[2]
IMPORTED: Final = (
    "app.main",
    "app.server",
    "app.wiring_warm",
    "rich.progress",
    "typer._click.decorators",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
)
_WIDTH: Final = 8
"""Characters of each number that is told."""


class Started:
    """One process, as :class:`subprocess.Popen` shows its own."""

    def __init__(self, told: socket.socket) -> None:
        self._told = told
        self.pid = int(told.recv(_WIDTH))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; minus the signal's number if one ended it. Raises TimeoutExpired."""
        if self.returncode is None:
            self._told.settimeout(timeout)
            try:
                self.returncode = int(self._told.recv(_WIDTH))
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired("skyloom", timeout or 0) from None
            self._told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


class Starter:
    """The process that is copied."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "tests.flows.starter", str(theirs.fileno())]
            nothing = subprocess.DEVNULL
            self._process = subprocess.Popen(
                command, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=nothing, stdout=nothing
            )

    def start(
        self, words: Sequence[str], environment: Mapping[str, str], out: IO[Any], err: IO[Any]
    ) -> Started:
        """Start ``skyloom`` with these words in a session of its own."""
        ours, theirs = socket.socketpair()
        with theirs:
            handed = [theirs.fileno(), out.fileno(), err.fileno()]
            socket.send_fds(self._ours, [b"!"], handed)
        request = {"words": list(words), "environment": dict(environment), "cwd": str(Path.cwd())}
        ours.sendall(json.dumps(request).encode())
        ours.shutdown(socket.SHUT_WR)
        return Started(ours)


@lru_cache(maxsize=1)
def starter() -> Starter:
    """That of this process, which ends with it."""
    return Starter()


def _serve(control: socket.socket) -> tuple[list[str], dict[str, str]]:
    """Fork at every request; returns in the copy, with its words and environment."""
    while True:
        message, handed, _, _ = socket.recv_fds(control, 1, 3)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            control.close()
            return _keep(*handed)
        for number in handed:
            os.close(number)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _keep(told: int, out: int, err: int) -> tuple[list[str], dict[str, str]]:
    """The copy's parent tells its number, then its exit status."""
    with socket.socket(fileno=told) as asker:
        with asker.makefile("rb") as lines:
            request = json.load(lines)
        child = os.fork()
        if child:
            asker.sendall(f"{child:{_WIDTH}}".encode())
            _, status = os.waitpid(child, 0)
            asker.sendall(f"{os.waitstatus_to_exitcode(status):{_WIDTH}}".encode())
            os._exit(0)
    os.setsid()
    for given, number in ((out, 1), (err, 2)):
        os.dup2(given, number)
        os.close(given)
    os.chdir(request["cwd"])
    return request["words"], request["environment"]


def _make_database() -> None:
    """What commands do first; afterwards no thread is left, for threads are not copied."""
    from app.config import Config
    from app.wiring_database import initialise

    with tempfile.TemporaryDirectory() as folder:
        initialise(Config(data_dir=Path(folder)))
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                thread.join()


def _main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    before = dict(os.environ)
    for name in IMPORTED:
        import_module(name)
    _make_database()
    made = {name: value for name, value in os.environ.items() if name not in before}
    gc.freeze()
    words, environment = _serve(control)
    os.environ.clear()
    os.environ.update(made | environment)
    sys.argv = ["skyloom", *words]
    runpy.run_module("app.cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
