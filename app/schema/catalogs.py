"""``skyloom.*``: tables of our own that join to ObsCore."""

from __future__ import annotations

from typing import Final

from app.schema.columns import integer, real, text
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
        integer("n_inputs", "Images that the template was made of", ucd="meta.number"),
        integer("n_rejected", "Images that were left out, with reasons in product_input"),
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
        real("zero_point_mag", "AB magnitude of one unit of the image", unit="mag", ucd="phot.mag"),
        real(
            "coverage", "Fraction of the pixels that have data", ucd="stat.fraction", principal=True
        ),
        real(
            "median_n_image",
            "Median number of images in a pixel that has data (templates)",
            ucd="meta.number;stat.median",
        ),
        real(
            "clipped_fraction",
            "Fraction of the input pixels that were clipped, mean over the images (templates)",
            ucd="stat.fraction",
        ),
        real(
            "kernel_sum",
            "Sum of the matching kernel at the centre (differences)",
            ucd="arith.factor",
        ),
        real(
            "photometric_scale",
            "Factor that brought the template to the flux scale of the science image (differences)",
            ucd="arith.factor",
        ),
        integer("stamps_used", "Stars that the matching kernel was fitted to (differences)"),
        integer("stamps_rejected", "Stars that were left out of the fit (differences)"),
        real("stamp_chi", "Median scatter of the residuals of these stars, in sigma (differences)"),
        real(
            "pull_sigma",
            "Scatter of blank pixels before their variance was scaled, in sigma (differences)",
            ucd="stat.stdev",
        ),
        real("variance_factor", "What the variance was multiplied by (differences)"),
        real("bright_chi", "Scatter of the residuals of bright stars, in sigma (differences)"),
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
    tables=(PRODUCT_INPUT, BUILD_QUALITY),
)
