"""How large the simulated field is and what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from astropy.io.fits import Header

from app.pixels.grid import Grid

ZERO_POINT_E_MAG = 31.9
"""AB magnitude of one electron in an exposure under a clear sky."""
NANOJANSKY_MAG = 31.4


@dataclass(frozen=True, kw_only=True)
class TruthSettings:
    """One field seen many times. Two equal settings give the same pixels.

    The defaults suit tests (10 exposures of 800 x 800 pixels, a few seconds); a benchmark raises
    ``size_px`` and ``exposures``, and ``stars`` and ``galaxies`` with the area.
    """

    seed: int = 20260801
    exposures: int = 10
    size_px: int = 800
    scale_arcsec: float = 0.2
    centre_deg: tuple[float, float] = (150.0, 2.2)
    rotation_deg: float = 180.0
    """Rotations are spread over ± this; 0: all exposures are aligned with north."""
    dither_arcsec: float = 12.0
    distortion: float = 2e-3
    """Cubic radial distortion (SIP): share of the radius at the middle of an edge."""
    seeing_arcsec: tuple[float, float] = (0.6, 1.4)
    profile: Literal["moffat", "kolmogorov", "both"] = "both"
    """Of the atmosphere; ``both`` takes them in turn."""
    varying: float = 1.0
    """Scales the change of PSF width and ellipticity across an exposure; 0: none."""
    stars: int = 150
    galaxies: int = 80
    saturated_stars: int = 2
    star_mag: tuple[float, float] = (16.2, 22.5)
    least_separation_arcsec: float = 4.0
    """Between any two stars."""
    variable_star: bool = True
    moving_object: bool = True
    cosmic_rays: float = 12.0
    """Mean number of tracks in an exposure; none of them is in its mask."""
    trails: int = 2
    """Exposures that a satellite crosses."""
    bad_columns: int = 2
    gain_e_per_adu: float = 1.7
    read_noise_e: float = 6.0
    sky_e: float = 840.0
    full_well_e: float = 110_000.0
    sky_slope_sigma: float = 0.0
    """Sky left in the images: a plane of this many noises from edge to edge, any direction."""

    def target_grid(self, size_px: int | None = None) -> Grid:
        """A grid aligned with north about the centre of the field, of the exposures' scale."""
        size = size_px or self.size_px
        return Grid.from_header(self.wcs(size, 0.0, (0.0, 0.0), distorted=False), (size, size))

    def wcs(
        self, size_px: int, rotation_deg: float, dither: tuple[float, float], *, distorted: bool
    ) -> Header:
        """Gnomonic, turned about a boresight ``dither`` arcsec (east, north) off the centre."""
        angle, step = np.radians(rotation_deg), self.scale_arcsec / 3600.0
        cos, sin = np.cos(angle), np.sin(angle)
        lat_deg = self.centre_deg[1] + dither[1] / 3600.0
        lon_deg = self.centre_deg[0] + dither[0] / 3600.0 / np.cos(np.radians(lat_deg))
        suffix = "-SIP" if distorted else ""
        header = Header(
            [
                ("CTYPE1", f"RA---TAN{suffix}"),
                ("CTYPE2", f"DEC--TAN{suffix}"),
                ("CRVAL1", lon_deg),
                ("CRVAL2", lat_deg),
                ("CRPIX1", (size_px + 1) / 2),
                ("CRPIX2", (size_px + 1) / 2),
                ("CD1_1", -step * cos),
                ("CD1_2", step * sin),
                ("CD2_1", step * sin),
                ("CD2_2", step * cos),
                ("RADESYS", "ICRS"),
            ]
        )
        if distorted:
            cubic = self.distortion / (size_px / 2) ** 2
            header.extend([("A_ORDER", 3), ("B_ORDER", 3)])
            header.extend((key, cubic) for key in ("A_3_0", "A_1_2", "B_0_3", "B_2_1"))
        return header
