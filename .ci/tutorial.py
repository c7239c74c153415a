"""Follow the tutorial to the letter and keep what was said: docs/tutorial-transcript.md.

    python .ci/tutorial.py [CLONE]

The committed state of the repository is cloned into an empty folder and installed there as the
tutorial tells, unless a CLONE is named where this was done; then every block of docs/tutorial.md
runs in one shell in an empty folder, with the time that it took. Only the port is another; in the
transcript it is the one of the page again.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "tutorial.md"
TRANSCRIPT: Final = ROOT / "docs" / "tutorial-transcript.md"
HOME: Final = "~/hilltop"
PORT: Final = "8000"
_BLOCK: Final = re.compile(r"^(?:## ([^\n]+)|```(bash|python)\n(.*?)^```)$", re.M | re.S)
_HEAD: Final = """# The tutorial, as it went

Made by `python .ci/tutorial.py`: the [tutorial](tutorial.md) followed to the letter, from a clone
of the repository on. What was typed is marked with `$`, or is a program for `python`; the rest is
what the commands said.
"""


class Shell:
    """A shell that is typed into, as one session; its folder is empty at first."""

    def __init__(self, folder: Path) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SKYLOOM_", "PYTHON"))}
        self._mark = f"--{os.urandom(8).hex()}--"
        self._process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=kept,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def type(self, text: str) -> tuple[str, float]:
        """What some lines say, and the seconds that they took. Ends with 1 when they fail."""
        assert self._process.stdin and self._process.stdout
        begun = time.monotonic()
        self._process.stdin.write(f"{text.rstrip()}\necho {self._mark}$?\n")
        self._process.stdin.flush()
        said = ""
        for line in self._process.stdout:
            before, found, status = line.partition(self._mark)
            said += before
            if found:
                if status.strip() != "0":
                    sys.exit(f"{text}\n{said}status {status}")
                return said, time.monotonic() - begun
        sys.exit(f"the shell ended\n{text}\n{said}")

    def close(self) -> None:
        """Stop what was left running."""
        self.type("kill $(jobs -p); wait; true")
        self._process.communicate()


def steps() -> Iterator[tuple[str, str, str]]:
    """(heading, language, code) of each block of the page; a heading is told once."""
    heading = ""
    for found in _BLOCK.finditer(PAGE.read_text()):
        if found[1]:
            heading = found[1]
        else:
            yield heading, found[2], found[3]
            heading = ""


def shown(title: str, typed: str, language: str, said: str, seconds: float) -> str:
    """One step as the page has it."""
    text = f"\n## {title}\n" if title else ""
    told = "" if language == "python" else "".join(f"$ {each}\n" for each in commands(typed))
    block = f"\n```{language}\n{typed}```\n" if language == "python" else ""
    rest = told + said
    if rest.strip():
        block += f"\n```text\n{rest.rstrip()}\n```\n"
    return f"{text}{block}\n{seconds:.1f} s\n"


def commands(typed: str) -> Iterator[str]:
    """Commands with what goes on in further lines."""
    open_lines: list[str] = []
    end = ""
    for line in typed.splitlines():
        open_lines.append(line)
        here = re.search(r"<<'(\w+)'", line)
        end = here[1] if here else end
        quotes = "\n".join(open_lines).count('"') % 2
        if line == end or not (end or quotes or line.endswith("\\")):
            yield "\n".join(open_lines)
            open_lines, end = [], ""


def free_port() -> int:
    """A port that nobody listens to."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def clone_into(folder: Path) -> Path:
    """A clone of the repository."""
    clone = folder / "skyloom"
    subprocess.run(["git", "clone", "--quiet", "--depth=1", ROOT.as_uri(), clone], check=True)
    return clone


def follow(clone: Path, folder: Path) -> str:
    """The transcript."""
    port = str(free_port())
    empty = folder / "hilltop"
    empty.mkdir()
    shell = Shell(empty)
    shell.type(f"make --silent -C {shlex.quote(str(clone))} install")
    shell.type(f'export PATH={shlex.quote(str(clone))}/.venv/bin:"$PATH"')
    parts = ["\n## Install\n\n```text\n$ make install\n```\n"]
    begun = time.monotonic()
    for title, language, code in steps():
        typed = code.replace(f":{PORT}", f":{port}").replace(f"--port {PORT}", f"--port {port}")
        if language == "python":
            typed = f"python - <<'END_OF_PYTHON'\n{typed}END_OF_PYTHON\n"
        said, seconds = shell.type(typed)
        said = said.replace(port, PORT).replace(str(empty), HOME).replace(str(clone), "~/skyloom")
        parts.append(shown(title, code, language, said, seconds))
    spent = time.monotonic() - begun
    shell.close()
    minutes = f"\nAfter the installation it took {spent / 60:.1f} minutes.\n"
    return _HEAD + minutes + "".join(parts)


def main() -> None:
    """See above."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(sys.argv[1]) if sys.argv[1:] else clone_into(Path(folder))
        TRANSCRIPT.write_text(follow(clone, Path(folder)))


if __name__ == "__main__":
    main()
