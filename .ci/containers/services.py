"""The services of docker-compose.yml, and what an image holds."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from dockerfile import ROOT, filled
from images import Image, entered, inside, mount

HEALTHY_WITHIN_S, STOPPED_WITHIN_S = 300.0, 30.0


class Services:
    """The services of docker-compose.yml, each a process in the files of its image."""

    def __init__(self, folder: Path, images: dict[str, Image], given: dict[str, str]) -> None:
        self.folder, self.images = folder, images
        text = (ROOT / "docker-compose.yml").read_text()
        self.services: dict[str, Any] = yaml.safe_load(filled(text, given))["services"]
        self.roots: dict[str, Path] = {}
        self.running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.volumes = folder / "volumes"
        shutil.rmtree(self.volumes, ignore_errors=True)

    def image(self, name: str) -> Image:
        """The image of a service with the environment that the file adds."""
        service = self.services[name]
        image = self.images[service["build"]["target"]]
        added = {key: str(value) for key, value in service.get("environment", {}).items()}
        return replace(image, environment={**image.environment, **added})

    def command_line(self, name: str, root: Path, command: list[str]) -> list[str]:
        """How ``command`` runs in a container of the service."""
        bound = self.services[name].get("cap_drop") == ["ALL"]
        return entered(root, self.image(name), command, extra={}, bound=bound)

    @contextmanager
    def container(self, name: str) -> Iterator[Path]:
        """Files of a new container: read-only if the file says so, volumes in their places."""
        service, image = self.services[name], self.image(name)
        with tempfile.TemporaryDirectory(prefix=f"skyloom-{name}-") as here:
            top = Path(here) / "top"
            volumes = [each.split(":") for each in service.get("volumes", [])]
            for _, place, *_ in volumes:
                self._fill(image, *(each for each in volumes if each[1] == place))
                inside(top, place).mkdir(parents=True, exist_ok=True)
            (top / "etc").mkdir(parents=True, exist_ok=True)
            hosts = "127.0.0.1 localhost " + " ".join(self.services)
            (top / "etc/hosts").write_text(f"{hosts}\n")
            layered = replace(image, layers=(top, *image.layers))
            upper = None if service.get("read_only") else Path(here) / "upper"
            if upper:
                upper.mkdir()
            with layered.mounted(upper) as root:
                for source, place, *options in volumes:
                    mount("--bind", self._source(source), inside(root, place))
                    if "ro" in options:
                        mount("-o", "remount,bind,ro", inside(root, place))
                for place in service.get("tmpfs", []):
                    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", inside(root, place))
                yield root

    def _source(self, source: str) -> Path:
        return Path(source) if source.startswith("/") else self.volumes / source

    def _fill(self, image: Image, volume: list[str]) -> None:
        """A volume that is new holds what the image has at its place, as engines do."""
        source, place = self._source(volume[0]), volume[1]
        if source.exists():
            return
        source.mkdir(parents=True)
        with image.mounted() as root:
            if inside(root, place).exists():
                subprocess.run(["cp", "-a", f"{inside(root, place)}/.", source], check=True)
                shutil.copystat(inside(root, place), source)
                told = inside(root, place).stat()
                os.chown(source, told.st_uid, told.st_gid)

    def start(self, name: str, root: Path) -> None:
        """Start the service and wait until its health check, if any, is content."""
        service = self.services[name]
        command = [str(each) for each in service.get("command", self.image(name).command)]
        log = (self.folder / f"{name}.log").open("ab")
        begun_s = time.monotonic()
        line = self.command_line(name, root, command)
        process = subprocess.Popen(line, stdout=log, stderr=log)
        self.running.append((name, process))
        check = self._health(name)
        while (
            check
            and subprocess.run(
                self.command_line(name, root, list(check)), capture_output=True, check=False
            ).returncode
        ):
            if process.poll() is not None or time.monotonic() - begun_s > HEALTHY_WITHIN_S:
                raise SystemExit(f"{name}: {(self.folder / f'{name}.log').read_text()}")
            time.sleep(0.5)
        state = f"healthy after {time.monotonic() - begun_s:.1f} s" if check else "started"
        print(f"{name}: {shlex.join(command)}  ({state})", flush=True)

    def _health(self, name: str) -> tuple[str, ...]:
        told = self.services[name].get("healthcheck", {})
        if told.get("disable"):
            return ()
        test = told.get("test")
        return tuple(map(str, test[1:])) if test else self.image(name).health

    def run(self, name: str, root: Path, *command: str) -> str:
        """What a command in a container prints. Raises SystemExit when it fails."""
        line = self.command_line(name, root, list(command))
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{shlex.join(command)}: {done.stdout}\n{done.stderr}")
        return done.stdout

    def stop(self) -> None:
        """SIGTERM (SIGINT for the database, as its image says) and wait, the last first."""
        for name, process in reversed(self.running):
            kind = signal.SIGINT if name == "database" else signal.SIGTERM
            begun_s = time.monotonic()
            send(process, kind)
            process.wait(timeout=STOPPED_WITHIN_S)
            print(f"{name}: stopped in {time.monotonic() - begun_s:.1f} s", flush=True)


def send(process: subprocess.Popen[bytes], kind: signal.Signals) -> None:
    """A signal to the first process of a container, with which all others end; ``process`` is the
    one that made its namespaces."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in map(int, children):
        os.kill(child, kind)
