"""Of a server that was killed it is known that it is gone, of no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from app.stores.processes import is_gone, make_owner_name

ROOT = Path(__file__).resolve().parents[2]
WAITING = """
from app.stores.processes import make_owner_name
print(make_owner_name(), flush=True)
input()
"""


def test_a_process_is_gone_once_it_was_killed() -> None:
    command = [sys.executable, "-c", WAITING]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        owner = process.stdout.readline().strip()
        assert not is_gone(owner)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(owner)  # also while nobody has taken notice of its end
        process.wait()
        assert is_gone(owner)


def test_a_number_that_was_given_again_is_another_process() -> None:
    namespace, pid, started, name = make_owner_name().split("/")
    assert not is_gone(f"{namespace}/{pid}/{started}/{name}")
    assert is_gone(f"{namespace}/{pid}/{int(started) - 1}/{name}")


def test_what_cannot_be_seen_from_here_is_not_gone() -> None:
    _, pid, started, name = make_owner_name().split("/")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for owner in (
        f"elsewhere/{ended.pid}/{started}/{name}",
        f"/{pid}/1/x",
        "host-12-ab",
        "",
        "///",
    ):
        assert not is_gone(owner)
