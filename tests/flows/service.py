"""A real ``skyloom serve`` in its own process, as a user would have it."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.flows.starter import Started, starter
from tests.waiting import wait_for, web

COMMAND = (sys.executable, "-m", "app.cli")


def in_tests() -> bool:
    """Whether pytest runs: benchmarks measure processes that import what they need themselves."""
    return "PYTEST_VERSION" in os.environ


def free_port() -> int:
    """A loopback port that nobody listens on now, below those that the system gives to outgoing
    connections: a server that is stopped finds it free when it starts again."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class Service:
    """One running service over one data folder."""

    data_dir: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    prefix: tuple[str, ...] = ()
    """A command that the server runs under (to give it a small disk)."""
    process: subprocess.Popen[bytes] | Started | None = None

    @property
    def url(self) -> str:
        """Base address, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one ``skyloom`` command over the same data folder."""
        if not in_tests():
            return subprocess.run(
                [*COMMAND, *arguments], env=self._env(), text=True, capture_output=True, check=check
            )
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            status = starter().start(arguments, self._env(), out, err).wait()
            for each in (out, err):
                each.seek(0)
            done = subprocess.CompletedProcess(arguments, status, out.read(), err.read())
        if check:
            done.check_returncode()
        return done

    def start(self) -> Service:
        """Start serving and wait until the service says that it is available."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        serve = ["serve", "--port", str(self.port)]
        with (self.data_dir / "serve.log").open("ab") as log:
            if in_tests() and not self.prefix:
                self.process = starter().start(serve, self._env(), log, log)
            else:
                command = [*self.prefix, *COMMAND, *serve]
                self.process = subprocess.Popen(
                    command, env=self._env(), stdout=log, stderr=log, start_new_session=True
                )
        wait_for(self._answers)
        return self

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(self.log())
        with suppress(httpx.TransportError):
            return web.get(f"{self.url}/tap/availability").status_code == 200
        return False

    def stop(self) -> None:
        """Stop as an operator would; kill what does not go."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """SIGKILL the server and its workers: the machine went away."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def log(self) -> str:
        """What the server printed."""
        return (self.data_dir / "serve.log").read_text()

    def _env(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SKYLOOM_")}
        return kept | {"SKYLOOM_DATA_DIR": str(self.data_dir)} | dict(self.environment)
