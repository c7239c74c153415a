"""Signed files: ranges, validators, forged and expired tokens, files that went away."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from app.errors import SignatureError
from app.services.links import PACKAGE
from app.services.signatures import FileRef, FileSigner
from app.stores.secrets import SLACK_S, SigningKeys
from tests.http.archive import LINK_LIFETIME_S, Archive, Clock
from tests.waiting import web

IMAGE = "ivo://skyloom.test/demo?Visit-0"


@pytest.fixture
def url(archive: Archive) -> str:
    """A fresh link to the image."""
    return archive.links.file_url(IMAGE, archive.url)


@pytest.fixture
def content(archive: Archive) -> bytes:
    return (archive.data_dir / "images" / "visit 0.fits").read_bytes()


def test_the_whole_file(url: str, content: bytes) -> None:
    answer = web.get(url)
    assert answer.content == content
    assert answer.headers["content-type"] == "application/fits"
    assert answer.headers["accept-ranges"] == "bytes"
    assert "visit%200.fits" in answer.headers["content-disposition"]
    head = web.head(url)
    assert head.headers["content-length"] == str(len(content))
    assert head.content == b""


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("0-79", 0, 80), ("2880-", 2880, 11520), ("-10", 11510, 11520), ("11519-99999", 11519, 11520)],
)
def test_ranges(url: str, content: bytes, asked: str, start: int, stop: int) -> None:
    answer = web.get(url, headers={"Range": f"bytes={asked}"})
    assert answer.status_code == 206
    assert answer.content == content[start:stop]
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(content)}"


def test_a_range_outside_the_file(url: str, content: bytes) -> None:
    answer = web.get(url, headers={"Range": f"bytes={len(content)}-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(content)}"


def test_validators(url: str, content: bytes) -> None:
    first = web.get(url)
    etag = first.headers["etag"]
    fresh = web.get(url, headers={"If-None-Match": f'"other", W/{etag}'})
    assert (fresh.status_code, fresh.content, fresh.headers["etag"]) == (304, b"", etag)
    assert web.get(url, headers={"If-None-Match": '"other"'}).content == content
    stale = web.get(url, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (stale.status_code, stale.content) == (200, content)
    same = web.get(url, headers={"Range": "bytes=0-9", "If-Range": etag})
    assert (same.status_code, same.content) == (206, content[:10])


def test_no_changed_character_opens_a_file(archive: Archive, url: str) -> None:
    start = url.index("/files/") + len("/files/")
    for position in range(start, len(url)):
        for other in "A0b.":
            if url[position] not in (other, "/"):
                forged = url[:position] + other + url[position + 1 :]
                answer = web.get(forged) if position % 7 == 0 else None
                assert answer is None or answer.status_code in {403, 404}, forged
    for forged in (url[:-5], url + "0", url.replace("/visit%200", "/visit%201")):
        answer = web.get(forged)
        assert answer.status_code in {403, 404}
        assert str(archive.data_dir) not in answer.text


def test_every_change_of_a_token_is_refused(archive: Archive) -> None:
    signer = FileSigner(keys=lambda: [b"k" * 32], clock=Clock(), lifetime_s=60)
    token = signer.sign(FileRef(IMAGE, 1))
    assert signer.open(token) == FileRef(IMAGE, 1)
    for position, character in enumerate(token):
        for other in "Aa0b9_-.=":
            if other != character:
                with pytest.raises(SignatureError):
                    signer.open(token[:position] + other + token[position + 1 :])
    for damaged in (
        "",
        ".",
        "..",
        token[:-1],
        token + "0",
        token.upper(),
        f" {token}",
        token + "=",
    ):
        with pytest.raises(SignatureError):
            signer.open(damaged)
    with pytest.raises(SignatureError, match="wrong"):
        FileSigner(keys=lambda: [b"x" * 32], clock=Clock(), lifetime_s=60).open(token)


@pytest.mark.parametrize(
    ("change", "ref"),
    [
        ("another image", FileRef("ivo://skyloom.test/demo?Visit-2", 0)),
        ("another of its files", FileRef(IMAGE, 1)),
        ("all of its files", FileRef(IMAGE, PACKAGE)),
        ("for longer", FileRef(IMAGE, 0)),
    ],
)
def test_a_token_cannot_be_widened(archive: Archive, url: str, change: str, ref: FileRef) -> None:
    token, name = url.rpartition("/files/")[2].split("/")
    expiry, _, signature = token.split(".")
    stranger = FileSigner(keys=lambda: [b"stranger" * 4], clock=Clock(), lifetime_s=10**6)
    later, named, foreign = stranger.sign(ref).split(".")
    until = later if change == "for longer" else expiry
    for forged in (f"{until}.{named}.{each}" for each in (signature, foreign, "", "0" * 64)):
        for place in ("files", "packages"):
            answer = web.get(f"{archive.url}/{place}/{forged}/{name}")
            assert answer.status_code == 403, (change, answer.text)
            assert answer.text.startswith("AuthorizationError: ")
    # a file's own token opens that file alone
    assert web.get(f"{archive.url}/packages/{token}/{name}").status_code == 404
    assert web.get(f"{archive.url}/files/{token}/visit%201.weight.fits").status_code == 404


def test_an_expired_link_says_so(archive: Archive, url: str) -> None:
    archive.clock.ahead += timedelta(seconds=LINK_LIFETIME_S + 1)
    try:
        answer = web.get(url)
        assert answer.status_code == 403
        assert answer.text.startswith("AuthorizationError: ")
        assert "expired" in answer.text
        assert web.get(archive.links.file_url(IMAGE, archive.url)).status_code == 200
    finally:
        archive.clock.ahead -= timedelta(seconds=LINK_LIFETIME_S + 1)


def test_a_file_that_went_away(archive: Archive) -> None:
    path = archive.data_dir / "images" / "visit 1.fits"
    url = archive.links.file_url("ivo://skyloom.test/demo?Visit-1", archive.url)
    moved = path.rename(path.with_suffix(".away"))
    try:
        answer = web.get(url)
        assert answer.status_code == 404
        assert str(archive.data_dir) not in answer.text
    finally:
        moved.rename(path)


def test_the_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    def load(folder: Path) -> tuple[bytes, ...]:
        return SigningKeys(data_dir=folder, lifetime_s=60).good(0.0)

    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(load, [tmp_path / "data"] * 32))
    assert len(keys) == 1 and [len(key) for key in keys.pop()] == [32]
    (path,) = (tmp_path / "data").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_new_key_signs_and_the_old_one_is_good_while_its_links_are(tmp_path: Path) -> None:
    clock = Clock()
    server = SigningKeys(data_dir=tmp_path, lifetime_s=3600)
    signer = FileSigner(keys=lambda: server.good(clock().timestamp()), clock=clock, lifetime_s=3600)
    before = signer.sign(FileRef("x"))
    assert SigningKeys(data_dir=tmp_path, lifetime_s=3600).rotate(clock().timestamp()) == 1
    after = signer.sign(FileRef("x"))
    assert after.split(".")[2] != before.split(".")[2]
    assert signer.open(before) == signer.open(after) == FileRef("x")
    assert len(server.good(clock().timestamp())) == 2
    clock.ahead += timedelta(seconds=3600 + SLACK_S + 1)
    assert len(server.good(clock().timestamp())) == 1
    with pytest.raises(SignatureError, match="wrong"):
        signer.open(before)
    assert server.rotate(clock().timestamp()) == 1
    assert len((tmp_path / "signing.key").read_text().splitlines()) == 2
