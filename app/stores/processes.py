"""Which server process holds something, and whether that process is gone.

A process is known by the run of its kernel, its process namespace, its number and the moment of its
start: only within one namespace of one run do numbers mean anything, and numbers are given again.
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE: Final = Path("/proc/self/ns/pid")
_START_FIELD: Final = 22
"""Of ``/proc/PID/stat``, counted from 1: clock ticks from the start of the kernel."""


def make_owner_name() -> str:
    """A name that nobody else has, from which :func:`is_gone` knows this process."""
    pid = os.getpid()
    return f"{_namespace()}/{pid}/{_started(pid)}/{uuid.uuid4().hex[:8]}"


def is_gone(owner: str) -> bool:
    """Whether the process that named itself so has certainly ended: False for one that cannot be
    seen from here, on another machine, in another container or before a reboot."""
    namespace, _, rest = owner.partition("/")
    pid, _, rest = rest.partition("/")
    started = rest.partition("/")[0]
    if not namespace or namespace != _namespace() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return _started(int(pid)) not in {started, ""}


@cache
def _namespace() -> str:
    """Empty where the system does not tell."""
    with suppress(OSError):
        return f"{_BOOT.read_text().strip()}:{_NAMESPACE.readlink()}"
    return ""


def _started(pid: int) -> str:
    """When the process started, or that it has ended and waits to be noticed; empty where the
    system does not tell."""
    with suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        # The name of the program, in parentheses, may hold blanks and parentheses.
        state, *fields = stat.rpartition(")")[2].split()
        return "ended" if state in "ZX" else fields[_START_FIELD - 4]
    return ""
