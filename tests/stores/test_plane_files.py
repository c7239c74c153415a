"""Windows of planes: every shape of window, in pieces, with nothing of the file beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from app.errors import ImageFormatError
from app.stores.plane_files import BAND_BYTES, PlaneFiles, Window

SHAPE = (3, 40, 50)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cube, and an image of 9 MB."""
    made = tmp_path_factory.mktemp("planes")
    cube = np.arange(np.prod(SHAPE), dtype=np.int32).reshape(SHAPE)
    fits.PrimaryHDU(cube).writeto(made / "cube.fits")
    wide = np.arange(1500 * 1500, dtype=np.float32).reshape(1500, 1500)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(wide)]).writeto(made / "wide.fits")
    return made


@pytest.mark.parametrize(
    "window",
    [
        ((0, 3), (0, 40), (0, 50)),
        ((1, 2), (0, 40), (0, 50)),
        ((0, 3), (5, 6), (0, 50)),
        ((0, 3), (5, 39), (0, 50)),
        ((0, 3), (0, 40), (49, 50)),
        ((2, 3), (39, 40), (49, 50)),
        ((1, 3), (3, 33), (7, 8)),
    ],
)
def test_windows_of_a_cube(folder: Path, window: Window) -> None:
    files = PlaneFiles(data_dir=folder)
    found = np.frombuffer(b"".join(files.read(files.find("cube.fits", 0), window)), ">i4")
    expected = np.arange(np.prod(SHAPE)).reshape(SHAPE)[tuple(slice(*span) for span in window)]
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@pytest.mark.parametrize("window", [((0, 1500), (0, 1500)), ((3, 1497), (1, 1499))])
def test_large_windows_come_in_pieces(folder: Path, window: Window) -> None:
    files = PlaneFiles(data_dir=folder)
    pieces = list(files.read(files.find("wide.fits", 1), window))
    assert len(pieces) >= 8 and max(map(len, pieces)) <= BAND_BYTES
    (y0, y1), (x0, x1) = window
    found = np.frombuffer(b"".join(pieces), ">f4").reshape(y1 - y0, x1 - x0)
    whole = np.arange(1500 * 1500, dtype=np.float32).reshape(1500, 1500)
    np.testing.assert_array_equal(found, whole[y0:y1, x0:x1])


@pytest.mark.parametrize("rows", [(0, 5), (0, 1500)])
def test_little_more_is_read_than_is_wanted(folder: Path, rows: tuple[int, int]) -> None:
    files, counter = PlaneFiles(data_dir=folder), Path("/proc/self/io")
    unit, window = files.find("wide.fits", 1), (rows, (700, 800))
    wanted = len(b"".join(files.read(unit, window)))

    def read_so_far() -> int:
        return int(counter.read_text().split()[1])

    before = read_so_far()
    list(files.read(unit, window))
    assert read_so_far() - before < wanted + 10_000


def test_a_file_that_is_replaced_meanwhile_is_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "image.fits"
    fits.PrimaryHDU(np.zeros((20, 20), np.float32)).writeto(path)
    files = PlaneFiles(data_dir=tmp_path)
    unit = files.find(path.name, 0)
    fits.PrimaryHDU(np.ones((30, 30), np.float32)).writeto(path, overwrite=True)
    with pytest.raises(ImageFormatError, match="replaced"):
        list(files.read(unit, ((0, 20), (0, 20))))
    assert files.find(path.name, 0).shape == (30, 30)
