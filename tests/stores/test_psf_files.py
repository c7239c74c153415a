"""PSFs written, read back, read by the documented recipe, and read from the files of others."""

from __future__ import annotations

import galsim
import galsim.des
import numpy as np
import pytest
from astropy.io import fits

from app.errors import CoverageError, ImageFormatError
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage
from app.pixels.psf_coadd import CoaddPsf, combine_psfs
from app.pixels.psf_field import PsfField, fit_field
from app.stores.fits_files import format_faults
from app.stores.fits_layout import product_fits
from app.stores.psf_files import find_psf
from tests.psf_recipe import psf_stamp, recipe_code
from tests.truth.settings import TruthSettings

SHAPE = (200, 300)


def gaussian(half, sigma_x, sigma_y):
    v, u = np.mgrid[-half : half + 1, -half : half + 1]
    stamp = np.exp(-0.5 * ((u / sigma_x) ** 2 + (v / sigma_y) ** 2))
    return stamp / stamp.sum()


def varying_field(sigma=1.8):
    """Wider to the right, longer at the top."""
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(0, 299, 5), np.linspace(0, 199, 5)))
    stamps = np.stack(
        [gaussian(12, sigma + a / 600, sigma + b / 500) for a, b in zip(x, y, strict=True)]
    )
    return fit_field(
        stamps, x, y, degree=2, zero=(149.5, 99.5), scale=(150.0, 100.0), sampling=1.0, stars=31
    )


@pytest.fixture
def psf():
    """Two inputs: one over the whole image, one left of x = 150."""
    left = CoaddPsf.of_one(varying_field(2.6), (200, 150), name="ivo://x/b?2", weight=3.0)
    whole = CoaddPsf.of_one(varying_field(), SHAPE, name="ivo://x/b?1", weight=2.0)
    return combine_psfs([whole, left], SHAPE)


@pytest.fixture
def product(psf, tmp_path):
    header = TruthSettings().wcs(200, 0.0, (0.0, 0.0), distorted=False)
    grid = Grid.from_header(header, SHAPE)
    image = MaskedImage(
        np.ones(SHAPE, np.float32), np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.int32)
    )
    content = b"".join(product_fits(image, grid, [], [{"ID": 1}], psf=psf))
    assert content == b"".join(product_fits(image, grid, [], [{"ID": 1}], psf=psf))
    path = tmp_path / "product.fits"
    path.write_bytes(content)
    return path


def read(path, hdu=1):
    with fits.open(path) as hdulist:
        return find_psf(hdulist, hdu, SHAPE)


@pytest.mark.parametrize(("x", "y"), [(20.0, 30.0), (140.0, 190.0), (250.0, 100.0)])
def test_a_product_is_read_back_and_by_the_documented_recipe(product, psf, x, y):
    assert recipe_code().split("def ")[1].count("\n") <= 17
    wanted = psf.profile(x, y).stamp()
    for found in (read(product).profile(x, y).stamp(), psf_stamp(product, x, y)):
        assert found.sum() == pytest.approx(1.0)
        assert np.abs(found - wanted).max() < 3e-4 * wanted.max()


def test_what_a_component_is_survives(product, psf):
    again = read(product)
    assert [part.name for part in again.components] == ["ivo://x/b?1", "ivo://x/b?2"]
    assert [part.weight for part in again.components] == [2.0, 3.0]
    assert [part.field.stars for part in again.components] == [31, 31]
    assert again.shape == SHAPE
    with pytest.raises(CoverageError, match="inputs with a PSF"):
        again.profile(400.0, 20.0)


