"""Images from files as masked images; products onto the disk, whole or not at all."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import subprocess
import sys
import textwrap
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from app.errors import ImageFormatError, StorageFullError
from app.pixels.grid import Grid
from app.pixels.image import MASK_PLANES, MaskedImage, bits
from app.pixels.noise import estimate_variance
from app.recipes.recipe import ImageRef, PlaneRef
from app.stores.fits_layout import product_fits
from app.stores.images import WHOLE_ROWS_PX, ImageStore
from tests.machine import SHARED

SHAPE = (40, 50)
ROOT = Path(__file__).resolve().parents[2]


def grid(shape: tuple[int, int] = SHAPE) -> Grid:
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = 10.0, -20.0
    header["CRPIX1"], header["CRPIX2"] = 25.0, 20.0
    header["CDELT1"], header["CDELT2"] = -1e-4, 1e-4
    return Grid.from_header(header, shape)


def write(path: Path, *arrays: Any, headers: dict[int, dict[str, Any]] | None = None) -> Path:
    """Arrays as HDUs 0, 1, 2, ..."""
    units = [(fits.ImageHDU if n else fits.PrimaryHDU)(data) for n, data in enumerate(arrays)]
    for n, cards in (headers or {}).items():
        units[n].header.update(cards)
    fits.HDUList(units).writeto(path, overwrite=True)
    return path


def ref(path: Path, *roles: str, **facts: Any) -> ImageRef:
    """A reference whose planes are the HDUs of one file in order."""
    planes = tuple(PlaneRef(path=str(path), hdu=n, role=role) for n, role in enumerate(roles))  # type: ignore[arg-type]
    return ImageRef(dataset_id="ivo://t/c?x", planes=planes, grid=grid().to_text(), **facts)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(data_dir=tmp_path)


@pytest.fixture
def flux() -> np.ndarray:
    return np.random.default_rng(5).normal(100, 5, SHAPE).astype("f4")


def test_variance_from_each_kind_of_plane(store: ImageStore, tmp_path: Path, flux: Any) -> None:
    variance = np.full(SHAPE, 4.0, "f4")
    for role, plane in (
        ("variance", variance),
        ("weight", 1 / variance),
        ("stddev", variance**0.5),
    ):
        image = store.read(ref(write(tmp_path / f"{role}.fits", flux, plane), "image", role))
        assert np.array_equal(image.flux, flux)
        assert np.allclose(image.variance, 4.0)
        assert image.flux.dtype == image.variance.dtype == np.float32
        assert image.mask.dtype == np.int32
        assert not image.mask.any()


def test_pixels_without_weight_are_bad(store: ImageStore, tmp_path: Path, flux: Any) -> None:
    weight = np.ones(SHAPE, "f4")
    weight[3, 4], weight[5, 6] = 0.0, np.nan
    image = store.read(ref(write(tmp_path / "a.fits", flux, weight), "image", "weight"))
    assert {tuple(p) for p in np.argwhere(image.mask == bits("BAD"))} == {(3, 4), (5, 6)}
    assert np.isnan(image.variance[3, 4])
    assert image.usable().sum() == flux.size - 2


def test_flux_scale_reaches_every_plane(store: ImageStore, tmp_path: Path, flux: Any) -> None:
    flux[2, 2] = 5000.0
    path = write(tmp_path / "a.fits", flux, np.full(SHAPE, 4.0, "f4"))
    image = store.read(
        ref(path, "image", "variance", flux_scale=10.0, saturation=4000.0, bunit="nJy")
    )
    assert np.allclose(image.flux, flux * 10)
    assert np.allclose(image.variance, 400.0)
    assert {tuple(p) for p in np.argwhere(image.mask & bits("SAT"))} == {(2, 2)}  # stored values


def test_nan_is_no_data(store: ImageStore, tmp_path: Path, flux: Any) -> None:
    flux[1, 1], flux[2, 2] = np.nan, np.inf
    image = store.read(ref(write(tmp_path / "a.fits", flux), "image"))
    assert {tuple(p) for p in np.argwhere(image.mask & bits("NO_DATA"))} == {(1, 1), (2, 2)}
    assert np.isnan(image.flux[2, 2])
    assert np.isnan(image.variance[1, 1])


def test_nan_that_the_mask_does_not_tell_of_is_marked(
    store: ImageStore, tmp_path: Path, flux: Any
) -> None:
    flux[1, 1], flux[2, 2] = np.nan, np.nan
    told = np.zeros(SHAPE, "i4")
    told[1, 1] = bits("BAD")
    path = write(tmp_path / "a.fits", flux, told)
    mask = store.read(ref(path, "image", "mask", mask_planes=tuple(MASK_PLANES.items()))).mask
    assert mask[1, 1] == bits("BAD", "NO_DATA")
    assert mask[2, 2] == bits("UNMASKEDNAN", "NO_DATA")


def test_blank_integers_are_no_data(store: ImageStore, tmp_path: Path) -> None:
    stored = np.full(SHAPE, 7, "i2")
    stored[4, 4] = -99
    path = write(tmp_path / "a.fits", stored, headers={0: {"BLANK": -99}})
    image = store.read(ref(path, "image"))
    assert image.mask[4, 4] == bits("NO_DATA")
    assert (image.flux[:4] == 7).all()


def test_mask_bits_move_by_name(store: ImageStore, tmp_path: Path, flux: Any) -> None:
    """Every plane at a bit of the file's own; planes with unknown names are dropped."""
    theirs = [(name, 30 - n) for n, name in enumerate(MASK_PLANES)] + [("NOT_OURS", 2)]
    stored = np.zeros(SHAPE, "i4")
    for n, (_, bit) in enumerate(theirs):
        stored[n, 3] = 1 << bit
    stored[0, 9] = (1 << 30) | (1 << 28) | (1 << 2)
    path = write(tmp_path / "a.fits", flux, stored)
    image = store.read(ref(path, "image", "mask", mask_planes=tuple(theirs)))
    for n, name in enumerate(MASK_PLANES):
        assert image.mask[n, 3] == bits(name)
    assert image.mask[len(MASK_PLANES), 3] == 0
    assert image.mask[0, 9] == bits("BAD", "INTRP")


