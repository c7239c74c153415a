"""``skyloom.dia_source``: the sources that were found on difference images.

Names are those of Rubin's DiaSource (LSE-163), written with underscores.
"""

from __future__ import annotations

from typing import Final

from app.schema.columns import integer, real, text
from app.schema.fields import Field, ForeignKey, Table

NANOJANSKY: Final = "nJy"


def _flux(name: str, what: str, *, principal: bool = False) -> tuple[Field, Field]:
    """A flux with its error."""
    return (
        real(
            name,
            f"{what}; null without a zero point",
            unit=NANOJANSKY,
            ucd="phot.flux.density",
            principal=principal,
        ),
        real(
            f"{name}_err",
            f"Standard deviation of {name}",
            unit=NANOJANSKY,
            ucd="stat.error;phot.flux.density",
            principal=principal,
        ),
    )


def _flag(name: str, what: str, *, principal: bool = False) -> Field:
    return integer(name, f"1: {what}, else 0", datatype="int", ucd="meta.code", principal=principal)


def _moment(name: str, what: str) -> Field:
    return real(
        name,
        f"Adaptive second moment of the source {what}, on the axes of the pixels",
        unit="arcsec**2",
        ucd="src.morph.param",
    )


_IDENTITY: Final = (
    integer(
        "dia_source_id",
        "Identifier of the source, the same when the image is built again",
        ucd="meta.id;meta.main",
        principal=True,
        indexed=True,
    ),
    text(
        "obs_publisher_did",
        "The difference image that it was found on",
        ucd="meta.id;obs.image",
        principal=True,
        indexed=True,
    ),
    text("band", "Band of the image", ucd="instr.bandpass", principal=True),
    real(
        "midpoint_mjd_tai",
        "Middle of the science exposure, MJD (TAI)",
        unit="d",
        ucd="time.epoch",
        principal=True,
    ),
)

_PLACE: Final = (
    real(
        "ra",
        "Right ascension (ICRS); of a dipole that of the middle between its lobes",
        unit="deg",
        ucd="pos.eq.ra;meta.main",
        principal=True,
        indexed=True,
    ),
    real(
        "dec",
        "Declination (ICRS)",
        unit="deg",
        ucd="pos.eq.dec;meta.main",
        principal=True,
        indexed=True,
    ),
    real(
        "ra_err",
        "Standard deviation of the place along right ascension, in degrees on the sky",
        unit="deg",
        ucd="stat.error;pos.eq.ra",
        principal=True,
    ),
    real(
        "dec_err",
        "Standard deviation of the place along declination",
        unit="deg",
        ucd="stat.error;pos.eq.dec",
        principal=True,
    ),
    real(
        "x",
        "Column of the image; the middle of the first is 0",
        unit="pixel",
        ucd="pos.cartesian.x",
    ),
    real(
        "y", "Row of the image; the middle of the first is 0", unit="pixel", ucd="pos.cartesian.y"
    ),
    real("x_err", "Standard deviation of x", unit="pixel", ucd="stat.error;pos.cartesian.x"),
    real("y_err", "Standard deviation of y", unit="pixel", ucd="stat.error;pos.cartesian.y"),
)

_BRIGHTNESS: Final = (
    real(
        "snr",
        "How many sigma it stands out on the score image; not below 0",
        ucd="stat.snr",
        principal=True,
    ),
    *_flux("psf_flux", "PSF flux on the difference image", principal=True),
    real(
        "psf_inst_flux",
        "PSF flux on the difference image, in the image's own unit",
        ucd="phot.flux",
    ),
    real("psf_inst_flux_err", "Standard deviation of psf_inst_flux", ucd="stat.error;phot.flux"),
    real("psf_chi2", "Chi square of the fit of the PSF", ucd="stat.fit.chi2"),
    integer("psf_ndata", "Pixels that the PSF was fitted to", ucd="meta.number;instr.pixel"),
    *_flux("science_flux", "PSF flux of the science image at this place"),
    *_flux("template_flux", "PSF flux of the template at this place, on the science image's scale"),
    *_flux("ap_flux", "Flux on the difference image within ap_radius"),
    real("ap_radius", "Radius of the aperture: 1.5 FWHM", unit="arcsec", ucd="pos.angDistance"),
)

_SHAPE: Final = (
    _moment("ixx", "along x"),
    _moment("iyy", "along y"),
    _moment("ixy", "across"),
    integer(
        "footprint_area",
        "Pixels of its footprint, which sources close together share",
        ucd="meta.number;instr.pixel",
    ),
    real(
        "positive_ratio",
        "Sum of the positive pixels of the aperture over that of all, in absolute values",
        ucd="phot.flux;arith.ratio",
    ),
)

_DIPOLE: Final = (
    _flag("is_negative", "fainter on the science image than on the template", principal=True),
    _flag(
        "is_dipole",
        "a source that stands at different places on science image and template",
        principal=True,
    ),
    real(
        "dipole_mean_flux",
        "Mean flux of the lobes of a dipole; null without a zero point",
        unit=NANOJANSKY,
        ucd="phot.flux.density;stat.mean",
    ),
    real(
        "dipole_flux_diff",
        "Flux of the positive lobe less that of the negative one; null without a zero point",
        unit=NANOJANSKY,
        ucd="phot.flux.density;arith.diff",
    ),
    real("dipole_snr", "Signal-to-noise ratio of both lobes together", ucd="stat.snr"),
    real("dipole_length", "Distance of the lobes", unit="arcsec", ucd="pos.angDistance"),
    real(
        "dipole_angle",
        "Position angle, north through east, of the positive lobe from the negative one",
        unit="deg",
        ucd="pos.posAng",
    ),
    real("dipole_chi2", "Chi square of the fit on the difference image", ucd="stat.fit.chi2"),
)

_TRUST: Final = (
    real(
        "reliability",
        "Hint from 0 (likely an artefact) to 1 that it is an astrophysical point source",
        ucd="meta.code.qual",
        principal=True,
    ),
    _flag("pixel_flags_bad", "a bad pixel is among the 3 x 3 around it"),
    _flag("pixel_flags_cr", "a cosmic ray is on the 3 x 3 pixels around it"),
    _flag("pixel_flags_interpolated", "an interpolated pixel is among the 3 x 3 around it"),
    _flag("pixel_flags_suspect", "a suspect pixel is among the 3 x 3 around it"),
    _flag("pixel_flags_saturated", "a saturated pixel is within 1.5 FWHM"),
    _flag("pixel_flags_saturated_template", "one is that is saturated in the template"),
    _flag("pixel_flags_edge", "a pixel of the edge is within 1.5 FWHM"),
    _flag("pixel_flags_nodata", "a pixel without data is within 1.5 FWHM"),
    _flag("bright_neighbour_flag", "a star 200 times as bright is within 3.5 FWHM"),
    _flag("centroid_flag", "the fit of the place failed, it is that of the highest pixel"),
    _flag("shape_flag", "the moments could not be measured"),
)

DIA_SOURCE: Final = Table(
    schema_name="skyloom",
    name="skyloom.dia_source",
    physical="dia_source",
    fields=(*_IDENTITY, *_PLACE, *_BRIGHTNESS, *_SHAPE, *_DIPOLE, *_TRUST),
    description="Sources found on difference images (DiaSource), with what was measured of them",
    foreign_keys=(
        ForeignKey(
            key_id="dia_source_image",
            target="ivoa.ObsCore",
            columns=(("obs_publisher_did", "obs_publisher_did"),),
            description="The difference image",
        ),
    ),
    positions=(("ra", "dec"),),
)
