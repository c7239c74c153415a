"""``skyloom.*``: tables of our own that join to ObsCore."""

from __future__ import annotations

from typing import Final

from app.schema.columns import integer, real, text
from app.schema.coverage import COVERAGE
from app.schema.dia_source import DIA_SOURCE
from app.schema.fields import ForeignKey, Schema, Table

PRODUCT_INPUT: Final = Table(
    schema_name="skyloom",
    name="skyloom.product_input",
    physical="product_input",
    fields=(
        text(
            "product_id",
            "obs_publisher_did of the built image",
            ucd="meta.id;meta.main",
            principal=True,
            indexed=True,
        ),
        text(
            "input_id",
            "obs_publisher_did of an image that took part in the build",
            ucd="meta.id",
            principal=True,
            indexed=True,
        ),
        text(
            "role",
            "How the input took part: template (warped and combined) or science",
            ucd="meta.code",
            principal=True,
        ),
        real(
            "weight",
            "Share of the input in the combination; null for a science image",
            ucd="stat.weight",
            principal=True,
        ),
        real(
            "scale",
            "Factor that brought the input to the photometric scale of the product",
            ucd="arith.factor",
        ),
        text("rejected", "Why the input was left out; null when it was used", ucd="meta.note"),
        text(
            "input_checksum",
            "Checksum the input's file had when the product was built",
            ucd="meta.checksum",
        ),
    ),
    description="Provenance: which images went into which built image, and how",
    foreign_keys=(
        ForeignKey(
            key_id="product_input_product",
            target="ivoa.ObsCore",
            columns=(("product_id", "obs_publisher_did"),),
            description="The built image",
        ),
        ForeignKey(
            key_id="product_input_input",
            target="ivoa.ObsCore",
            columns=(("input_id", "obs_publisher_did"),),
            description="The image it was built from",
        ),
    ),
)

