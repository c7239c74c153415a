"""Files elsewhere: what is read of them is right, little, shared, bounded, and faults are told."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.errors import ImageFormatError, RemoteUnavailableError, UsageError
from app.stores.remote.addresses import Address
from app.stores.remote.files import RemoteFiles
from tests.storages import Fault, HttpStorage, http_storage, make_files, s3_storage

CONTENT = np.random.default_rng(5).bytes(3_000_000)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[HttpStorage]:
    """One file of 3 MB."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.bin").write_bytes(CONTENT)
    with http_storage(tmp_path / "there") as made:
        yield made


def read(files: RemoteFiles, path: str, *spans: tuple[int, int]) -> list[bytes]:
    """Parts of a file."""
    with files.open(path) as opened:
        opened.need(spans)
        return [os.pread(opened.descriptor, stop - start, start) for start, stop in spans]


@pytest.mark.parametrize(
    "spans",
    [
        [(0, 1)],
        [(0, 3_000_000)],
        [(2_999_999, 3_000_000)],
        [(100, 900), (16_000, 16_800), (1_000_000, 1_000_001)],
        [(k * 4096 + 50, k * 4096 + 850) for k in range(200)],
        [(500_000, 2_700_000), (600_000, 600_001), (0, 600)],
    ],
)
def test_parts_are_those_of_the_file_and_fetched_once(
    tmp_path: Path, storage: HttpStorage, spans: list[tuple[int, int]]
) -> None:
    path, wanted = f"{storage.url}/a.bin", sum(stop - start for start, stop in spans)
    files = make_files(tmp_path / "kept")
    for _ in range(2):
        found = read(files, path, *spans)
        assert found == [CONTENT[start:stop] for start, stop in spans]
        assert storage.sent_bytes <= 2 * wanted + 1024 * len(spans)
    sent = storage.sent_bytes
    other = make_files(tmp_path / "kept")  # as another process of the same folder
    assert read(other, path, *spans) == [CONTENT[start:stop] for start, stop in spans]
    assert storage.sent_bytes == sent


def test_rows_are_not_joined_over_long_gaps_unless_told(
    tmp_path: Path, storage: HttpStorage
) -> None:
    rows = [(k * 16_384, k * 16_384 + 800) for k in range(100)]
    read(make_files(tmp_path / "one"), f"{storage.url}/a.bin", *rows)
    assert storage.requests["GET"] == 100
    assert storage.sent_bytes <= 100 * 1024
    storage.forget()
    read(make_files(tmp_path / "two", gap_bytes=16_384), f"{storage.url}/a.bin", *rows)
    assert storage.requests["GET"] == 1


def test_threads_that_need_the_same_fetch_it_once(tmp_path: Path, storage: HttpStorage) -> None:
    files, path = make_files(tmp_path / "kept"), f"{storage.url}/a.bin"
    span = (10_000, 90_000)
    with files.open(path), ThreadPoolExecutor(8) as threads:
        storage.gate.clear()
        storage.forget()
        found = [threads.submit(read, files, path, span) for _ in range(8)]
        storage.gate.set()
        assert {each.result()[0] for each in found} == {CONTENT[slice(*span)]}
    assert storage.requests["GET"] == 1


def test_two_processes_share_what_is_kept(tmp_path: Path, storage: HttpStorage) -> None:
    code = (
        "import sys, hashlib; sys.path.insert(0, '.')\n"
        "from pathlib import Path\n"
        "from tests.storages import make_files\n"
        "from tests.stores.test_remote_files import read\n"
        "spans = [(k * 9000, k * 9000 + 5000) for k in range(300)]\n"
        "found = read(make_files(Path(sys.argv[1])), sys.argv[2], *spans)\n"
        "print(hashlib.sha256(b''.join(found)).hexdigest())\n"
    )
    path = f"{storage.url}/a.bin"
    command = [sys.executable, "-c", code, str(tmp_path / "kept"), path]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    spans = [(k * 9000, k * 9000 + 5000) for k in range(300)]
    expected = b"".join(CONTENT[slice(*span)] for span in spans)
    for process in started:
        assert process.communicate()[0].strip() == hashlib.sha256(expected).hexdigest()
        assert process.returncode == 0
    storage.forget()
    assert b"".join(read(make_files(tmp_path / "kept"), path, *spans)) == expected
    assert storage.requests["GET"] == 0


def test_what_is_kept_is_bounded_and_what_is_open_stays(
    tmp_path: Path, storage: HttpStorage
) -> None:
    for number in range(12):
        (storage.folder / f"{number}.bin").write_bytes(CONTENT[number * 1000 :])
    files = make_files(tmp_path / "kept", cache_bytes=8_000_000)
    whole = (0, 2_900_000)
    with files.open(f"{storage.url}/0.bin") as first:
        first.need([whole])
        for number in range(1, 12):
            read(files, f"{storage.url}/{number}.bin", whole)
            there = [path.stat().st_blocks * 512 for path in (tmp_path / "kept").iterdir()]
            assert sum(there) <= 8_000_000 + 3_100_000
        storage.forget()
        first.need([whole])
        assert storage.requests["GET"] == 0
        assert read(files, f"{storage.url}/11.bin", whole) == [CONTENT[11_000 : 11_000 + whole[1]]]
        assert storage.requests["GET"] == 0  # the last one used is still there
        assert read(files, f"{storage.url}/1.bin", whole) == [CONTENT[1000 : 1000 + whole[1]]]
        assert storage.requests["GET"] > 0  # the first one is not


