"""How good a product is, as a survey engineer asks for it by TAP, on both engines."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable.ucd import parse_ucd

from app.schema.catalogs import BUILD_QUALITY
from app.uws.job import Phase
from tests.services.builds_fixture import Field
from tests.services.survey import SCALE_ARCSEC, Exposure, standard_exposures
from tests.services.test_builds import POSITION, SCIENCE, select

QUALITY = (
    "SELECT q.*, o.s_resolution, o.t_exptime FROM ivoa.ObsCore AS o "
    "JOIN skyloom.build_quality AS q ON q.obs_publisher_did = o.obs_publisher_did"
)


def assert_told(header: fits.Header) -> None:
    """Every card has a comment, but for identifiers, which take the whole card."""
    bare = {card.keyword for card in header.cards if not card.comment} - {"CONTINUE", "EXTEND"}
    assert bare <= {"OBSPUBID", "SCIENCE"}


def test_the_quality_of_a_template_is_published(field: Field) -> None:
    job = field.run("template", POS=POSITION, BAND="i", MAX_INPUTS=3, KERNEL="lanczos5")
    assert job.phase is Phase.COMPLETED, job.error
    (row,) = select(field, QUALITY)
    product = field.builds.get_product(str(job.results[0].dataset_id))
    assert row["obs_publisher_did"] == product.dataset_id
    assert (row["n_inputs"], row["n_exposures"], row["n_rejected"]) == (3, 3, 2)
    assert (row["kernel"], row["statistic"], row["warp"]) == ("lanczos5", "meanclip", "direct")
    assert row["fwhm_arcsec"] == row["s_resolution"]
    assert row["build_s"] > 0
    of_differences = ("kernel_sum", "stamps_used", "blank_pixels", "missing_patches")
    assert {row[name] for name in of_differences} == {None}
    with fits.open(product.file_path) as hdus:
        header, ccds = hdus[0].header, hdus["CCDS"].data
        flux, variance = hdus["IMAGE"].data, hdus["VARIANCE"].data
        fwhm_px = header["FWHM"] / SCALE_ARCSEC
        has_data, n_image = np.isfinite(flux), hdus["NIMAGE"].data
        stars = hdus["PSF"].data["STARS"]
    assert_told(header)
    noise = float(np.sqrt(np.nanmedian(variance[has_data])))
    assert row["noise"] == pytest.approx(noise, rel=0.01)
    assert row["coverage"] == pytest.approx(has_data.mean(), abs=0.01)
    assert row["median_n_image"] == 3
    depth = 31.4 - 2.5 * np.log10(5 * noise * fwhm_px * np.sqrt(2.266))
    assert row["depth_mag"] == pytest.approx(depth, abs=0.02)
    cards = {"box_noise_ratio": "BOXNOISE", "position_error_px": "WCSERR"}
    assert {name: row[name] for name in cards} == {
        name: pytest.approx(header[card]) for name, card in cards.items()
    }
    assert 0.9 < row["box_noise_ratio"] < 1.5 and 0 <= row["position_error_px"] < 1e-3
    assert (row["n_psf"], row["n_psf_stars"]) == (3, stars.sum())
    # Depths go as the widths of the PSFs: noise, zero point and exposure time are the same.
    widths = [e.fwhm_px for e in standard_exposures()[:3]]
    seconds = [30.0 * (np.median(widths) / width) ** 2 for width in widths]
    each = np.dot(seconds, ccds["n_pixels"]) / np.count_nonzero(n_image)
    assert row["effective_time_s"] == pytest.approx(each, rel=1e-3)
    assert row["effective_time_s"] < row["t_exptime"] * 1.1


def test_the_quality_of_a_difference_is_published(field: Field) -> None:
    job = field.run("difference", ID=SCIENCE.dataset_id)
    (row,) = select(field, QUALITY)
    product = field.builds.get_product(str(job.results[0].dataset_id))
    header = fits.getheader(product.file_path)
    cards = {"kernel_sum": "KERNSUM", "pull_sigma": "PULLSIG", "stamps_used": "NSTAMPS"}
    cards |= {
        "blank_pixels": "NBLANK",
        "kernel_sum_scatter": "KSUMSIG",
        "masked_fraction": "MASKED",
    }
    cards |= {"science_fwhm_arcsec": "SCIFWHM", "template_fwhm_arcsec": "TMPFWHM"}
    assert {name: row[name] for name in cards} == {
        name: pytest.approx(header[card]) for name, card in cards.items()
    }
    assert (row["n_inputs"], row["n_rejected"], row["median_n_image"]) == (4, 1, None)
    assert (row["statistic"], row["n_psf"], row["effective_time_s"]) == ("meanclip", None, None)
    assert row["method"] == "kernel"
    assert all(type(header[card]) is int for card in ("NSTAMPS", "NSTAMREJ", "NBLANK"))
    assert_told(header)


def test_inputs_of_unknown_depth_have_no_effective_time(field: Field) -> None:
    field.add(*(Exposure(visit=30 + n, band="y", zero_point=False) for n in range(2)))
    job = field.run("template", POS=POSITION, BAND="y")
    assert job.phase is Phase.COMPLETED, job.error
    (row,) = select(field, QUALITY)
    assert (row["effective_time_s"], row["noise"], row["n_inputs"]) == (None, None, 2)


def test_what_was_built_quotes_what_is_asked_next(field: Field) -> None:
    asked = {"POS": POSITION, "BAND": "i", "MAX_INPUTS": "4"}
    assert field.forecasts.dry_run("template", list(asked.items())).seconds is None
    job = field.run("template", **asked)
    field.jobs.destroy(job)
    (row,) = select(field, QUALITY)
    told = field.forecasts.dry_run("template", list({**asked, "KERNEL": "bilinear"}.items()))
    assert told.seconds == pytest.approx(row["build_s"])
    half = field.forecasts.dry_run("template", list({**asked, "MAX_INPUTS": "2"}.items()))
    assert 0 < half.seconds < told.seconds


def test_every_column_is_described() -> None:
    for column in BUILD_QUALITY.fields:
        parse_ucd(column.ucd or "", check_controlled_vocabulary=True, has_colon=True)
        assert column.description, column.name
    units = {column.name.rpartition("_")[2]: column.unit for column in BUILD_QUALITY.fields}
    expected = {"mag": "mag", "arcsec": "arcsec", "s": "s", "px": "pixel"}
    assert {end: units[end] for end in expected} == expected
