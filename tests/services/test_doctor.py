"""The doctor finds what an operator can put right, on both engines."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.schema.rows import ProductQuality
from app.services.doctor.finding import Finding
from app.services.doctor.service import doctor
from app.stores.database import write_transaction
from app.stores.kept_files import KeptFiles
from app.stores.metadata import MetadataStores
from app.stores.tables.physical import tap_schema
from tests.stores.contract import dataset, product

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An empty data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def troubles(findings: list[Finding]) -> dict[str, str]:
    """Subject -> detail of what is not well (a small test disk is no trouble here)."""
    return {
        f.subject: f.detail for f in findings if f.status != "ok" and "GiB free" not in f.message
    }


def test_all_is_well_in_a_new_installation(database_url: str, data_dir: Path) -> None:
    findings = doctor(database_url, files=KeptFiles(data_dir))
    assert troubles(findings) == {}
    subjects = {f.subject for f in findings}
    assert {"database", "tables", "datasets", "spatial index", "files", "data folder"} <= subjects
    assert subjects & {"SQLite R*Tree", "PostgreSQL"}


def test_files_that_are_gone_or_changed_are_named(
    database_url: str, stores: MetadataStores, data_dir: Path
) -> None:
    there, gone, changed = (data_dir / name for name in ("there.fits", "gone.fits", "grown.fits"))
    there.write_bytes(b"x" * 10)
    changed.write_bytes(b"x" * 11)
    rows = [
        replace(dataset(n), file_path=str(path), file_size=10)
        for n, path in enumerate((there, gone, changed))
    ]
    stores.datasets.upsert(rows)
    findings = doctor(database_url, files=KeptFiles(data_dir))
    text = " ".join(f.detail for f in findings if f.subject == "files")
    assert str(gone) in text and str(changed) in text and str(there) not in text


def test_products_without_provenance_and_stray_files_are_found(
    database_url: str, stores: MetadataStores, data_dir: Path
) -> None:
    folder = data_dir / "products" / "ab"
    folder.mkdir(parents=True)
    (folder / "known.fits").write_bytes(b"x")
    (folder / "stray.fits").write_bytes(b"x")
    row = replace(product(1, "k"), file_path="products/ab/known.fits", file_size=1)
    quality = ProductQuality(product_id=row.dataset_id, numbers={})
    stores.datasets.publish(row, [], quality, result_media_type="image/fits", now=NOW)
    details = [
        f.detail for f in doctor(database_url, files=KeptFiles(data_dir)) if f.status != "ok"
    ]
    assert any(row.dataset_id in detail for detail in details)
    assert any("stray.fits" in d and "known.fits" not in d for d in details)


def test_a_hole_in_the_spatial_index_is_found(
    database_url: str, stores: MetadataStores, data_dir: Path
) -> None:
    stores.datasets.upsert([dataset(1)])
    lose = {
        "sqlite": "DELETE FROM obscore_s_region_outline",
        "postgresql": "UPDATE obscore SET s_region_bounds = NULL",
    }
    with write_transaction(stores.engine) as connection:
        connection.exec_driver_sql(lose[stores.engine.dialect.name])
    assert (
        "skyloom init" in troubles(doctor(database_url, files=KeptFiles(data_dir)))["spatial index"]
    )


def test_a_stale_tap_schema_is_found(
    database_url: str, stores: MetadataStores, data_dir: Path
) -> None:
    with write_transaction(stores.engine) as connection:
        connection.execute(tap_schema["tap_columns"].delete())
    assert "skyloom init" in troubles(doctor(database_url, files=KeptFiles(data_dir)))["TAP_SCHEMA"]


def test_an_old_revision_is_found(
    database_url: str, stores: MetadataStores, data_dir: Path
) -> None:
    with write_transaction(stores.engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    assert "skyloom init" in troubles(doctor(database_url, files=KeptFiles(data_dir)))["tables"]


def test_a_missing_database_and_folder_are_found_without_making_them(tmp_path: Path) -> None:
    path = tmp_path / "none" / "x.sqlite3"
    found = troubles(doctor(f"sqlite:///{path}", files=KeptFiles(tmp_path / "nowhere")))
    assert set(found) == {"database", "data folder"}
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_is_found(data_dir: Path) -> None:
    found = troubles(doctor("postgresql://u@127.0.0.1:1/x", files=KeptFiles(data_dir)))
    assert set(found) == {"database"}
