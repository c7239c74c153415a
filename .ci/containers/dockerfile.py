"""The steps of a Dockerfile."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from images import Image, base_image, entered, inside, seen

ROOT = Path(__file__).parents[2]


def instructions(text: str) -> list[tuple[str, str]]:
    """(word, rest) of each instruction of a Dockerfile; lines that go on are joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in
            (line.partition(" ") for line in joined.splitlines() if line.strip())]  # fmt: skip


def filled(text: str, values: dict[str, str]) -> str:
    """``text`` with $NAME, ${NAME}, ${NAME:-else} and ${NAME:?why} put in."""

    def put(found: re.Match[str]) -> str:
        name, rule, word = found[1] or found[2], found[3], found[4]
        if name in values or rule is None:
            return values.get(name, "")
        if rule == ":?":
            raise SystemExit(f"{name}: {word}")
        return word

    return re.sub(r"\$(?:(\w+)|\{(\w+)(?:(:[-?])([^}]*))?\})", put, text)


class Builder:
    """Runs the stages of a Dockerfile, one after the other."""

    def __init__(self, folder: Path, visible: list[Path], python: Path) -> None:
        self.folder, self.visible, self.python = folder, visible, python
        self.images: dict[str, Image] = {}
        self.context = folder / "context"
        make_context(self.context)

    def build(self, text: str) -> dict[str, Image]:
        """Image of each stage by name. Raises CalledProcessError for a step that fails."""
        stages: list[tuple[str, str, list[tuple[str, str]]]] = []
        for word, rest in instructions(text):
            if word == "FROM":
                base, _, name = rest.partition(" AS ")
                stages.append((name, base, []))
            else:
                stages[-1][2].append((word, rest))
        for stage in stages:
            self._stage(*stage)
        return self.images

    def _stage(self, name: str, base: str, steps: list[tuple[str, str]]) -> None:
        image = self.images.get(base) or base_image(base, self.folder, self.python)
        upper = self.folder / name
        for leftover in (upper, upper.with_suffix(".work")):
            shutil.rmtree(leftover, ignore_errors=True)
        upper.mkdir()
        arguments: dict[str, str] = {}
        with image.mounted(upper) as root:
            for word, rest in steps:
                begun_s = time.monotonic()
                image = self._step(root, image, arguments, word, rest)
                took_s = time.monotonic() - begun_s
                print(f"{name}: {word} {rest[:100]}  ({took_s:.1f} s)", flush=True)
        self.images[name] = replace(image, layers=(upper, *image.layers))

    def _step(
        self, root: Path, image: Image, arguments: dict[str, str], word: str, rest: str
    ) -> Image:
        known = {**image.environment, **arguments}
        if word == "RUN":
            self._run(root, image, arguments, rest)
        elif word == "COPY":
            self._copy(root, image, filled(rest, known).split())
        elif word == "ARG":
            key, _, value = rest.partition("=")
            arguments[key] = filled(value, known)
        elif word == "ENV":
            given = dict(part.split("=", 1) for part in shlex.split(filled(rest, known)))
            return replace(image, environment={**image.environment, **given})
        elif word == "USER":
            return replace(image, user=rest)
        elif word == "WORKDIR":
            inside(root, rest).mkdir(parents=True, exist_ok=True)
            return replace(image, folder=rest)
        elif word == "CMD":
            return replace(image, command=tuple(json.loads(rest)))
        elif word == "HEALTHCHECK":
            return replace(image, health=health_command(rest.partition("CMD ")[2]))
        elif word not in ("LABEL", "VOLUME", "EXPOSE", "STOPSIGNAL"):
            raise SystemExit(f"{word}: an instruction that is not known here")
        return image

    def _run(self, root: Path, image: Image, arguments: dict[str, str], line: str) -> None:
        """One RUN, with the network and the settings of this machine's mirrors."""
        mirrors = {name: value for name, value in os.environ.items()
                   if name.lower().startswith(("pip_", "npm_config_"))}  # fmt: skip
        with ExitStack() as shown:
            for path in (*self.visible, Path("/etc/resolv.conf"), Path("/etc/hosts")):
                shown.enter_context(seen(path, inside(root, str(path))))
            command = ["/bin/sh", "-c", line]
            entering = entered(root, image, command, extra={**mirrors, **arguments})
            done = subprocess.run(entering, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"RUN {line}: status {done.returncode}\n{done.stdout}\n{done.stderr}")

    def _copy(self, root: Path, image: Image, words: list[str]) -> None:
        if words[0].startswith("--from="):
            with self.images[words.pop(0).partition("=")[2]].mounted() as source:
                self._copy_from(source, root, image, words)
        else:
            self._copy_from(self.context, root, image, words)

    def _copy_from(self, source: Path, root: Path, image: Image, words: list[str]) -> None:
        *names, target = words
        to = inside(root, target if target.startswith("/") else f"{image.folder}/{target}")
        for name in names:
            path = source / name.lstrip("/")
            if path.is_dir():
                to.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "-a", f"{path}/.", to], check=True)
            else:
                place = to / path.name if target.endswith("/") else to
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, place)
                os.chown(place, 0, 0)


def health_command(text: str) -> tuple[str, ...]:
    """Words of a health check, in the form of a list or of a line for the shell."""
    return tuple(json.loads(text)) if text.startswith("[") else ("/bin/sh", "-c", text)


def make_context(folder: Path) -> None:
    """What is committed, less what .dockerignore leaves out."""
    shutil.rmtree(folder, ignore_errors=True)
    rules = [
        (line.startswith("!"), re.compile(as_pattern(line.lstrip("!"))))
        for line in (ROOT / ".dockerignore").read_text().split("\n")
        if line and not line.startswith("#")
    ]
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        above = [name, *(str(each) for each in Path(name).parents)]
        kept = True
        for keeps, pattern in rules:
            kept = keeps if any(pattern.fullmatch(each) for each in above) else kept
        if kept:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def as_pattern(rule: str) -> str:
    """Regular expression for a line of .dockerignore."""
    return re.escape(rule).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
