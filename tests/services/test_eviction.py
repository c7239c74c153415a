"""Products that nobody uses make room, and are built again when they are asked for."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from app.services.eviction import EvictionReport, EvictionRule, EvictionService, lines_of
from app.services.links import LinkService
from app.services.signatures import FileSigner
from app.stores.kept_files import KeptFiles
from app.stores.tables.product_store import ProductStore
from app.uws.job import Phase
from tests.services.builds_fixture import Field, now
from tests.services.test_virtual_products import SCIENCE, build, listed, promised

DAY_S = 86400.0


def evict(
    field: Field, *, max_bytes: int = 0, unused_days: float = 0.0, dry: bool = False
) -> EvictionReport:
    """Evict, and list what can be built again."""
    service = EvictionService(
        products=ProductStore(engine=field.stores.engine, files=KeptFiles(field.folder)),
        files=KeptFiles(field.folder),
        rule=EvictionRule(max_bytes=max_bytes, unused_days=unused_days, grace_s=3600.0),
        clock_s=time.time,
        relist=field.listing.update,
    )
    return service.run(dry=dry)


def unused(path: Path, days: float) -> None:
    """Nobody used a file for so long."""
    then = time.time() - days * DAY_S
    os.utime(path, (then, then))


def file_of(field: Field, product: str) -> Path:
    """Its file."""
    return Path(field.stores.datasets.get(product).file_path)


def test_what_was_not_used_for_long_goes_and_comes_again(field: Field) -> None:
    old, new = build(field), build(field, MAX_INPUTS=2)
    path = file_of(field, old)
    content = path.read_bytes()
    unused(path, 10)
    unused(file_of(field, new), 8)
    told = evict(field, unused_days=9, dry=True)
    assert [each.dataset_id for each in told.evicted] == [old] and path.exists()
    assert "would evict" in next(lines_of(told, dry=True))
    assert evict(field, unused_days=9).evicted == told.evicted or not path.exists()
    assert field.products() == [file_of(field, new)]
    assert listed(field)[promised(SCIENCE)] == "buildable" and old not in listed(field)
    assert build(field) == old and path.read_bytes() == content


def test_the_longest_unused_go_until_the_rest_fits(field: Field) -> None:
    names = [build(field, MAX_INPUTS=count) for count in (2, 3, 4)]
    sizes = [file_of(field, name).stat().st_size for name in names]
    for name, days in zip(names, (1, 3, 2), strict=True):
        unused(file_of(field, name), days)
    report = evict(field, max_bytes=sum(sizes) - 1)
    assert [each.dataset_id for each in report.evicted] == [names[1]]
    assert (report.kept, report.kept_bytes) == (2, sizes[0] + sizes[2])
    assert evict(field, max_bytes=sum(sizes)).evicted == ()


def test_what_is_needed_or_was_just_used_stays(field: Field) -> None:
    job = field.run("template", ID=SCIENCE.dataset_id)
    template = str(job.results[0].dataset_id)
    difference = build(field, TEMPLATE_IDS=template)
    unused(file_of(field, template), 10)
    assert evict(field, max_bytes=1).evicted == ()
    report = evict(field, unused_days=1)
    assert report.evicted == () and report.needed == 1
    unused(file_of(field, difference), 9)
    waiting = field.jobs.create("cutout", [("ID", difference.upper())])
    assert evict(field, max_bytes=1).needed == 2
    field.jobs.delete(waiting.job_id)
    assert [each.dataset_id for each in evict(field, max_bytes=1).evicted] == [difference]
    assert [each.dataset_id for each in evict(field, max_bytes=1).evicted] == [template]
    assert field.products() == []


@pytest.mark.parametrize("way", ["file", "package", "job"])
def test_what_is_asked_for_counts_as_used(field: Field, way: str) -> None:
    product = build(field)
    path = file_of(field, product)
    unused(path, 10)
    written = path.stat().st_mtime_ns
    links = LinkService(
        datasets=field.stores.datasets,
        signer=FileSigner(keys=lambda: [b"k" * 32], clock=now, lifetime_s=60),
    )
    if way == "job":
        assert field.run("difference", ID=SCIENCE.dataset_id).phase is Phase.COMPLETED
    elif way == "file":
        links.open_file(links.file_url(product, "").split("/")[2], path.name)
    else:
        row = field.stores.datasets.get(product)
        links.open_package(links.package_url(row, "").split("/")[2])
    assert evict(field, unused_days=1).evicted == ()
    assert path.stat().st_mtime_ns == written
