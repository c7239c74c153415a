"""Products and results of jobs kept in S3-style storage: the same bytes as on the disk, found, cut,
downloaded, looked after, and fetched from the storage itself only by who may have them."""

from __future__ import annotations

import hashlib
import io
import tarfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.testclient import TestClient

from app.config import Config
from app.errors import RemoteUnavailableError, StoppedError, StorageReadOnlyError
from app.main import create_app
from app.services.eviction import EvictionRule, EvictionService
from app.services.identities import TokenService
from app.stores.kept_files import KeptFiles
from app.stores.metadata import open_stores
from app.stores.tables.product_store import ProductStore
from app.wiring_care import examine
from app.wiring_images import make_files
from tests.flows.test_remote_images import Archive, open_archive, write_image
from tests.services.survey import standard_exposures
from tests.storages import BUCKET, S3Storage, s3_storage
from tests.storages import make_files as make_remote

EXPOSURE = "ivo://test.local/field?i-5"
PREFIX = "kept here/skyloom"
ROOT = f"s3://{BUCKET}/{PREFIX}"


@dataclass
class Two:
    """The same images, and products on the disk and in a bucket."""

    here: Archive
    there: Archive
    s3: S3Storage

    def keys(self, folder: str = "products") -> list[str]:
        """Of what lies in the bucket."""
        found = self.s3.client.list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}/{folder}/")
        return [each["Key"] for each in found.get("Contents", [])]

    def object(self, key: str) -> bytes:
        """What one of them holds."""
        return bytes(self.s3.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """Both, each with the difference of an exposure."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "images").mkdir()
    for exposure in standard_exposures()[:5]:
        write_image(folder / "images", exposure)
    with ExitStack() as stack:
        s3 = stack.enter_context(s3_storage(stack.enter_context(pytest.MonkeyPatch.context())))
        elsewhere = {"products": f"{ROOT}/", "s3_endpoint": s3.endpoint, "s3_region": "us-east-1"}
        here = stack.enter_context(open_archive(folder / "here"))
        there = stack.enter_context(open_archive(folder / "there", **elsewhere))
        for each in (here, there):
            each.ingest(folder / "images")
        yield Two(here, there, s3)


def built(archive: Archive) -> httpx.Response:
    """The difference of the exposure."""
    answer = archive.client.get("/builds/difference/sync", params={"ID": EXPOSURE})
    assert answer.status_code == 200, answer.text
    return answer


def product(archive: Archive) -> str:
    """Its identifier."""
    return built(archive).headers["X-Skyloom-Dataset"]


def troubles(archive: Archive, *, deep: bool = False, repair: bool = False) -> str:
    """What the doctor says that is not good, or was mended."""
    told = examine(archive.config, deep=deep, repair=repair)
    return "\n".join(
        f"{each.status} {each.subject}: {each.message}" for each in told if each.status != "ok"
    )


def test_products_are_those_of_the_disk(two: Two) -> None:
    content = built(two.there).content
    assert content == built(two.here).content
    (key,) = two.keys()
    assert two.object(key) == content
    assert not list((two.there.config.data_dir / "products").rglob("*.fits"))
    query = "SELECT access_estsize FROM ivoa.ObsCore WHERE obs_collection = 'products'"
    sizes = [
        each.client.get("/tap/sync", params={"QUERY": query, "LANG": "ADQL", "FORMAT": "csv"}).text
        for each in (two.here, two.there)
    ]
    assert sizes[0] == sizes[1]
    name = product(two.there)
    for path, asked in (
        ("/soda/sync", {"ID": name, "PIXELS": "5 44 5 44"}),
        ("/previews", {"ID": name}),
        ("/lightcurve", {"POS": "62 -37"}),
    ):
        answers = [each.client.get(path, params=asked) for each in (two.here, two.there)]
        assert answers[0].status_code == answers[1].status_code, (path, answers[1].text[:300])
        if path != "/lightcurve":
            assert answers[0].status_code == 200 and answers[0].content == answers[1].content
    part = two.there.client.get(two.there.this(name), headers={"Range": "bytes=100-299"})
    assert part.status_code == 206 and part.content == content[100:300]
    package = two.there.client.get(two.there.this(name, "#package"))
    with tarfile.open(fileobj=io.BytesIO(package.content)) as archive:
        packed = [archive.extractfile(each) for each in archive.getnames() if "fits" in each]
        assert [file.read() for file in packed if file is not None] == [content]


def test_results_of_jobs_lie_there(two: Two) -> None:
    query = {"LANG": "ADQL", "QUERY": "SELECT obs_id FROM ivoa.ObsCore ORDER BY obs_id"}
    texts = []
    for each in (two.here, two.there):
        job = each.client.post("/tap/async", data={**query, "FORMAT": "csv", "PHASE": "RUN"}).url
        assert each.client.get(f"{job.path}/phase", params={"WAIT": "60"}).status_code == 200
        each.client.get(job.path, params={"WAIT": "120"})
        answer = each.client.get(f"{job.path}/results/result")
        assert answer.status_code == 200, answer.text
        texts.append(answer.text)
    assert texts[0] == texts[1] and "i-1" in texts[0]
    (key,) = two.keys("results")
    assert two.object(key).decode() == texts[1]
    assert two.there.client.delete(job.path, follow_redirects=False).status_code == 303
    assert two.keys("results") == []
    assert two.there.client.get(f"{job.path}/results/result").status_code == 404


def test_the_doctor_mends_what_became_of_the_bucket(two: Two) -> None:
    content = built(two.there).content
    (key,) = two.keys()
    assert troubles(two.there, deep=True) == ""
    stray = f"{PREFIX}/products/aa/aabb.fits"
    two.s3.put(stray, b"nobody's")
    lost = f"{PREFIX}/results/{'0' * 32}/result"
    two.s3.put(lost, b"nobody's")
    assert "aabb.fits" in troubles(two.there)
    two.s3.put(key, bytes(len(content)))
    assert "SHA-256" in troubles(two.there, deep=True)
    assert "fail" not in troubles(two.there, deep=True, repair=True)
    assert two.keys() == [] and two.keys("results") == [lost]  # it may be work under way
    assert built(two.there).content == content and two.keys() == [key]
    two.s3.client.delete_object(Bucket=BUCKET, Key=key)
    assert "its file is gone" in troubles(two.there)
    assert built(two.there).content == content


def test_what_nobody_uses_is_evicted(two: Two) -> None:
    content = built(two.there).content
    stores = open_stores(two.there.config.effective_database_url)
    files = make_files(two.there.config)
    now_s = time.time()

    def evict(after_s: float) -> int:
        service = EvictionService(
            products=ProductStore(engine=stores.engine, files=files),
            files=files,
            rule=EvictionRule(max_bytes=0, unused_days=1.0, grace_s=60.0),
            clock_s=lambda: now_s + after_s,
            relist=lambda: None,
        )
        return len(service.run().evicted)

    try:
        assert evict(3600.0) == 0 and len(two.keys()) == 1
        assert evict(2 * 86400.0) == 1 and two.keys() == []
    finally:
        stores.close()
    assert built(two.there).content == content


def test_who_may_have_a_product_fetches_it_from_the_storage(two: Two) -> None:
    content = built(two.there).content
    config = two.there.config.model_copy(update={"products_redirect": True})
    with TestClient(create_app(config), follow_redirects=False) as client:
        redirecting = replace(two.there, config=config, client=client)
        product_id = sent_id(client)
        link = redirecting.this(product_id)
        moved = client.get(link)
        assert moved.status_code == 307 and "no-store" in moved.headers["cache-control"]
        address = moved.headers["location"]
        assert address.startswith(two.s3.endpoint)
        assert httpx.get(address).content == content
        lifetime_s = int(parse_qs(urlsplit(address).query)["X-Amz-Expires"][0])
        assert 0 < lifetime_s <= config.link_lifetime_s
        assert client.head(link).headers["content-length"] == str(len(content))
        forged = link.replace("/files/", "/files/9")
        assert client.get(forged).status_code == 403
        exposure = client.get(redirecting.this(EXPOSURE))
        assert exposure.status_code == 200  # no product: it lies where it was ingested from
        stores = open_stores(config.effective_database_url)
        try:
            held = {"data_rights": "proprietary", "obs_release_date": "2999-01-01T00:00:00"}
            rows = [stores.datasets.get(name) for name in (product_id, EXPOSURE)]
            stores.datasets.upsert([replace(row, columns={**row.columns, **held}) for row in rows])
            tokens = TokenService(tokens=stores.tokens, clock=lambda: datetime.now(UTC))
            theirs = tokens.create("theirs", role="user", collections=["field"], days=1)
        finally:
            stores.close()
        asked: dict[str, Any] = {"params": {"ID": EXPOSURE}}
        assert client.get("/builds/difference/sync", **asked).status_code in {401, 403}
        allowed = {"Authorization": f"Bearer {theirs}"}
        answer = client.get("/builds/difference/sync", headers=allowed, **asked)
        assert answer.status_code == 307
        assert httpx.get(answer.headers["location"]).content == content


def sent_id(client: TestClient) -> str:
    """The identifier of the difference, of an answer that sends its reader on."""
    answer = client.get("/builds/difference/sync", params={"ID": EXPOSURE})
    assert answer.status_code == 307, answer.text
    return str(answer.headers["X-Skyloom-Dataset"])


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[KeptFiles, S3Storage]]:
    """Files in an empty bucket."""
    with s3_storage(monkeypatch) as s3:
        remote = make_remote(tmp_path / "cache", s3_endpoint=s3.endpoint, s3_region="us-east-1")
        yield KeptFiles(tmp_path, remote, ROOT), s3


def test_a_file_is_whole_or_not_there(kept: tuple[KeptFiles, S3Storage]) -> None:
    files, s3 = kept
    path = files.place("products/aa/x.fits")

    def broken() -> Iterator[bytes]:
        for _ in range(20):
            yield bytes(1 << 20)
        raise StoppedError()

    with pytest.raises(StoppedError):
        files.write(path, broken())
    assert files.facts(path) is None and files.read(path) is None
    assert not s3.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads")
    content = bytes(range(256)) * 80_000  # several parts
    view = memoryview(content)
    written = files.write(path, (view[at : at + 999_999] for at in range(0, len(view), 999_999)))
    assert written.size_bytes == len(content)
    assert written.checksum == hashlib.sha256(content).hexdigest() == files.checksum(path)
    assert files.read(path) == content
    files.remove(path)
    files.remove(path)
    assert files.facts(path) is None


def test_a_storage_that_refuses_is_told(kept: tuple[KeptFiles, S3Storage], tmp_path: Path) -> None:
    files, _ = kept
    nowhere = KeptFiles(tmp_path, files.remote, "s3://not-there/x")
    with pytest.raises(RemoteUnavailableError, match="bucket"):
        nowhere.write(nowhere.place("y"), b"1")
    with pytest.raises(RemoteUnavailableError, match="bucket"):
        list(nowhere.listed("products"))
    silent = make_remote(tmp_path / "cache", s3_endpoint="http://127.0.0.1:9", s3_region="x")
    with pytest.raises((RemoteUnavailableError, StorageReadOnlyError)):
        KeptFiles(tmp_path, silent, ROOT).write(f"{ROOT}/y", b"1")


@pytest.mark.parametrize("value", ["s3:bucket", "https://host/path", "/a/folder", "s3://u:p@b/x"])
def test_a_wrong_setting_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="products"):
        Config(products=value)
