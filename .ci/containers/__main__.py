"""Every step of the Dockerfile and every service of docker-compose.yml, run without an engine.

    python .ci/containers [--folder DIR] [--python PYTHON] [--visible PATH …] \\
        > docs/containers-transcript.md                                   (as root, on Linux)

Two base images are made from Debian's packages (mmdebstrap): Debian itself and, with ``--python``
of this machine at /usr/local, what python:3.12-slim-bookworm is. Each stage of the Dockerfile
is a layer over its base, so that what the image adds can be listed. The services run in a network
of their own, with their users, without capabilities, on read-only roots, as docker-compose.yml
says; then images are published, asked for and made into a template, and all is stopped.

``--visible`` are folders and files of this machine that its mirrors of packages need (settings,
certificates); build steps see them, and its PIP_* and npm_config_* variables; images do not.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

from dockerfile import ROOT, Builder
from images import Image, mount
from services import Services, send

NEW_MOUNTS, NEW_NETWORK = 0x00020000, 0x40000000  # CLONE_NEWNS, CLONE_NEWNET of sched.h
SET_FLAGS, IS_UP = 0x8914, 1  # SIOCSIFFLAGS, IFF_UP of net/if.h
ALLOWED = (
    r"(opt/skyloom|home/skyloom|var/lib/postgresql|var/log)/"
    r"|etc/(\.pwd\.lock|g?shadow-?|passwd-?|group-?|sub[ug]id-?)$"
)
"""What the image of the service has of its own."""
HEADING = """# The images and services, step by step

Made by `python .ci/containers`: each step of the [Dockerfile](../Dockerfile) and each service of
[docker-compose.yml](../docker-compose.yml), run without an engine, with the seconds they took.

```text"""
SECRET = r"(.*/)?(\.git|\.env|[^/]*\.(pem|key))(/.*)?"


def review(name: str, image: Image) -> None:
    """Print what an image adds to its base, by folder; refuse what has no business there."""
    upper = image.layers[0]
    sizes: dict[str, int] = {}
    for path in upper.rglob("*"):
        told = str(path.relative_to(upper))
        if path.is_file() and not path.is_symlink():
            folder = "/".join(told.split("/")[: 6 if "site-packages" in told else 3])
            sizes[folder] = sizes.get(folder, 0) + path.stat().st_size
            foreign = name == "service" and not re.match(ALLOWED, told)
            if foreign or (re.fullmatch(SECRET, told) and "site-packages" not in told):
                raise SystemExit(f"{name} holds /{told}")
    print(f"\n{name}: {sum(sizes.values()) / 2**20:.0f} MiB over its base; the largest folders:")
    for folder, size in sorted(sizes.items(), key=lambda each: -each[1])[:12]:
        print(f"  {size / 2**20:7.1f} MiB  /{folder}")


def ask(path: str, **parameters: str) -> bytes:
    """What the service answers to GET."""
    query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
    with urllib.request.urlopen(f"http://127.0.0.1:8000{path}{query}", timeout=600) as answer:
        content: bytes = answer.read()
    return content


def look_inside(services: Services, root: Path) -> None:
    """What a process of the service may do: nothing but what docker-compose.yml says."""
    status = services.run("service", root, "cat", "/proc/self/status")
    told = {line.split(":")[0]: line.split()[1:] for line in status.splitlines()}
    for name, wanted in (("Uid", "10001"), ("CapEff", "0" * 16), ("CapBnd", "0" * 16),
                         ("NoNewPrivs", "1")):  # fmt: skip
        if told[name][0] != wanted:
            raise SystemExit(f"{name} is {told[name][0]}")
    tried = "touch /opt/skyloom/x || touch /home/skyloom/x || touch /images/x || echo refused"
    if "refused" not in services.run("service", root, "/bin/sh", "-c", tried):
        raise SystemExit("the root can be written to")
    print("service: user 10001, no capabilities, root and images read-only")


def use(services: Services, root: Path, collection: str) -> None:
    """Publish, ask and build, as somebody would."""
    command = ("skyloom", "ingest", "/images", "--collection", collection)
    services.run("service", root, *command)
    print(" ".join(command))
    query = f"SELECT obs_publisher_did FROM ivoa.ObsCore WHERE obs_collection='{collection}'"
    rows = ask("/tap/sync", LANG="ADQL", QUERY=query, FORMAT="csv").decode().split()[1:]
    print(f"TAP: {len(rows)} images")
    begun_s = time.monotonic()
    template = ask("/builds/template/sync", ID=rows[0])
    print(f"template: {len(template)} bytes from the worker in {time.monotonic() - begun_s:.0f} s")
    if not template.startswith(b"SIMPLE  ="):
        raise SystemExit(template[:500].decode(errors="replace"))


def serve(folder: Path, images: dict[str, Image]) -> None:
    """The services up, used and down, in a network of their own."""
    alone(NEW_NETWORK)
    with socket.socket() as one:  # the new network's loopback is down
        fcntl.ioctl(one, SET_FLAGS, struct.pack("16sh14x", b"lo", IS_UP))
    fits = folder / "images"
    shutil.rmtree(fits, ignore_errors=True)
    making = "import sys, pathlib; from benchmarks.faults import sky; " \
        "sky.write_field(pathlib.Path(sys.argv[1])); print(sky.COLLECTION)"  # fmt: skip
    made = [sys.executable, "-c", making, str(fits)]
    named = subprocess.run(made, cwd=ROOT, capture_output=True, text=True, check=True)
    given = {"POSTGRES_PASSWORD": "a$long'one", "IMAGES": str(fits)}
    services = Services(folder, images, given)
    with (
        services.container("database") as database,
        services.container("scheduler") as scheduler,
        services.container("worker") as worker,
        services.container("worker") as second,
        services.container("service") as service,
    ):
        try:
            for name, root in (("database", database), ("scheduler", scheduler),
                               ("worker", worker), ("worker", second),
                               ("service", service)):  # fmt: skip
                services.start(name, root)
            look_inside(services, service)
            use(services, service, named.stdout.strip())
            services.stop()
        finally:
            for _, process in services.running:
                if process.poll() is None:
                    send(process, signal.SIGKILL)


def alone(flags: int) -> None:
    """Leave the mounts or the network of this machine, for this process and what it starts."""
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        raise OSError(ctypes.get_errno(), "unshare: it takes root")


def main() -> None:
    """Build, list, serve; see the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp/skyloom-containers"))
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--visible", type=Path, action="append", default=[])
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    alone(NEW_MOUNTS)
    mount("--make-rprivate", "/")
    print(HEADING, flush=True)
    images = Builder(given.folder, given.visible, given.python).build(
        (ROOT / "Dockerfile").read_text()
    )
    for name in ("database", "service"):
        review(name, images[name])
    print()
    serve(given.folder, images)
    print("```")


if __name__ == "__main__":
    main()