def test_a_replaced_file_is_told_and_never_mixed(tmp_path: Path, storage: HttpStorage) -> None:
    files, path = make_files(tmp_path / "kept", fresh_s=3600), f"{storage.url}/a.bin"
    with files.open(path) as opened:
        opened.need([(0, 5000)])
        (storage.folder / "a.bin").write_bytes(CONTENT[::-1])
        with pytest.raises(ImageFormatError, match="replaced while it was read"):
            opened.need([(0, 50_000)])
    assert read(files, path, (0, 50_000)) == [CONTENT[::-1][:50_000]]


def test_a_file_that_became_shorter_is_told(tmp_path: Path, storage: HttpStorage) -> None:
    files, path = make_files(tmp_path / "kept"), f"{storage.url}/a.bin"
    with files.open(path) as opened:
        (storage.folder / "a.bin").write_bytes(CONTENT[:1000])
        with pytest.raises((ImageFormatError, RemoteUnavailableError)):
            opened.need([(2_000_000, 2_000_500)])


@pytest.mark.parametrize(
    ("fault", "kind", "told"),
    [
        ("no ranges", ImageFormatError, "does not send parts of files"),
        ("no validators", ImageFormatError, "neither ETag nor Last-Modified"),
        ("status 500", RemoteUnavailableError, "status 500"),
        ("status 418", ImageFormatError, "status 418"),
        ("status 403", PermissionError, "may not be read"),
        ("silent", RemoteUnavailableError, "no answer"),
        ("truncated", RemoteUnavailableError, "a.bin does not answer"),
    ],
)
def test_faults_of_servers(
    tmp_path: Path, storage: HttpStorage, fault: Fault, kind: type[Exception], told: str
) -> None:
    storage.fault = fault
    files = make_files(tmp_path / "kept")
    with pytest.raises(kind, match=told) as raised:
        read(files, f"{storage.url}/a.bin", (0, 5000))
    assert "127.0.0.1" not in str(raised.value)
    storage.fault = None
    assert read(files, f"{storage.url}/a.bin", (0, 5000)) == [CONTENT[:5000]]


def test_a_server_that_does_not_answer_is_given_up(tmp_path: Path, storage: HttpStorage) -> None:
    files = make_files(tmp_path / "kept", timeout_s=0.2)
    storage.gate.clear()
    with pytest.raises(RemoteUnavailableError, match="took too long"):
        read(files, f"{storage.url}/a.bin", (0, 5000))
    assert storage.requests["HEAD"] == 2  # the first time, and once more


def test_waiting_threads_do_not_starve_when_a_fetch_fails(
    tmp_path: Path, storage: HttpStorage
) -> None:
    files, path = make_files(tmp_path / "kept", timeout_s=5.0), f"{storage.url}/a.bin"
    with files.open(path), ThreadPoolExecutor(4) as threads:
        storage.fault = "status 500"
        found = [threads.submit(read, files, path, (0, 5000)) for _ in range(4)]
        for each in found:
            with pytest.raises(RemoteUnavailableError):
                each.result()


def test_missing_files(tmp_path: Path, storage: HttpStorage) -> None:
    with pytest.raises(FileNotFoundError):
        read(make_files(tmp_path / "kept"), f"{storage.url}/b.bin", (0, 1))


def test_names_with_odd_characters(tmp_path: Path, storage: HttpStorage) -> None:
    (storage.folder / "a b").mkdir()
    (storage.folder / "a b" / "c+d%20~é[1].bin").write_bytes(CONTENT[:100])
    address = Address.of(f"{storage.url}/a%20b/c+d%2520~%C3%A9[1].bin")
    assert address.name == "c+d%20~é[1].bin"
    assert Address.of(str(address)) == address
    assert read(make_files(tmp_path / "kept"), str(address), (0, 100)) == [CONTENT[:100]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://name:secret@host/a.fits", "user name"),
        ("https://host/a.fits?X-Amz-Signature=secret", "ends with its path"),
        ("https:///a.fits", "is no s3"),
        ("ftp://host/a.fits", "is no s3"),
        ("https://host/a/../b.fits", "are not allowed"),
        ("s3://bucket//a.fits", "are not allowed"),
    ],
)
def test_addresses_that_are_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as raised:
        Address.of(text)
    assert "secret" not in str(raised.value)


def test_objects_of_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_storage(monkeypatch) as s3:
        path = s3.put("deep/er/c d+e~%20#?.bin", CONTENT)
        files = make_files(tmp_path / "kept", s3_endpoint=s3.endpoint, s3_region="us-east-1")
        assert read(files, path, (7, 2_000_007)) == [CONTENT[7:2_000_007]]
        (found,) = files.objects.list(Address.of("s3://survey/deep"))
        assert str(found[0]) == path
        assert found[1].identity == files.facts(path).identity
        assert found[1].mtime_ns == files.facts(path).mtime_ns
        s3.put("deep/er/c d+e~%20#?.bin", CONTENT[::-1])
        assert read(files, path, (7, 2_000_007)) == [CONTENT[::-1][7:2_000_007]]
        with pytest.raises(FileNotFoundError):
            files.facts("s3://survey/none.bin")


def test_no_credentials_leave_for_another_host(
    tmp_path: Path, storage: HttpStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASKYLOOMTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-to-be-told")
    (tmp_path / "here" / "bucket").mkdir(parents=True)
    (storage.folder / "bucket").mkdir()
    (storage.folder / "bucket" / "a.bin").write_bytes(CONTENT)
    with http_storage(tmp_path / "here") as first:
        first.redirect = storage.url.replace("127.0.0.1", "localhost")
        files = make_files(tmp_path / "kept", s3_endpoint=first.url, s3_region="us-east-1")
        assert read(files, "s3://bucket/a.bin", (0, 10)) == [CONTENT[:10]]
        assert all("authorization" in headers for headers in first.headers)
    assert not any("authorization" in headers for headers in storage.headers)