BUILD_QUALITY: Final = Table(
    schema_name="skyloom",
    name="skyloom.build_quality",
    physical="build_quality",
    fields=(
        text(
            "obs_publisher_did",
            "The built image",
            ucd="meta.id;meta.main",
            principal=True,
            indexed=True,
        ),
        integer(
            "n_inputs",
            "Images that the template was made of",
            ucd="meta.number;obs.image",
            principal=True,
        ),
        integer(
            "n_exposures",
            "Exposures that these images are of; null when they are coadds",
            ucd="meta.number;obs.exposure",
        ),
        integer(
            "n_rejected",
            "Images that were left out, with reasons in product_input",
            ucd="meta.number;obs.image",
        ),
        text("kernel", "Kernel by which the images were resampled", ucd="meta.code"),
        text(
            "statistic",
            "How the exposures were combined; null when the images are coadds",
            ucd="meta.code",
        ),
        text(
            "warp",
            "direct, or psfmatched: all of one PSF; null when the images are coadds",
            ucd="meta.code",
        ),
        text(
            "method",
            "How the template was subtracted: kernel, zogy, snap or likelihood (differences)",
            ucd="meta.code",
        ),
        text(
            "missing_patches",
            "Patches (TRACT/PATCH, separated by blanks) of the sky map under the image of which "
            "no coadd could be taken; null when none is missing, or exposures were combined",
            ucd="meta.id;pos",
        ),
        real(
            "depth_mag",
            "AB magnitude of a point source at 5 sigma where the sky rules",
            unit="mag",
            ucd="phot.mag;stat.min",
            principal=True,
        ),
        real(
            "fwhm_arcsec",
            "Full width at half maximum of the PSF",
            unit="arcsec",
            ucd="instr.obsty.seeing",
            principal=True,
        ),
        real(
            "noise",
            "Median standard deviation of a pixel; null without a zero point",
            unit="nJy",
            ucd="stat.stdev;phot.flux.density",
        ),
        real(
            "box_noise_ratio",
            "Scatter of sums over 8 x 8 blank pixels over what their variances tell: what the "
            "covariance of pixels adds to the error of an aperture (templates)",
            ucd="stat.stdev;arith.ratio",
        ),
        real(
            "effective_time_s",
            "Exposure time that under the median conditions of the inputs gives the depth of a "
            "pixel, mean over the pixels that have data (templates of exposures)",
            unit="s",
            ucd="time.duration;obs.exposure",
        ),
        real("zero_point_mag", "AB magnitude of one unit of the image", unit="mag", ucd="phot.mag"),
        real(
            "coverage", "Fraction of the pixels that have data", ucd="stat.filling", principal=True
        ),
        real(
            "masked_fraction",
            "Fraction of these whose mask makes them useless: bad, saturated, a cosmic ray …",
            ucd="meta.number;arith.ratio;instr.pixel",
        ),
        real(
            "median_n_image",
            "Median number of images in a pixel that has data (templates)",
            ucd="meta.number;stat.median",
        ),
        real(
            "clipped_fraction",
            "Fraction of the input pixels that were clipped, mean over the images (templates)",
            ucd="meta.number;arith.ratio;instr.pixel",
        ),
        real(
            "position_error_px",
            "Largest error of the positions by which inputs were resampled, in their pixels "
            "(templates of exposures)",
            unit="pixel",
            ucd="stat.error;pos.cartesian",
        ),
        integer(
            "n_psf",
            "Images whose PSF is known and part of the template's (templates)",
            ucd="meta.number;instr.det.psf",
        ),
        integer(
            "n_psf_stars",
            "Stars on which these PSFs were measured (templates)",
            ucd="meta.number;instr.det.psf",
        ),
        real(
            "kernel_sum",
            "Sum of the matching kernel at the centre (differences)",
            ucd="arith.factor",
        ),
        real(
            "kernel_sum_scatter",
            "Scatter of that sum from star to star (differences)",
            ucd="stat.stdev;arith.ratio",
        ),
        real(
            "photometric_scale",
            "Factor that brought the template to the flux scale of the science image (differences)",
            ucd="arith.factor",
        ),
        integer(
            "stamps_used",
            "Stars that the matching kernel was fitted to (differences)",
            ucd="meta.number;src",
        ),
        integer(
            "stamps_rejected",
            "Stars that were left out of the fit (differences)",
            ucd="meta.number;src",
        ),
        real(
            "stamp_chi",
            "Median scatter of the residuals of these stars, in sigma (differences)",
            ucd="stat.fit.residual;stat.median",
        ),
        real(
            "science_fwhm_arcsec",
            "Width of the science image's PSF by which the kernel was chosen (differences)",
            unit="arcsec",
            ucd="instr.obsty.seeing",
        ),
        real(
            "template_fwhm_arcsec",
            "Width of the template's PSF by which the kernel was chosen (differences)",
            unit="arcsec",
            ucd="instr.obsty.seeing",
        ),
        real(
            "pull_sigma",
            "Scatter of blank pixels before their variance was scaled, in sigma (differences)",
            ucd="stat.stdev",
        ),
        integer(
            "blank_pixels",
            "Pixels by which that scatter was measured (differences)",
            ucd="meta.number;instr.pixel",
        ),
        real(
            "variance_factor",
            "What the variance was multiplied by (differences)",
            ucd="arith.factor",
        ),
        real(
            "bright_chi",
            "Scatter of the residuals of bright stars, in sigma (differences)",
            ucd="stat.fit.residual",
        ),
        real(
            "star_residual",
            "Scatter of what is left of stars over their flux, beyond noise (differences)",
            ucd="stat.fit.residual;phot.flux",
        ),
        integer(
            "n_dia_sources",
            "Sources found on it, which are in dia_source (differences)",
            ucd="meta.number;src",
        ),
        real("build_s", "How long the build took", unit="s", ucd="time.processing"),
    ),
    description="How good each built image is; what does not apply to its kind is null",
    foreign_keys=(
        ForeignKey(
            key_id="build_quality_product",
            target="ivoa.ObsCore",
            columns=(("obs_publisher_did", "obs_publisher_did"),),
            description="The built image",
        ),
    ),
)

SKYLOOM: Final = Schema(
    name="skyloom",
    description="What this service adds to the standard tables",
    tables=(PRODUCT_INPUT, BUILD_QUALITY, DIA_SOURCE, COVERAGE),
)
