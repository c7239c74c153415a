"""A private PostgreSQL server for the tests: found on the machine, started in a temporary folder,
reached by a Unix socket, gone afterwards."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

OLDEST = 15

SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "autovacuum": "off",
}


@lru_cache(maxsize=1)
def find_postgres() -> Path | str:
    """The folder with initdb and postgres, 15 or newer; else what is missing."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_major, reverse=True)
    for prefix in ("/opt/homebrew/opt", "/usr/local/opt"):
        folders += sorted(Path(prefix).glob("postgresql@*/bin"), key=_major, reverse=True)
    on_path = shutil.which("pg_config")
    if on_path:
        folders.append(Path(_output(on_path, "--bindir")))
    reasons = [_unusable(folder) for folder in folders]
    for folder, reason in zip(folders, reasons, strict=True):
        if reason is None:
            return folder
    return next((reason for reason in reasons if reason), "no PostgreSQL 15 or newer installed")


def _major(folder: Path) -> int:
    found = re.search(r"(\d+)/bin$", str(folder))
    return int(found.group(1)) if found else 0


def _unusable(folder: Path) -> str | None:
    """Why the server programs of a folder will not do."""
    if not all((folder / name).exists() for name in ("initdb", "pg_ctl", "postgres", "pg_config")):
        return f"{folder} holds no server"
    version = re.search(r"\d+", _output(str(folder / "postgres"), "--version"))
    if version is None or int(version.group()) < OLDEST:
        return f"{folder} is older than PostgreSQL {OLDEST}"
    return None


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@dataclass(frozen=True)
class PostgresServer:
    """A server on which databases may be created. ``admin_url`` names one to connect to; of a
    private one ``data`` is its folder and ``start`` starts it again."""

    admin_url: str
    data: Path | None = None
    start: Callable[[], None] | None = None

    def create(self, *, template: str | None = None) -> str:
        """A new database, empty or copied; its URL."""
        name = f"skyloom_test_{uuid.uuid4().hex[:12]}"
        suffix = f" TEMPLATE {database_name(template)}" if template else ""
        self._run(f"CREATE DATABASE {name}{suffix}")
        return self.url_of(name)

    def drop(self, url: str) -> None:
        """Drop a database, whoever is connected to it."""
        self._run(f"DROP DATABASE IF EXISTS {database_name(url)} WITH (FORCE)")

    def url_of(self, database: str) -> str:
        """URL of one of the server's databases."""
        url = sa.make_url(self.admin_url).set(database=database)
        return url.render_as_string(hide_password=False)

    def _run(self, statement: str) -> None:
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            connection.execute(statement.encode())


def database_name(url: str) -> str:
    """The database a URL names."""
    return str(sa.make_url(url).database)


@contextmanager
def private_server(
    bin_dir: Path, *, kept: Path | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[PostgresServer]:
    """Start a server of one's own; stop and remove it at the end.

    With ``kept`` the data lie there and stay for the next time.
    """
    # A Unix socket's path may have about 100 characters: pytest's own folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="skyloom-pg-"))
    home = kept or folder
    home.mkdir(parents=True, exist_ok=True)
    account = _unprivileged_account()
    if account:
        for each in {folder, home}:
            os.chown(each, account["user"], account["group"])
    data = home / "data"
    try:
        if not (data / "PG_VERSION").exists():
            _run(_initdb(bin_dir, str(data)), account)
        chosen = {**SETTINGS, **(settings or {})}
        options = " ".join(f"-c {name}='{value}'" for name, value in chosen.items())
        pg_ctl = str(bin_dir / "pg_ctl")
        begin = [pg_ctl, "-D", str(data), "-w", "-t", "60", "-l", str(folder / "log")]

        def start() -> None:
            _run([*begin, "-o", f"{options} -k {folder}", "start"], account)

        start()
        mode = "immediate" if kept is None else "fast"
        address = f"postgresql://skyloom@/postgres?host={folder}"
        try:
            yield PostgresServer(admin_url=address, data=data, start=start)
        finally:
            _run([pg_ctl, "-D", str(data), "-m", mode, "-w", "stop"], account)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _initdb(bin_dir: Path, data: str) -> list[str]:
    """A database whose default collation is linguistic, as servers commonly have: what Skyloom
    sorts must not depend on it."""
    command = [str(bin_dir / "initdb"), "-D", data, "-U", "skyloom", "-A", "trust", "--no-sync"]
    if "icu" in _output(str(bin_dir / "pg_config"), "--configure"):
        return [*command, "-E", "UTF8", "--locale-provider=icu", "--icu-locale=en-US", "--locale=C"]
    return [*command, "-E", "UTF8", "--locale=C"]


def _unprivileged_account() -> dict[str, Any]:
    """initdb and postgres refuse to run as root: the account to use instead."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _run(command: list[str], account: dict[str, Any]) -> None:
    done = subprocess.run(
        command,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if "start" not in command else subprocess.DEVNULL,
        stderr=subprocess.STDOUT if "start" not in command else subprocess.DEVNULL,
        text=True,
        check=False,
        **account,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stdout}")
