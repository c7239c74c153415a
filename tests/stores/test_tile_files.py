"""Parts of tile-compressed images, against astropy's own decompression of the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ImageFormatError
from app.stores.plane_files import PlaneFiles
from app.stores.tile_codes import SPLIT_BITS, decode_rice


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


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32])
@pytest.mark.parametrize("spread", [0, 1, 40, 1e12])
def test_rice_codes_of_whole_numbers(tmp_path: Path, kind: type, spread: float) -> None:
    rng = np.random.default_rng(5)
    limits = np.iinfo(kind)
    drawn = np.clip(rng.normal(100, spread, (40, 333)), limits.min, limits.max)
    path = tmp_path / "tiled.fits"
    unit = fits.CompImageHDU(drawn.astype(kind), compression_type="RICE_1", tile_shape=(1, 333))
    fits.HDUList([fits.PrimaryHDU(), unit]).writeto(path)
    files = PlaneFiles(data_dir=tmp_path)
    stored = files.find(path.name, 1)
    found = np.frombuffer(b"".join(files.read(stored, ((3, 40), (20, 300)))), stored.dtype)
    np.testing.assert_array_equal(found.reshape(37, 280), drawn.astype(kind)[3:40, 20:300])


@given(code=st.binary(max_size=60), size=st.sampled_from([1, 2, 4]))
def test_damaged_codes_come_to_an_end(code: bytes, size: int) -> None:
    values = np.zeros(1000, dtype=np.int64)
    decode_rice(np.frombuffer(code, np.uint8), size, SPLIT_BITS[size], 32, values)
    assert not decode_rice(np.zeros(0, np.uint8), size, SPLIT_BITS[size], 32, values)


def test_a_code_that_ends_early_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tiled.fits"
    noise = np.random.default_rng(1).integers(-(2**30), 2**30, (4, 500)).astype(np.int32)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(noise)]).writeto(path)
    with fits.open(path, disable_image_compression=True) as found:
        place = found[1].fileinfo()["datLoc"]
    with path.open("r+b") as file:
        file.seek(place)
        file.write((5).to_bytes(4, "big"))  # the length of the first tile's code
    files = PlaneFiles(data_dir=tmp_path)
    with pytest.raises(ImageFormatError, match=r"tiled\.fits .* damaged"):
        list(files.read(files.find(path.name, 1), ((0, 4), (0, 500))))
