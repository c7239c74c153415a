"""Images: layers of files over a base that is made from Debian's packages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

DEBIAN = "bookworm"
# What python:3.12-slim-bookworm has beside the smallest Debian.
PYTHON_NEEDS = (
    "ca-certificates netbase tzdata libbz2-1.0 libffi8 liblzma5 libncursesw6 libreadline8 "
    "libsqlite3-0 libssl3 libuuid1 zlib1g"
)
BASES = {"debian:bookworm-slim": "", "python:3.12-slim-bookworm": PYTHON_NEEDS}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Image:
    """Layers (the upper first) and what the Dockerfile says of the process."""

    layers: tuple[Path, ...]
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    user: str = "root"
    folder: str = "/"
    command: tuple[str, ...] = ()
    health: tuple[str, ...] = ()
    python: Path | None = None

    @contextmanager
    def mounted(self, upper: Path | None = None) -> Iterator[Path]:
        """Its files at a path while the block runs; what is written goes to ``upper``, if any."""
        with tempfile.TemporaryDirectory(prefix="skyloom-root-") as here:
            lower = ":".join(map(str, self.layers))
            options = f"lowerdir={lower}"
            if upper is not None:
                work = upper.with_suffix(".work")
                work.mkdir(parents=True, exist_ok=True)
                options += f",upperdir={upper},workdir={work}"
            mount("-t", "overlay", "overlay", "-o", options, here)
            try:
                mount("--rbind", "/dev", f"{here}/dev")
                if self.python:
                    mount("--bind", self.python, f"{here}/usr/local")
                yield Path(here)
            finally:
                subprocess.run(["umount", "--recursive", "--lazy", here], check=True)


def mount(*words: object) -> None:
    """mount(8). Raises CalledProcessError."""
    subprocess.run(["mount", *map(str, words)], check=True)


@contextmanager
def seen(path: Path, place: Path) -> Iterator[None]:
    """A file or folder of this machine at a place of an image, where nothing of it is left."""
    made = [each for each in (place, *place.parents) if not each.exists()]
    if path.is_dir():
        place.mkdir(parents=True, exist_ok=True)
    elif made:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    mount("--bind", "-o", "ro", path.resolve(), place)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)
        for each in made:
            if each.is_file():
                each.unlink()
            elif not any(each.iterdir()):  # the step itself may have put something there
                each.rmdir()


def inside(root: Path, path: str) -> Path:
    """``path`` of an image below ``root``."""
    return root / os.path.normpath(path).lstrip("/")


def prefix(interpreter: Path) -> Path:
    """The folder that an interpreter is installed in. Raises CalledProcessError."""
    asked = [str(interpreter), "-c", "import sys; print(sys.base_prefix)"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True)
    return Path(told.stdout.strip())


def base_image(name: str, folder: Path, python: Path) -> Image:
    """The smallest Debian with what the base image has; kept in ``folder`` for the next time."""
    here = folder / re.sub(r"\W", "-", name)
    if not here.exists():
        fresh = here.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        include = [f"--include={','.join(BASES[name].split())}"] if BASES[name] else []
        sources = map(str, Path("/etc/apt/sources.list.d").glob("debian.sources"))
        command = ["mmdebstrap", "--quiet", "--variant=minbase", *include, DEBIAN, str(fresh)]
        subprocess.run([*command, *sources], check=True)
        for gone in ("bin/python3", "lib/python3"):
            if (fresh / "usr" / gone).exists():
                raise SystemExit(f"{name}: Debian's own {gone} is in it")
        fresh.rename(here)
    if not name.startswith("python"):
        return Image((here,))
    image = Image((here,), python=prefix(python))
    with seen(prefix(python), here / "usr/local"):  # its libraries are found by their names
        subprocess.run(["ldconfig", "-r", str(here)], check=True)
    return image


def entered(
    root: Path, image: Image, command: list[str], *, extra: dict[str, str], bound: bool = False
) -> list[str]:
    """The command line that runs ``command`` in ``root`` as the user of ``image``.

    With ``bound`` as docker-compose.yml has it: no capabilities and no way to new ones.
    """
    user, _, group = image.user.partition(":")
    home, ids = account(root, user)
    environment = {"HOME": home, **image.environment, **extra}
    limits = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"] if bound else []
    return [
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", f"--root={root}"),
        *(f"--wd={image.folder}", "--mount-proc", "--"),
        *("setpriv", f"--reuid={ids[0]}", f"--regid={group or ids[1]}", "--clear-groups", *limits),
        *("env", "-i", *(f"{name}={value}" for name, value in environment.items()), *command),
    ]


def account(root: Path, user: str) -> tuple[str, tuple[str, str]]:
    """Home and numbers of a user by name or number, from the image's own passwd."""
    for line in (root / "etc/passwd").read_text().splitlines():
        name, _, number, group, _, home, _ = line.split(":")
        if user in (name, number):
            return home, (number, group)
    raise SystemExit(f"the image has no user {user}")
