"""Cutouts of the real images: pixels, positions and cards, as astropy finds them in the files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS, FITSFixedWarning

from app.pixels.grid import Grid
from app.pixels.wcs_cards import find_sky_axes
from app.recipes.cutout import parse_cutout
from app.recipes.recipe import ImageRef
from app.schema.rows import DatasetRow
from app.services.cutout_files import CutoutWriter
from app.services.cutouts import CutoutService
from app.services.ingest.service import IngestService
from app.stores.images import ImageStore
from app.stores.metadata import open_stores
from app.stores.plane_files import PlaneFiles
from tests.databases import database_at
from tests.services.test_ingest_real import FOLDERS, REAL, profile_of

pytestmark = pytest.mark.needs("shared")


@dataclass(frozen=True)
class Archive:
    """All real images, and what cuts them."""

    rows: tuple[DatasetRow, ...]
    cutouts: CutoutService
    writer: CutoutWriter

    def cut(self, **parameters: str) -> fits.HDUList:
        """A cutout as astropy reads it."""
        found = self.cutouts.find(parse_cutout(list(parameters.items())))
        return fits.open(io.BytesIO(b"".join(self.writer.write(found))))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Ingested as their profiles say."""
    folder = tmp_path_factory.mktemp("real")
    url = database_at(folder / "skyloom.sqlite3")
    stores = open_stores(url)
    service = IngestService(datasets=stores.datasets, authority="test.org", workers=1)
    names = [
        name
        for folder in FOLDERS
        for file in service.run(
            [REAL / folder], collection=folder, profile=profile_of(folder)
        ).files
        for name in file.datasets
    ]
    files, images = PlaneFiles(data_dir=folder), ImageStore(data_dir=folder)
    yield Archive(
        tuple(stores.datasets.get_many(names)),
        CutoutService(datasets=stores.datasets, files=files),
        CutoutWriter(files=files, images=images),
    )
    stores.close()


def test_every_image_is_cut_as_astropy_cuts_it(archive: Archive) -> None:
    assert len(archive.rows) > 90
    for row in archive.rows:
        ref = ImageRef.from_text(row.image_ref)
        ny, nx = Grid.from_text(ref.grid).shape
        x0, x1, y0, y1 = nx // 3, max(nx // 2, nx // 3), ny // 4, max(ny // 2, ny // 4)
        with archive.cut(ID=row.dataset_id, PIXELS=f"{x0} {x1} {y0} {y1}") as found:
            assert found[0].header["OBSPUBID"] == row.dataset_id
            planes = [unit for unit in found if "SODASEC" in unit.header]
            assert len(planes) == len(ref.planes)
            for unit, plane in zip(planes, ref.planes, strict=True):
                require_same(unit, plane.path, plane.hdu, (y0, y1 + 1, x0, x1 + 1), found)


def require_same(
    unit: Any, path: str, hdu: int, bounds: tuple[int, int, int, int], found: Any
) -> None:
    """Pixels bit for bit, positions to a millionth of a pixel, all cards but those of places."""
    y0, y1, x0, x1 = bounds
    with fits.open(path) as whole, warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        source = whole[hdu]
        along_x, along_y = find_sky_axes(source.header) if source.data.ndim > 2 else (1, 2)
        part = [slice(None)] * source.data.ndim
        part[-along_x], part[-along_y] = slice(x0, x1), slice(y0, y1)
        expected = np.asarray(source.data)[tuple(part)]
        assert unit.data.dtype.newbyteorder("=") == expected.dtype.newbyteorder("="), path
        np.testing.assert_array_equal(unit.data, expected)
        if expected.ndim == 2:
            middle = (x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2
            peer = Cutout2D(source.data, middle, (y1 - y0, x1 - x0), mode="strict").data
            assert unit.data.tobytes() == np.asarray(peer, dtype=unit.data.dtype).tobytes()
        require_same_cards(unit.header, source.header)
        if "CTYPE1" in source.header or "AMDX1" in source.header:
            require_same_places((source, whole), (unit, found), bounds)


def require_same_cards(header: fits.Header, source: fits.Header) -> None:
    """Whatever a cutout does not change."""
    moved = ("NAXIS", "CRPIX", "LTV", "CNPIX", "CHECKSUM", "DATASUM", "SIMPLE", "XTENSION")
    moved += ("EXTEND", "PCOUNT", "GCOUNT", "GROUPS", "EXTNAME")
    for key in set(source) - {"", "COMMENT", "HISTORY"}:
        if not key.startswith(moved):
            assert value_text(header, key) == value_text(source, key)
    for key in ("COMMENT", "HISTORY"):
        assert list(map(str, header.get(key, ()))) == list(map(str, source.get(key, ()))), key


def value_text(header: fits.Header, key: str) -> str:
    """Keyword and value as they are written, also where astropy cannot read them."""
    image: str = header.cards[key].image
    return image.rstrip() if "'" in image else image.partition("/")[0].rstrip()


def require_same_places(source: Any, cut: Any, bounds: tuple[int, int, int, int]) -> None:
    """The same directions at three corners."""
    y0, y1, x0, x1 = bounds
    x, y = np.array([x0, x1 - 1, x0], dtype=float), np.array([y0, y1 - 1, y1 - 1], dtype=float)
    np.testing.assert_allclose(
        directions(*cut, x - x0, y - y0), directions(*source, x, y), rtol=0, atol=1e-9
    )


def directions(unit: Any, found: Any, x: Any, y: Any) -> Any:
    """By astropy alone; of cubes, some of which astropy refuses, by the plane of the sky."""
    if "CTYPE3" in unit.header or "CTYPE1" not in unit.header:
        return Grid.from_header(unit.header, unit.shape).pixel_to_sky(x, y)
    return WCS(unit.header, found).all_pix2world(x, y, 0)
