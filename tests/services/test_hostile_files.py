"""Files and tables that nobody should send end in pixels, in rows, or in an error that is told."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from app.errors import ImageFormatError
from app.services.ingest.files import FoundFile
from app.services.ingest.profile_reader import parse_profile
from app.services.ingest.read_file import FileReader
from app.stores.fits_files import open_fits, read_plane
from app.stores.image_files import ImageFiles
from app.stores.plane_files import PlaneFiles
from benchmarks.hostile.files import Report, read_images, read_tables, sound_images


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("kind", "card", "told"),
    [*((kind, "NAXIS", "axes") for kind in (0, 1, 2)), (2, "TFIELDS", "columns")],
)
def test_axes_and_columns_without_number_are_refused_at_once(
    tmp_path: Path, kind: int, card: str, told: str, packed: bool
) -> None:
    content = bytearray(sound_images()[kind])
    place = content.rindex(f"{card:<8}=".encode())
    content[place : place + 80] = f"{card:<8}= 99999999999999999999".ljust(80).encode()
    path = tmp_path / ("a.fits.gz" if packed else "a.fits")
    path.write_bytes(gzip.compress(content) if packed else content)
    reader = FileReader(parse_profile(""), "test.org", "night", ImageFiles(tmp_path))
    found = reader.read(FoundFile(str(path), path.name, path.stat().st_size, 1))
    assert found.rows == () and f"more than 999 {told}" in (found.reason or "")


@pytest.mark.parametrize(
    ("card", "value"),
    [
        *(("ZVAL2", each) for each in ("8", "64", "65536", "2147483647", "-1", "T", "'4'")),
        *(("ZTILE1", each) for each in ("0", "-1", "NaN", "T", "1.5")),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_tiles_that_would_be_read_from_elsewhere_are_refused(
    tmp_path: Path, card: str, value: str, packed: bool
) -> None:
    content = bytearray(sound_images()[2])
    place = content.index(f"{card:<8}=".encode())
    content[place : place + 80] = f"{card:<8}= {value:>20}".ljust(80).encode()
    path = tmp_path / ("a.fits.gz" if packed else "a.fits")
    path.write_bytes(gzip.compress(content) if packed else content)
    reader = FileReader(parse_profile(""), "test.org", "night", ImageFiles(tmp_path))
    found = reader.read(FoundFile(str(path), path.name, path.stat().st_size, 1))
    assert found.rows == () and found.reason, found
    with pytest.raises(ImageFormatError), open_fits(path) as units:
        read_plane(units, 1)
    with pytest.raises(ImageFormatError):
        planes = PlaneFiles(data_dir=tmp_path)
        unit = planes.find(str(path), 1)
        b"".join(planes.read(unit, ((0, 8), (0, 8))))


def test_mutated_files_and_tables_make_no_fault(tmp_path: Path) -> None:
    report = Report()
    read_images(report, tmp_path, count=30, seed=3)
    read_tables(report, tmp_path, count=150, seed=3)
    assert report.faults == {}
    assert report.outcomes["images read"] > 2 and report.outcomes["tables read"] > 0