def test_mask_codes_are_whole_values(store: ImageStore, tmp_path: Path, flux: Any) -> None:
    stored = np.zeros(SHAPE, "i2")
    stored[0, :4] = (1, 3, 5, 77)
    path = write(tmp_path / "a.fits", flux, stored)
    image = store.read(ref(path, "image", "mask", mask_codes=((1, "BAD"), (3, "SAT"), (5, "CR"))))
    assert image.mask[0, :4].tolist() == [bits("BAD"), bits("SAT"), bits("CR"), bits("BAD")]
    plain = store.read(ref(path, "image", "mask"))
    assert plain.mask[0, :5].tolist() == [bits("BAD")] * 4 + [0]


def test_references_survive_text(tmp_path: Path, flux: Any) -> None:
    made = ref(
        tmp_path / "a.fits",
        "image",
        "mask",
        mask_codes=((1, "BAD"),),
        mask_planes=(("SAT", 3),),
        flux_scale=2.0,
        gain_e_per_unit=4.0,
        saturation=5.0,
    )
    assert ImageRef.from_text(made.to_text()) == made


def test_estimated_variance_is_that_of_sky_and_photons(store: ImageStore, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    shape = (256, 320)
    sky = np.linspace(900, 1100, shape[1])[None, :] * np.ones(shape)  # a gradient is not noise
    flux = rng.normal(sky, 20.0)
    flux[100:110, 100:110] += 1e5
    big = replace(
        ref(write(tmp_path / "a.fits", flux.astype("f4")), "image"), grid=grid(shape).to_text()
    )
    plain = store.read(big).variance
    assert np.allclose(plain, plain[0, 0])
    assert plain[0, 0] == pytest.approx(400.0, rel=0.1)
    gained = store.read(replace(big, gain_e_per_unit=4.0)).variance
    assert gained[105, 105] == pytest.approx(400 + 1e5 / 4, rel=0.02)
    assert gained[~np.isnan(gained)].min() == pytest.approx(plain[0, 0])


@pytest.mark.needs("shared")
def test_the_scatter_of_real_sky_matches_its_estimate() -> None:
    with fits.open(SHARED / "realdata/decam_i_2016_2018/DEC-OBS18a.mini.fits") as hdulist:
        flux = hdulist[0].data.astype("f4")
    variance = estimate_variance(flux, np.isfinite(flux), gain_e_per_unit=4.15)
    low, middle = np.percentile(flux, [15.9, 50])
    assert np.sqrt(np.median(variance)) == pytest.approx(middle - low, rel=0.15)


def test_width_and_zero_point_come_along(store: ImageStore, tmp_path: Path, flux: Any) -> None:
    path = write(tmp_path / "a.fits", flux)
    image = store.read(ref(path, "image", fwhm_arcsec=1.08, zero_point_mag=31.4))
    assert image.fwhm_px == pytest.approx(3.0)
    assert image.zero_point_mag == 31.4


def test_planes_of_other_files_and_cubes(store: ImageStore, tmp_path: Path, flux: Any) -> None:
    write(tmp_path / "cube.fits", np.stack([flux, flux + 1])[None])
    write(tmp_path / "w.fits", np.ones(SHAPE, "f4"))
    made = ref(tmp_path / "cube.fits", "image")
    planes = (
        PlaneRef(path="cube.fits", hdu=0, role="image", planes=(0, 1)),  # below the data folder
        PlaneRef(path="w.fits", hdu=0, role="weight"),
    )
    image = store.read(replace(made, planes=planes))
    assert np.array_equal(image.flux, flux + 1)
    assert (image.variance == 1).all()
    with pytest.raises(ImageFormatError, match="two-dimensional"):
        store.read(made)


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize(
    ("dtype", "cards"),
    [
        ("f4", {}),
        ("f8", {}),
        ("f4", {"BSCALE": 0.1, "BZERO": 7.0}),
        ("i2", {}),
        ("i2", {"BLANK": 3}),
        ("i2", {"BSCALE": 0.25, "BZERO": 100.0, "BLANK": -5}),
        ("i2", {"BZERO": 32768.0}),
        ("i4", {"BSCALE": 1e-3}),
        ("i4", {"BZERO": 2147483648.0}),
        ("u1", {"BSCALE": 2.0}),
    ],
)
def test_a_part_has_the_very_values_of_the_whole(
    store: ImageStore, tmp_path: Path, dtype: str, cards: dict[str, float], tiled: bool
) -> None:
    rng = np.random.default_rng(5)
    stored = rng.integers(0 if dtype == "u1" else -60, 60, SHAPE).astype(dtype)
    unit = fits.ImageHDU(stored)
    if tiled:
        unit = fits.CompImageHDU(stored, compression_type="RICE_1" if dtype[0] != "f" else "GZIP_2")
    path = tmp_path / "x.fits"
    fits.HDUList([fits.PrimaryHDU(), unit]).writeto(path)
    with fits.open(path, mode="update", disable_image_compression=True) as file:
        file[1].header.update(cards)
    planes = (PlaneRef(path=str(path), hdu=1, role="image"),)
    image = replace(ref(path), planes=planes)
    whole, part = store.read(image), store.read(image, (7, 33, 4, 41))
    np.testing.assert_array_equal(part.flux, whole.flux[7:33, 4:41])
    np.testing.assert_array_equal(part.mask, whole.mask[7:33, 4:41])


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.fits.bz2", "a.fits.fz"])
def test_a_part_of_an_image(store: ImageStore, tmp_path: Path, flux: Any, name: str) -> None:
    variance, mask = np.full(SHAPE, 4, "f4"), np.arange(flux.size, dtype="i4").reshape(SHAPE) % 4
    path = write(tmp_path / "a.fits", flux, mask, variance)
    if name.endswith(".fz"):
        units = [
            fits.PrimaryHDU(),
            *(fits.CompImageHDU(a, quantize_level=1e4) for a in (flux, mask, variance)),
        ]
        fits.HDUList(units).writeto(tmp_path / name)
    elif name != "a.fits":
        pack = gzip.compress if name.endswith("gz") else bz2.compress
        (tmp_path / name).write_bytes(pack(path.read_bytes()))
    first = 1 if name.endswith(".fz") else 0
    roles = ("image", "mask", "variance")
    planes = tuple(PlaneRef(path=name, hdu=n + first, role=r) for n, r in enumerate(roles))  # type: ignore[arg-type]
    made = replace(ref(path, "image", mask_planes=(("BAD", 0), ("CR", 1))), planes=planes)
    whole, part = store.read(made), store.read(made, (5, 15, 20, 50))
    assert part.shape == (10, 30)
    for plane in ("flux", "variance", "mask"):
        assert np.array_equal(getattr(part, plane), getattr(whole, plane)[5:15, 20:50])
    assert np.allclose(whole.flux, flux, atol=0.01)


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz"])
@pytest.mark.parametrize("width", [50, WHOLE_ROWS_PX + 9])
def test_rows_and_columns_are_read_as_they_are_in_the_whole(
    store: ImageStore, tmp_path: Path, name: str, width: int
) -> None:
    rng = np.random.default_rng(5)
    shape = (40, width)
    planes = rng.normal(100, 5, shape).astype("f4"), rng.integers(0, 4, shape, dtype="i4")
    planes[0][3, 5] = np.nan
    path = write(tmp_path / "a.fits", *planes)
    if name.endswith("gz"):
        path = tmp_path / name
        path.write_bytes(gzip.compress((tmp_path / "a.fits").read_bytes()))
    made = ref(path, "image", "mask", mask_planes=(("BAD", 0), ("CR", 1)))
    made = replace(made, grid=grid(shape).to_text())
    whole = store.read_light(made)
    with store.open_light(made) as read:
        for start, stop, first, last in (
            (0, 40, 0, width),
            (2, 9, 4, 30),
            (39, 40, width - 1, width),
        ):
            part = read(start, stop, columns=(first, last))
            for got, wanted in zip(part, whole, strict=True):
                np.testing.assert_array_equal(got, wanted[start:stop, first:last])
        assert not read(2, 9, columns=(4, 30), masked=False)[1].any() or name.endswith("gz")


def damaged(path: Path, flux: Any) -> dict[str, bytes]:
    good = write(path / "good.fits", flux, flux).read_bytes()
    return {
        "cut.fits": good[:6000],
        "head.fits": good[:900],
        "empty.fits": b"",
        "text.fits": b"hello" * 2000,
        "cut.fits.gz": gzip.compress(good)[:4000],
        "cut.fits.bz2": bz2.compress(good)[:4000],
    }


@pytest.mark.parametrize(
    "name",
    [
        "cut.fits",
        "head.fits",
        "empty.fits",
        "text.fits",
        "cut.fits.gz",
        "cut.fits.bz2",
        "gone.fits",
    ],
)
def test_damaged_files_are_named(store: ImageStore, tmp_path: Path, flux: Any, name: str) -> None:
    content = damaged(tmp_path, flux).get(name)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageFormatError) as fault:
        store.read(ref(tmp_path / name, "image", "variance"))
    assert fault.value.args[0] == name
    assert str(tmp_path) not in str(fault.value)


