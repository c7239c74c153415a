from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from app.pixels.coverage import Coverage
from app.pixels.image import MaskedImage, bits
from app.pixels.mask_runs import MaskRuns
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.psf_field import PsfField
from app.pixels.warp import Window
from app.stores.warps import StoredWarp, WarpStore

SHAPE = (90, 70)
_V, _U = np.mgrid[-9:10, -9:10]
PSF = CoaddPsf.of_one(
    PsfField(np.exp(-0.125 * (_U * _U + _V * _V))[None], 0, (0.0, 0.0), (1.0, 1.0)), SHAPE
)
BOUNDS = (11, 61, 7, 57)
COVERAGE = Coverage((12, 60, 7, 50), 1234, "POLYGON ICRS 10 20 11 20 11 21")


def window(seed: int = 1, bounds: tuple[int, int, int, int] = BOUNDS) -> Window:
    shape = (bounds[1] - bounds[0], bounds[3] - bounds[2])
    rng = np.random.default_rng(seed)
    image = MaskedImage(
        rng.normal(size=shape).astype(np.float32),
        rng.uniform(1, 2, shape).astype(np.float32),
        np.repeat(rng.integers(0, 4, shape), 5, axis=1)[:, : shape[1]].astype(np.int32),
        fwhm_px=3.5,
        zero_point_mag=27.0,
    )
    return Window(image, bounds, 2e-4)


def add(store: WarpStore, key: str, part: Window, psf: CoaddPsf | None = None) -> StoredWarp:
    runs = MaskRuns.of(part.image)
    return store.add(
        key, part, SHAPE, weight=1.0, sky=5.0, scale=2.0, runs=runs, coverage=COVERAGE, psf=psf
    )


@pytest.mark.parametrize("bounds", [BOUNDS, (0, 90, 0, 70), (0, 90, 3, 9), (89, 90, 0, 70)])
def test_bands_are_the_window_in_a_target_without_data(
    tmp_path: Path, bounds: tuple[int, int, int, int]
) -> None:
    store = WarpStore(folder=tmp_path / "warps", max_bytes=10**9)
    part = window(bounds=bounds)
    whole = np.full(SHAPE, np.nan, np.float32)
    mask = np.full(SHAPE, bits("NO_DATA"), np.int32)
    y_start, y_stop, x_start, x_stop = bounds
    whole[y_start:y_stop, x_start:x_stop] = part.image.flux
    mask[y_start:y_stop, x_start:x_stop] = part.image.mask
    for warp in (
        add(store, "a", part, PSF),
        store.find("a"),
    ):
        assert warp is not None
        with warp:
            assert (warp.shape, warp.bounds) == (SHAPE, bounds)
            assert (warp.fwhm_px, warp.zero_point_mag, warp.facts.scale) == (3.5, 27.0, 2.0)
            assert warp.facts.coverage == COVERAGE
            psf = warp.psf()
            assert psf is not None
            assert psf.profile(30.0, 40.0).shape().sigma_px == pytest.approx(2.0, rel=1e-3)
            for start, stop in ((0, 90), (5, 20), (20, 21), (60, 90), (40, 40)):
                rows = warp.rows(start, stop)
                np.testing.assert_array_equal(rows.flux, whole[start:stop])
                np.testing.assert_array_equal(rows.mask, mask[start:stop])
                assert np.isfinite(rows.variance).sum() == np.isfinite(whole[start:stop]).sum()


def test_a_damaged_or_cut_file_counts_as_absent(tmp_path: Path) -> None:
    store = WarpStore(folder=tmp_path, max_bytes=10**9)
    for spoil in ("zero", "cut", "header"):
        add(store, "a", window()).close()
        path = tmp_path / "a.warp"
        content = bytearray(path.read_bytes())
        if spoil == "zero":
            content[40000:40400] = bytes(400)
        if spoil == "header":
            content[:40] = bytes(40)
        path.write_bytes(content[:-4000] if spoil == "cut" else content)
        assert store.find("a") is None, spoil
        assert not path.exists()
    assert store.find("never") is None


def test_what_is_longest_unused_goes_first_but_not_while_it_is_read(tmp_path: Path) -> None:
    size = 3 * 4 * 50 * 50 + 32768
    store = WarpStore(folder=tmp_path, max_bytes=2 * size)
    warps = [add(store, name, window(n)) for n, name in enumerate("abc")]
    for age, name in enumerate("cab"):
        os.utime(tmp_path / f"{name}.warp", (1000 + age, 1000 + age))
    found = store.find("c")
    assert found is not None
    store.trim()
    assert {path.name for path in tmp_path.iterdir()} == {"a.warp", "b.warp", "c.warp"}
    np.testing.assert_array_equal(warps[0].rows(11, 61).flux[:, 7:57], window(0).image.flux)
    for warp in (*warps, found):
        warp.close()
    with pytest.raises(OSError):
        warps[0].rows(11, 12)
    store.trim()
    assert {path.name for path in tmp_path.iterdir()} == {"b.warp", "c.warp"}
