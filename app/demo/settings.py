"""What the simulated survey looks like: bands, camera, pointing, sky map."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from app.sky.skymap import SkyMap

SURVEY_VERSION: Final = 1
"""Raised whenever the same seed would give other files."""

COLLECTION: Final = "demo"
DEFAULT_SEED: Final = 20260801

SKYMAP_SETTINGS: Final[dict[str, float | int]] = {
    "skymap_pixel_scale_arcsec": 0.3,
    "skymap_patch_px": 600,
    "skymap_patch_border_px": 50,
    "skymap_tract_patches": 6,
    "skymap_rings": 720,
}
"""Settings of the service (names of :class:`app.config.Config`) that suit the small survey:
tracts of 18' on rings 15' apart, patches of 3'."""


def demo_sky_map() -> SkyMap:
    """The sky map of :data:`SKYMAP_SETTINGS`."""
    return SkyMap(
        pixel_scale_arcsec=float(SKYMAP_SETTINGS["skymap_pixel_scale_arcsec"]),
        patch_px=int(SKYMAP_SETTINGS["skymap_patch_px"]),
        patch_border_px=int(SKYMAP_SETTINGS["skymap_patch_border_px"]),
        tract_patches=int(SKYMAP_SETTINGS["skymap_tract_patches"]),
        rings=int(SKYMAP_SETTINGS["skymap_rings"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A filter: its name, and the zero point and sky of a clear dark exposure.

    ``zero_point_mag`` is the AB magnitude that gives one electron in an exposure,
    ``sky_mag_arcsec2`` the brightness of the dark sky.
    """

    name: str
    zero_point_mag: float
    sky_mag_arcsec2: float


BANDS: Final = (
    Band(name="g", zero_point_mag=32.0, sky_mag_arcsec2=22.0),
    Band(name="r", zero_point_mag=31.9, sky_mag_arcsec2=21.1),
    Band(name="i", zero_point_mag=31.6, sky_mag_arcsec2=20.3),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A mosaic of ``columns`` x ``rows`` detectors, ``gap_px`` apart, centred on the boresight.

    The optics add a cubic radial distortion: at the corner of the mosaic ``distortion`` times the
    distance from the boresight. Gains differ a little between detectors.
    """

    columns: int = 2
    rows: int = 2
    nx_px: int = 448
    ny_px: int = 416
    gap_px: int = 20
    pixel_scale_arcsec: float = 0.3
    distortion: float = 0.016
    gain_e_per_adu: float = 1.7
    read_noise_e: float = 8.0
    full_well_e: float = 110_000.0

    @property
    def detectors(self) -> int:
        """How many detectors there are."""
        return self.columns * self.rows

    @property
    def corner_px(self) -> float:
        """Distance of the mosaic's corner from the boresight (pixels)."""
        width = self.columns * (self.nx_px + self.gap_px) - self.gap_px
        height = self.rows * (self.ny_px + self.gap_px) - self.gap_px
        return math.hypot(width, height) / 2

    def origin_px(self, detector: int) -> tuple[float, float]:
        """Where pixel (0, 0) of a detector lies in the mosaic, from the boresight (x, y)."""
        row, column = divmod(detector, self.columns)
        x = (column - self.columns / 2) * (self.nx_px + self.gap_px) + self.gap_px / 2
        y = (row - self.rows / 2) * (self.ny_px + self.gap_px) + self.gap_px / 2
        return x, y

    def gain_of(self, detector: int) -> float:
        """Electrons per ADU of a detector."""
        return self.gain_e_per_adu * (1 + 0.03 * math.sin(2.0 * detector + 0.5))


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveySettings:
    """How large the survey is. The defaults make 144 files.

    Epochs come in two seasons: a quiet one that makes good templates and, 300 days later, one in
    which the transients rise and fall. Densities are per square arcminute.
    """

    camera: Camera = field(default_factory=Camera)
    bands: tuple[Band, ...] = BANDS
    quiet_epochs: int = 5
    active_epochs: int = 7
    near_lon_deg: float = 61.9
    near_lat_deg: float = -37.07
    """The field lies at the first boundary of two tracts east of this position."""
    dither_arcsec: float = 45.0
    exposure_s: float = 30.0
    season_start_mjd: float = 61010.0
    season_length_d: float = 45.0
    season_gap_d: float = 300.0
    stars_per_arcmin2: float = 14.0
    galaxies_per_arcmin2: float = 30.0
    transients: int = 8
    variables: int = 6

    @property
    def epochs(self) -> int:
        """Visits in each band."""
        return self.quiet_epochs + self.active_epochs

    @property
    def files(self) -> int:
        """How many images the survey has."""
        return self.epochs * len(self.bands) * self.camera.detectors

    @property
    def active_start_mjd(self) -> float:
        """When the season of the transients begins."""
        return self.season_start_mjd + self.season_length_d + self.season_gap_d

    @property
    def radius_deg(self) -> float:
        """Half the side of the square that is filled with sources."""
        field_arcsec = self.camera.corner_px * self.camera.pixel_scale_arcsec
        return (field_arcsec + self.dither_arcsec + 30.0) / 3600