def test_a_psfex_table_gives_what_galsim_makes_of_it(tmp_path):
    field = varying_field()
    path = tmp_path / "psfex.psf"
    stamps = field.stamps[None].astype(np.float32)
    table = fits.BinTableHDU.from_columns(
        [fits.Column("PSF_MASK", f"{stamps.size}E", dim=str(stamps.shape[:0:-1]), array=stamps)],
        name="PSF_DATA",
    )
    size = stamps.shape[-1]
    cards = {
        "LOADED": 40, "ACCEPTED": 31, "CHI2": 1.0, "POLNAXIS": 2, "POLGRP1": 1,
        "POLNAME1": "X_IMAGE",
        "POLZERO1": 150.5, "POLSCAL1": 150.0, "POLGRP2": 1, "POLNAME2": "Y_IMAGE",
        "POLZERO2": 100.5, "POLSCAL2": 100.0, "POLNGRP": 1, "POLDEG1": 2, "PSF_FWHM": 4.2,
        "PSF_SAMP": 0.5, "PSFNAXIS": 3, "PSFAXIS1": size, "PSFAXIS2": size, "PSFAXIS3": 6,
    }  # fmt: skip
    table.header.update(cards)
    image = fits.ImageHDU(np.zeros(SHAPE, np.float32))
    fits.HDUList([fits.PrimaryHDU(), table, image]).writeto(path)
    theirs = galsim.des.DES_PSFEx(str(path))
    ours = read(path, 2)
    for x, y in ((10.0, 20.0), (149.5, 99.5), (280.0, 170.0)):
        there = theirs.getPSF(galsim.PositionD(x + 1, y + 1))
        drawn = there.drawImage(nx=11, ny=11, scale=1.0, method="no_pixel").array
        stamp = ours.profile(x, y).stamp(5)
        assert np.abs(stamp - drawn / drawn.sum()).max() < 2e-3 * stamp.max()
    assert ours.components[0].field.stars == 31


def test_a_stamp_hdu_is_a_constant_psf(tmp_path):
    path = tmp_path / "stamp.fits"
    image, stamp = (
        fits.ImageHDU(np.zeros(SHAPE)),
        fits.ImageHDU(5 * gaussian(9, 1.5, 2.0), name="PSFIMAGE"),
    )
    fits.HDUList([fits.PrimaryHDU(), image, stamp]).writeto(path)
    shape = read(path).profile(7.0, 180.0).shape()
    assert (shape.ixx, shape.iyy) == pytest.approx((2.25, 4.0), rel=1e-2)


def test_several_psfs_are_told_apart_by_extver_or_not_at_all(tmp_path):
    path = tmp_path / "several.fits"
    units = [fits.PrimaryHDU()]
    for ver in (1, 2):
        units.append(fits.ImageHDU(np.zeros(SHAPE), name="SCI", ver=ver))
        units.append(fits.ImageHDU(gaussian(9, float(ver), float(ver)), name="PSF", ver=ver))
    units.append(fits.ImageHDU(np.zeros(SHAPE), name="SCI", ver=3))
    fits.HDUList(units).writeto(path)
    assert read(path, 3).profile(0.0, 0.0).shape().ixx == pytest.approx(4.0, rel=0.02)
    assert read(path, 5) is None


@pytest.mark.parametrize(
    ("stamp", "reason"),
    [
        (np.full((9, 9), np.nan), "not finite"),
        (np.zeros((9, 9)), "without flux"),
        (np.ones((8, 9)), "no middle"),
    ],
)
def test_a_psf_of_no_use_is_told(tmp_path, stamp, reason):
    path = tmp_path / "bad.fits"
    image = fits.ImageHDU(np.zeros(SHAPE))
    fits.HDUList([fits.PrimaryHDU(), image, fits.ImageHDU(stamp, name="PSF")]).writeto(path)
    with pytest.raises(ImageFormatError, match=reason), format_faults("bad.fits"):
        read(path)


def test_no_psf_is_none(tmp_path):
    path = tmp_path / "plain.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros(SHAPE))]).writeto(path)
    assert read(path) is None


def test_a_field_alone_knows_its_size():
    assert (
        PsfField(gaussian(9, 2.0, 2.0)[None], 0, (0, 0), (1, 1), 0.5).profile(0, 0).reach_px == 4.5
    )