def test_a_file_of_another_shape_or_without_that_hdu(
    store: ImageStore, tmp_path: Path, flux: Any
) -> None:
    path = write(tmp_path / "a.fits", flux[:30], flux)
    with pytest.raises(ImageFormatError, match="shape"):
        store.read(ref(path, "image"))
    path = write(tmp_path / "b.fits", flux)
    with pytest.raises(ImageFormatError, match=r"b\.fits"):
        store.read(ref(path, "image", "variance"))


def test_a_damaged_tile_is_an_image_format_error(
    store: ImageStore, tmp_path: Path, flux: Any
) -> None:
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(flux)]).writeto(path)
    content = bytearray(path.read_bytes())
    content[8640 : 8640 + 400] = b"\xff" * 400  # the table that says where the tiles lie
    path.write_bytes(content)
    made = replace(ref(path, "image"), planes=(PlaneRef(path=str(path), hdu=1, role="image"),))
    with pytest.raises(ImageFormatError):
        store.read(made)


def product(flux: Any, **options: Any) -> bytes:
    mask = np.zeros(SHAPE, "i4")
    mask[3, 4] = bits("CLIPPED", "HIGH_VARIANCE")
    image = MaskedImage(flux, np.full(SHAPE, 4, "f4"), mask)
    cards = [
        ("OBJECT", "field", "what"),
        ("NVISIT", 3, ""),
        ("MATCHSCALE", 1.5, "long name"),
        ("NONE", None, ""),
    ]
    inputs = [
        {"id": "ivo://a/b?1", "weight": 0.5, "n": 1, "rejected": None},
        {"id": "ivo://a/b?22", "weight": None, "n": 2, "rejected": "cloud"},
    ]
    return b"".join(product_fits(image, grid(), cards, inputs, bunit="nJy", **options))


