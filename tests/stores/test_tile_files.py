"""Parts of tile-compressed images, against astropy's own decompression of the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from app.stores.plane_files import PlaneFiles


@pytest.mark.parametrize("tile", [(1, 90), (17, 23), (64, 90), (100, 90)])
@pytest.mark.parametrize("coding", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "NOCOMPRESS"])
@pytest.mark.parametrize("dither", [-1, 1, 2])
def test_parts_of_tiles_are_parts_of_what_astropy_decompresses(
    tmp_path: Path, tile: tuple[int, int], coding: str, dither: int
) -> None:
    rng = np.random.default_rng(3)
    flux = rng.normal(10, 2, (132, 90)).astype(np.float32)
    flux[50:60, 20:40] = np.nan
    flux[0:3] = 0.0
    if coding == "HCOMPRESS_1":
        tile = (max(tile[0], 4), tile[1])
        flux = np.nan_to_num(flux)
    if coding == "NOCOMPRESS" and dither > 0:
        dither = -1
    path = tmp_path / "tiled.fits"
    unit = fits.CompImageHDU(
        flux, compression_type=coding, tile_shape=tile, quantize_method=dither, dither_seed=77
    )
    whole_numbers = rng.integers(0, 60000, (132, 90)).astype(np.uint16)
    other = fits.CompImageHDU(whole_numbers, compression_type=coding, tile_shape=tile)
    fits.HDUList([fits.PrimaryHDU(), unit, other]).writeto(path)
    files = PlaneFiles(data_dir=tmp_path)
    with fits.open(path, do_not_scale_image_data=True) as whole:
        for hdu in (1, 2):
            stored = files.find(path.name, hdu)
            for window in (((0, 132), (0, 90)), ((40, 41), (30, 31)), ((15, 70), (22, 90))):
                found = np.frombuffer(b"".join(files.read(stored, window)), stored.dtype)
                expected = whole[hdu].data[tuple(slice(*span) for span in window)]
                np.testing.assert_array_equal(found.reshape(expected.shape), expected)
