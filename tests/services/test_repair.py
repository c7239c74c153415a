"""``doctor --repair``: what is lost is built again, what is left over goes, originals stay."""

from __future__ import annotations

import os
import time
from pathlib import Path

from astropy.io import fits

from app.services.doctor.finding import Finding, exit_status
from app.services.doctor.service import Repair, doctor
from app.stores.fits_checksums import wrong_checksums
from app.stores.kept_files import KeptFiles
from app.uws.job import Phase
from tests.services.builds_fixture import Field
from tests.services.survey import dataset_row
from tests.services.test_virtual_products import FIRST, SCIENCE, build, listed, promised

AGED_S = 7200.0


def examine(field: Field, *, deep: bool = False, mend: bool = False) -> list[Finding]:
    """The findings about files; what is two hours old is settled."""
    repair = Repair(relist=field.listing.update) if mend else None
    url = field.stores.engine.url.render_as_string(hide_password=False)
    findings = doctor(url, files=KeptFiles(field.folder), deep=deep, repair=repair)
    return [f for f in findings if f.subject in {"files", "products", "leftovers"}]


def texts(findings: list[Finding], status: str) -> str:
    """Everything told with a status."""
    return "\n".join(f.detail for f in findings if f.status == status)


def spoil(path: Path) -> None:
    """Turn one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def age(path: Path) -> None:
    """Nobody has written to it for long."""
    old = time.time() - AGED_S
    os.utime(path, (old, old))


def test_a_lost_product_is_promised_again_and_built_anew(field: Field) -> None:
    field.listing.update()
    product = build(field)
    (path,) = field.products()
    content = path.read_bytes()
    path.unlink()
    found = examine(field)
    assert exit_status(found) == 1 and product in texts(found, "fail")
    mended = examine(field, mend=True)
    assert product in texts(mended, "mended") and exit_status(mended) == 0
    assert listed(field)[promised(SCIENCE)] == "buildable" and product not in listed(field)
    assert exit_status(examine(field)) == 0
    assert build(field) == product
    assert path.read_bytes() == content
    assert promised(SCIENCE) not in listed(field)


def test_a_corrupt_product_is_found_by_its_checksum_and_built_anew(field: Field) -> None:
    product = build(field)
    (path,) = field.products()
    content = path.read_bytes()
    spoil(path)
    assert exit_status(examine(field)) == 0
    assert f"{product} (its file is corrupt (SHA-256))" in texts(examine(field, deep=True), "fail")
    assert exit_status(examine(field, deep=True, mend=True)) == 0
    assert field.products() == []
    assert build(field) == product and path.read_bytes() == content
    assert "all 7 are there, with their size and their checksums" in texts(
        examine(field, deep=True), "ok"
    )


def test_a_product_cut_short_makes_those_made_of_it_stale_until_it_is_back(field: Field) -> None:
    job = field.run("template", ID=SCIENCE.dataset_id)
    template = str(job.results[0].dataset_id)
    (path,) = field.products()
    difference = build(field, TEMPLATE_IDS=template)
    path.write_bytes(path.read_bytes()[:-2880])
    assert template in texts(examine(field, mend=True), "mended")
    assert listed(field)[difference] == "stale"
    again = field.run("template", ID=SCIENCE.dataset_id)
    assert again.phase is Phase.COMPLETED and again.results[0].dataset_id == template
    assert listed(field)[difference] == "built"


def test_originals_that_are_gone_or_corrupt_are_told_and_kept(field: Field) -> None:
    kept, lost = field.image(SCIENCE), field.image(FIRST)
    with fits.open(kept) as units:
        units.writeto(kept, overwrite=True, checksum=True)
    field.stores.datasets.upsert([dataset_row(kept, SCIENCE)])
    spoil(kept)
    lost.unlink()
    before = kept.read_bytes()
    found = examine(field, deep=True, mend=True)
    assert f"1 are gone: {lost}" in texts(found, "fail")
    assert f"1 contradict their own checksums: {kept}" in texts(found, "fail")
    assert f"1 changed since they were read: {kept} (its SHA-256" in texts(found, "warn")
    assert exit_status(found) == 1
    assert kept.read_bytes() == before
    assert field.stores.datasets.get(FIRST.dataset_id).file_path == str(lost)


def test_strays_and_leftovers_are_named_and_removed_only_when_asked(field: Field) -> None:
    build(field)
    (path,) = field.products()
    stray = path.with_name("0123456789abcdef.fits")
    stray.write_bytes(b"x")
    half, fresh = path.with_name(".half.fits.abcdefgh"), path.with_name(".now.fits.abcdefgh")
    forgotten = field.folder / "results" / "deadbeef" / "result"
    forgotten.parent.mkdir(parents=True)
    for each in (half, fresh, forgotten):
        each.write_bytes(b"x")
    for each in (half, forgotten, forgotten.parent):
        age(each)
    told = texts(examine(field), "warn")
    assert all(str(each) in told for each in (stray, half, forgotten.parent))
    assert str(fresh) not in told and stray.exists()
    mended = texts(examine(field, mend=True), "mended")
    assert all(f"removed {each}" in mended for each in (stray, half, forgotten.parent))
    assert sorted(path.parent.iterdir()) == sorted([fresh, path])
    assert not forgotten.parent.exists()


def test_a_disk_that_is_not_mounted_costs_no_rows(field: Field) -> None:
    product = build(field)
    (field.folder / "products").rename(field.folder / "elsewhere")
    found = examine(field, mend=True)
    assert "mount the disk" in texts(found, "fail")
    assert field.stores.datasets.get(product).dataset_id == product


def test_products_of_builds_under_way_are_no_strays(field: Field) -> None:
    build(field)
    (path,) = field.products()
    field.stores.datasets.withdraw([build(field)])
    assert str(path) in texts(examine(field), "warn")
    job = field.jobs.create("difference", [("ID", SCIENCE.dataset_id)], recipe_key=path.stem)
    assert examine(field)[0].status == "ok"
    field.jobs.delete(job.job_id)


def test_checksum_cards(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    units = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data=[[1.5, 2.5], [3.5, 4.5]])])
    units.append(fits.CompImageHDU(data=units[1].data.astype("f4"), name="TILED"))
    units.writeto(path, checksum=True)
    assert wrong_checksums(path) == []
    content = path.read_bytes()
    place = content.index(b"\x3f\xf8")  # 1.5
    path.write_bytes(content[:place] + b"\x3f\xf9" + content[place + 2 :])
    assert wrong_checksums(path) == ["HDU 1 (DATASUM, CHECKSUM)"]
    header = content.index(b"'TILED")
    path.write_bytes(content[: header + 1] + b"M" + content[header + 2 :])
    assert wrong_checksums(path) == ["HDU 2 (CHECKSUM)"]
    fits.PrimaryHDU(data=[1, 2]).writeto(path, overwrite=True)
    assert wrong_checksums(path) == []
