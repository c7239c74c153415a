"""The rows of ``skyloom.dia_source`` that a difference image gives."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from astropy.time import Time
from numpy.typing import NDArray

from app.pixels.dia_dipole import Dipole
from app.pixels.dia_measure import FLAGS
from app.pixels.dia_psf_fit import PsfFit
from app.pixels.dia_sources import DiaSource
from app.pixels.grid import Grid, unit_vectors
from app.recipes.photometry import NANOJANSKY_ZERO_POINT_MAG, flux_factor, zero_point_of
from app.recipes.recipe import BuildPlan, ImageRef
from app.schema.rows import SourceRow

Floats = NDArray[np.float64]

_PLACE_COLUMNS: Final = ("ra", "dec", "ra_err", "dec_err", "x", "y", "x_err", "y_err")
NUMBER_BITS: Final = 20
"""Of an identifier, which number the sources of an image; the other 43 are a hash of its name."""


@dataclass(frozen=True, slots=True)
class _Image:
    """What the sources of an image share. ``nanojansky``: of a flux unit, NaN when unknown."""

    grid: Grid
    shared: SourceRow
    first_id: int
    nanojansky: float


def dia_source_rows(
    plan: BuildPlan, science: ImageRef, sources: tuple[DiaSource, ...]
) -> tuple[SourceRow, ...]:
    """Rows with the columns of :data:`app.schema.dia_source.DIA_SOURCE`; None is not known."""
    known = zero_point_of(science) is not None
    image = _Image(
        grid=Grid.from_text(plan.recipe.grid),
        shared={
            "obs_publisher_did": plan.dataset_id,
            "band": plan.recipe.band,
            "midpoint_mjd_tai": _midpoint_mjd_tai(science),
        },
        first_id=_first_id(plan.dataset_id),
        nanojansky=flux_factor(science, NANOJANSKY_ZERO_POINT_MAG) if known else math.nan,
    )
    places = _places(image.grid, [each.fit for each in sources])
    return tuple(
        _row(image, number, source, place)
        for number, (source, place) in enumerate(zip(sources, places, strict=True))
    )


def _first_id(dataset_id: str) -> int:
    digest = hashlib.sha256(dataset_id.encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> (NUMBER_BITS + 1)) << NUMBER_BITS


def _midpoint_mjd_tai(science: ImageRef) -> float | None:
    """The times of a dataset are UTC."""
    if science.t_min is None:
        return None
    if science.t_max is not None:
        middle = 0.5 * (science.t_min + science.t_max)
    else:
        middle = science.t_min + 0.5 * (science.exposure_s or 0.0) / 86400.0
    return float(Time(middle, format="mjd", scale="utc").tai.mjd)


def _row(image: _Image, number: int, source: DiaSource, place: SourceRow) -> SourceRow:
    row = {
        "dia_source_id": image.first_id + number,
        **image.shared,
        **place,
        **_brightness(image, source),
        **_shape(image.grid, source),
        "is_negative": int(source.is_negative),
        "is_dipole": int(source.dipole is not None),
        **_dipole(image, source.dipole),
        "reliability": source.reliability,
        **{name: int(name in source.flags) for name in FLAGS},
    }
    return {name: _known(value) for name, value in row.items()}


def _known(value: str | float | None) -> str | float | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _places(grid: Grid, fits: Sequence[PsfFit]) -> Iterator[SourceRow]:
    """Positions in pixels and on the sky, and their errors."""
    x, y, x_err, y_err = np.array([(f.x, f.y, f.x_err, f.y_err) for f in fits]).reshape(-1, 4).T
    lon, lat = grid.pixel_to_sky(x, y)
    along_x, along_y = (
        _on_sky(grid, (x - dx, y - dy), (x + dx, y + dy)) for dx, dy in ((0.5, 0.0), (0.0, 0.5))
    )
    columns = np.stack(
        [lon, lat, *np.hypot(along_x * x_err, along_y * y_err), x, y, x_err, y_err], axis=1
    )
    for row in columns.tolist():
        yield dict(zip(_PLACE_COLUMNS, row, strict=True))


def _on_sky(grid: Grid, start: tuple[Floats, Floats], end: tuple[Floats, Floats]) -> Floats:
    """How far pixel positions lie east and north of others (deg), for small distances."""
    lon, lat = grid.pixel_to_sky(*(np.stack(pair) for pair in zip(start, end, strict=True)))
    x, y, z = unit_vectors(lon, lat).sum(axis=0).T
    cosine = np.hypot(x, y) / np.sqrt(x**2 + y**2 + z**2)
    east = (lon[1] - lon[0] + 180.0) % 360.0 - 180.0
    return np.stack([east * cosine, lat[1] - lat[0]])


def _brightness(image: _Image, source: DiaSource) -> SourceRow:
    njy, fit = image.nanojansky, source.fit
    return {
        "snr": abs(source.score),
        "psf_flux": njy * fit.flux,
        "psf_flux_err": njy * fit.flux_err,
        "psf_inst_flux": fit.flux,
        "psf_inst_flux_err": fit.flux_err,
        "psf_chi2": fit.chi2,
        "psf_ndata": fit.n_pixels,
        "science_flux": njy * source.science.flux,
        "science_flux_err": njy * source.science.flux_err,
        "template_flux": njy * source.template.flux,
        "template_flux_err": njy * source.template.flux_err,
        "ap_flux": njy * source.aperture.flux,
        "ap_flux_err": njy * source.aperture.flux_err,
        "ap_radius": image.grid.pixel_scale_arcsec * source.aperture_px,
    }


def _shape(grid: Grid, source: DiaSource) -> SourceRow:
    area, moments = grid.pixel_scale_arcsec**2, source.moments
    return {
        "ixx": area * moments.ixx,
        "iyy": area * moments.iyy,
        "ixy": area * moments.ixy,
        "footprint_area": source.footprint_px,
        "positive_ratio": source.aperture.positive_ratio,
    }


def _dipole(image: _Image, dipole: Dipole | None) -> SourceRow:
    """NaN for what is none."""
    length_deg, angle_deg = math.nan, math.nan
    if dipole is not None:
        ends = [(np.array(lobe.x), np.array(lobe.y)) for lobe in (dipole.negative, dipole.positive)]
        east, north = _on_sky(image.grid, *ends).tolist()
        length_deg, angle_deg = math.hypot(east, north), math.degrees(math.atan2(east, north))
    return {
        "dipole_mean_flux": image.nanojansky * (dipole.mean_flux if dipole else math.nan),
        "dipole_flux_diff": image.nanojansky * (dipole.flux_difference if dipole else math.nan),
        "dipole_snr": dipole.snr if dipole else math.nan,
        "dipole_length": 3600.0 * length_deg,
        "dipole_angle": angle_deg % 360.0,
        "dipole_chi2": dipole.chi2 if dipole else math.nan,
    }