def test_the_layout_of_a_product(flux: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(io.BytesIO(product(flux)), checksum=True) as hdulist:
            hdulist.verify("exception")
            assert [unit.name for unit in hdulist] == [
                "PRIMARY",
                "IMAGE",
                "MASK",
                "VARIANCE",
                "INPUTS",
            ]
            primary, image, mask, variance, inputs = hdulist
            assert (primary.header["OBJECT"], primary.header["MATCHSCALE"]) == ("field", 1.5)
            assert "NONE" not in primary.header
            assert (image.header["BITPIX"], mask.header["BITPIX"], variance.header["BITPIX"]) == (
                -32,
                32,
                -32,
            )
            assert (image.header["BUNIT"], variance.header["BUNIT"]) == ("nJy", "nJy**2")
            assert np.array_equal(image.data, flux)
            for name, bit in MASK_PLANES.items():
                assert mask.header[f"MP_{name}"] == bit
            for unit in (image, mask, variance):
                assert Grid.from_header(unit.header, SHAPE).pixel_to_sky(
                    3, 4
                ) == grid().pixel_to_sky(3, 4)
            assert inputs.data["id"].tolist() == ["ivo://a/b?1", "ivo://a/b?22"]
            assert inputs.data["n"].tolist() == [1, 2]
            assert np.isnan(inputs.data["weight"][1])
            assert inputs.data["rejected"].tolist() == ["", "cloud"]
            for unit in hdulist:
                assert "CHECKSUM" in unit.header
                assert "DATASUM" in unit.header


def test_the_same_product_has_the_same_bytes(flux: Any) -> None:
    """Also at another time of day: astropy writes the time into its checksum comments."""
    script = textwrap.dedent(
        """
        import hashlib, sys, time
        sys.path[:0] = [{root!r}, {tests!r}]
        import numpy as np
        from test_images import SHAPE, product
        flux = np.random.default_rng(5).normal(100, 5, SHAPE).astype("f4")
        time.sleep(1.1)
        print(hashlib.sha256(product(flux)).hexdigest())
        """
    ).format(root=str(ROOT), tests=str(Path(__file__).parent))
    other = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == hashlib.sha256(product(flux)).hexdigest()


def test_a_product_can_be_read_back(store: ImageStore, tmp_path: Path, flux: Any) -> None:
    written = store.write("products/x.fits", product(flux))
    content = (tmp_path / "products" / "x.fits").read_bytes()
    assert written.size_bytes == len(content)
    assert written.checksum == hashlib.sha256(content).hexdigest()
    roles = {"image": 1, "mask": 2, "variance": 3}
    planes = tuple(PlaneRef(path="products/x.fits", hdu=n, role=r) for r, n in roles.items())  # type: ignore[arg-type]
    made = replace(ref(tmp_path, "image"), planes=planes, mask_planes=tuple(MASK_PLANES.items()))
    image = store.read(made)
    assert np.array_equal(image.flux, flux)
    assert image.mask[3, 4] == bits("CLIPPED", "HIGH_VARIANCE")


def test_a_write_that_fails_leaves_the_old_file(store: ImageStore, tmp_path: Path) -> None:
    store.write("p/x.fits", b"old")

    def broken() -> Any:
        yield b"new"
        raise RuntimeError("the build died")

    with pytest.raises(RuntimeError):
        store.write("p/x.fits", broken())
    assert (tmp_path / "p" / "x.fits").read_bytes() == b"old"
    assert [p.name for p in (tmp_path / "p").iterdir()] == ["x.fits"]
    store.write("p/x.fits", iter([b"ne", b"w"]))
    assert (tmp_path / "p" / "x.fits").read_bytes() == b"new"


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """A file size limit stands for the quota: the kernel refuses the write half way."""
    script = textwrap.dedent(
        """
        import resource, sys
        from pathlib import Path
        sys.path.insert(0, {root!r})
        from app.errors import StorageFullError
        from app.stores.images import WHOLE_ROWS_PX, ImageStore
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            ImageStore(data_dir=Path({folder!r})).write("p/x.fits", bytes(1_000_000))
        except StorageFullError as fault:
            print(fault)
        """
    ).format(root=str(ROOT), folder=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(StorageFullError("x.fits"))
    assert list((tmp_path / "p").iterdir()) == []
