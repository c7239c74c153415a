"""Light curves as tables: columns, and epochs as batches of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import pyarrow as pa

from app.recipes.photometry import NANOJANSKY, NANOJANSKY_ZERO_POINT_MAG
from app.schema.batches import arrow_schema
from app.schema.columns import integer, real, text
from app.schema.fields import Field
from app.schema.obscore import OBSCORE
from app.services.light_curves import Epoch

LEAST_SNR: Final = 3.0
"""Below it there is a limit instead of a magnitude,"""
LIMIT_SIGMA: Final = 5.0
"""of this many sigmas, as in ZTF's forced photometry (Masci et al. 2023, arXiv:2305.16279)."""
_MAG_PER_SHARE: Final = 2.5 / math.log(10.0)


def _of_obscore(name: str) -> Field:
    return next(field for field in OBSCORE.fields if field.name == name)


FIELDS: Final = (
    integer("position", "Number of the position asked for, from 1", datatype="int", ucd="meta.id"),
    real("ra", "The position, ICRS", unit="deg", ucd="pos.eq.ra;meta.main"),
    real("dec", "The position, ICRS", unit="deg", ucd="pos.eq.dec;meta.main"),
    _of_obscore("obs_publisher_did"),
    text("kind", "science, template or difference", ucd="meta.code.class", principal=True),
    _of_obscore("lsst_band"),
    real(
        "mjd",
        "Middle of the exposure, MJD (UTC); of a template's exposures, first to last",
        unit="d",
        ucd="time.epoch",
        principal=True,
    ),
    _of_obscore("t_min"),
    _of_obscore("t_max"),
    _of_obscore("t_exptime"),
    real(
        "psf_flux",
        "Flux of a point source there; of a difference, what the template does not show",
        unit=NANOJANSKY,
        ucd="phot.flux.density",
        principal=True,
    ),
    real(
        "psf_flux_error",
        "Its standard error, noise that neighbouring pixels share counted in; of a difference also "
        "template_flux times what is left of stars (star_residual of build_quality)",
        unit=NANOJANSKY,
        ucd="stat.error;phot.flux.density",
        principal=True,
    ),
    real("snr", "psf_flux over its error", ucd="stat.snr", principal=True),
    real(
        "mag",
        f"AB magnitude of psf_flux where snr is at least {LEAST_SNR:g}",
        unit="mag",
        ucd="phot.mag",
        principal=True,
    ),
    real("mag_error", "Its standard error", unit="mag", ucd="stat.error;phot.mag"),
    real(
        "mag_limit",
        f"AB magnitude of {LIMIT_SIGMA:g} psf_flux_error where there is no mag",
        unit="mag",
        ucd="phot.mag;stat.max",
    ),
    real(
        "template_flux",
        "Of a difference: flux there that was subtracted, by the science image",
        unit=NANOJANSKY,
        ucd="phot.flux.density",
    ),
    real(
        "local_background",
        "Clipped mean of a pixel in the ring of 7 to 15 sigmas of the PSF",
        unit=NANOJANSKY,
        ucd="instr.background",
    ),
    real("local_background_error", "Its standard error", unit=NANOJANSKY, ucd="stat.error"),
    text(
        "flags",
        "Mask planes within one FWHM, and MASKED, GAUSSIAN_PSF, NO_PSF, NO_ZERO_POINT, UNREADABLE; "
        "null when there are none",
        ucd="meta.code.qual",
        principal=True,
    ),
    real("usable_share", "Share of the PSF's power on usable pixels", ucd="stat.value"),
    real("edge_distance", "To the nearest edge of the image", unit="pixel", ucd="pos.distance"),
    real(
        "psf_fwhm", "Full width at half maximum of the PSF", unit="arcsec", ucd="instr.obsty.seeing"
    ),
    text("note", "Why nothing was measured", ucd="meta.note"),
)


def magnitudes(flux: float, error: float) -> tuple[float | None, float | None, float | None]:
    """Magnitude, error and limit (AB) of a flux in nJy; None for what does not apply."""
    if not error > 0:
        return None, None, None
    if flux >= LEAST_SNR * error:
        return _magnitude(flux), _MAG_PER_SHARE * error / flux, None
    return None, None, _magnitude(LIMIT_SIGMA * error)


def _magnitude(flux: float) -> float:
    return NANOJANSKY_ZERO_POINT_MAG - 2.5 * math.log10(flux)


def batches(epochs: Iterable[Sequence[Epoch]]) -> Iterator[pa.RecordBatch]:
    """Batches of :data:`FIELDS`; what is not known is null."""
    schema = arrow_schema(FIELDS)
    for part in epochs:
        yield pa.RecordBatch.from_pylist([table_row(epoch) for epoch in part], schema=schema)


def table_row(epoch: Epoch) -> dict[str, Any]:
    """Column -> value of one epoch."""
    columns, measured = epoch.row.columns, epoch.measured
    mag, mag_error, mag_limit = magnitudes(measured.flux, measured.error)
    numbers = {
        "mjd": epoch.mid_mjd,
        "psf_flux": measured.flux,
        "psf_flux_error": measured.error,
        "snr": measured.snr,
        "template_flux": epoch.template_flux,
        "local_background": measured.background,
        "local_background_error": measured.background_error,
        "usable_share": measured.usable_share,
        "edge_distance": measured.edge_distance_px,
        "psf_fwhm": measured.fwhm_arcsec,
    }
    return {
        "position": epoch.position,
        "ra": epoch.point.lon_deg,
        "dec": epoch.point.lat_deg,
        "obs_publisher_did": epoch.row.dataset_id,
        "kind": epoch.kind,
        **{name: columns.get(name) for name in ("lsst_band", "t_min", "t_max", "t_exptime")},
        **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
        "mag": mag,
        "mag_error": mag_error,
        "mag_limit": mag_limit,
        "flags": " ".join(measured.flags) or None,
        "note": measured.note,
    }
