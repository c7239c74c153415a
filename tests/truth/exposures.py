"""Exposures of the field: where they point, their PSF, their pixels, and what spoils them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import galsim
import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from app.demo.optics import local_jacobians
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage, bits
from tests.truth.settings import NANOJANSKY_MAG, ZERO_POINT_E_MAG, TruthSettings
from tests.truth.sources import Sources, make_sources

Floats = NDArray[np.float64]
Plane = NDArray[np.float32]

MARGIN_PX = 80.0
FAINTEST_SIGMA = 0.003
"""A source is drawn out to where it falls below this share of the sky noise."""
MOVE_ARCSEC = 6.0
"""From one exposure to the next."""
KOLMOGOROV_SLOPE = 11.0 / 3.0


@dataclass(frozen=True)
class PsfTruth:
    """The atmosphere of one exposure: a profile whose width and shear vary with the place.

    ``beta`` is Moffat's, None for Kolmogorov. The rows of ``terms`` are coefficients of
    1, u, v, u² + v² (u, v from -1 to 1 across the exposure) for ln(FWHM), g1 and g2; shears are
    in sky axes, west and north.
    """

    seeing_arcsec: float
    beta: float | None
    terms: Floats
    grid: Grid

    def profile(self, x: float, y: float) -> galsim.GSObject:
        """Unit flux, in arcsec, at a pixel (0-based); the pixel itself is not in it."""
        ny, nx = self.grid.shape
        u, v = 2.0 * x / (nx - 1) - 1.0, 2.0 * y / (ny - 1) - 1.0
        stretch, g1, g2 = self.terms @ np.array([1.0, u, v, u * u + v * v])
        fwhm = self.seeing_arcsec * float(np.exp(stretch))
        round_profile = (
            galsim.Kolmogorov(fwhm=fwhm)
            if self.beta is None
            else galsim.Moffat(beta=self.beta, fwhm=fwhm)
        )
        return round_profile.shear(g1=float(g1), g2=float(g2))

    def stamp(
        self, x: float, y: float, half_px: int, *, dx: float = 0.0, dy: float = 0.0
    ) -> Floats:
        """What a star at (x, y) of flux 1 shows in pixels, its centre (dx, dy) from the middle."""
        size = 2 * half_px + 1
        image = galsim.ImageD(size, size)
        self.profile(x, y).drawImage(
            image=image,
            wcs=galsim.JacobianWCS(*self.jacobian(x, y).ravel()),
            center=galsim.PositionD(half_px + 1 + dx, half_px + 1 + dy),
        )
        return np.array(image.array)

    def fine_stamp(self, x: float, y: float, half_px: int, sampling: float) -> Floats:
        """As :meth:`stamp` for a centred star, at places ``sampling`` pixels apart."""
        jacobian = self.jacobian(x, y)
        pixel = galsim.Transform(galsim.Pixel(1.0), jac=jacobian.ravel()).withFlux(1.0)
        size = 2 * int(half_px / sampling) + 1
        image = galsim.ImageD(size, size)
        galsim.Convolve(self.profile(x, y), pixel).drawImage(
            image=image, wcs=galsim.JacobianWCS(*(jacobian * sampling).ravel()), method="no_pixel"
        )
        return np.array(image.array) / sampling**2

    def jacobian(self, x: float, y: float) -> Floats:
        """d(west, north) / d(x, y) in arcsec."""
        jacobian: Floats = local_jacobians(self._wcs, np.array([x]), np.array([y]))[0]
        return jacobian

    @cached_property
    def _wcs(self) -> WCS:
        return WCS(self.grid.fits_header())

    def radius_px(self, flux_over_noise: float, scale_arcsec: float) -> int:
        """How far out a source is drawn (pixels)."""
        core = 0.6 * self.seeing_arcsec / scale_arcsec
        peak = flux_over_noise / (np.pi * core**2)
        slope = KOLMOGOROV_SLOPE if self.beta is None else 2.0 * self.beta
        reach = core * max(peak / FAINTEST_SIGMA, 1.0) ** (1.0 / slope)
        return int(np.clip(reach, 4.0 * core, 200.0)) + 3


@dataclass(frozen=True)
class Observation:
    """One exposure in ADU, sky subtracted, and all that is true of it.

    ``x``, ``y`` and ``flux`` (ADU) are of every source of the field at that time, also of those
    outside. ``artefacts`` maps cosmic_ray, trail, moving to what each adds to the pixels (ADU);
    only those that the exposure has. None of them is in the mask.
    """

    number: int
    mjd: float
    image: MaskedImage
    grid: Grid
    psf: PsfTruth
    transparency: float
    x: Floats
    y: Floats
    flux: Floats
    artefacts: Mapping[str, Plane]

    def artefact_significance(self, *kinds: str) -> Plane:
        """What artefacts (all, or the named ones) add, in units of the pixel noise."""
        added = [plane for kind, plane in self.artefacts.items() if not kinds or kind in kinds]
        total = np.sum(added, axis=0) if added else np.zeros(self.image.shape)
        significance: Plane = (total / np.sqrt(self.image.variance)).astype(np.float32)
        return significance

    def inside(self, margin_px: float = 0.0) -> NDArray[np.bool_]:
        """Which sources lie on the pixels, ``margin_px`` from the border or further."""
        ny, nx = self.image.shape
        return (
            (self.x > margin_px)
            & (self.x < nx - 1 - margin_px)
            & (self.y > margin_px)
            & (self.y < ny - 1 - margin_px)
        )


@dataclass(frozen=True)
class Truth:
    """The field and its exposures."""

    settings: TruthSettings
    sources: Sources
    observations: tuple[Observation, ...]


@lru_cache(maxsize=4)
def simulate(settings: TruthSettings | None = None) -> Truth:
    """All exposures. Pixels are shared between callers: copy them before changing any."""
    chosen = settings or TruthSettings()
    sources = make_sources(chosen)
    rng = np.random.default_rng([chosen.seed, 2])
    seeing = rng.permutation(np.linspace(*chosen.seeing_arcsec, chosen.exposures))
    rotation = rng.uniform(-1, 1, chosen.exposures) * chosen.rotation_deg
    crossed = rng.permutation(chosen.exposures)[: chosen.trails]
    return Truth(
        chosen,
        sources,
        tuple(
            observe(chosen, sources, n, float(seeing[n]), float(rotation[n]), trail=n in crossed)
            for n in range(chosen.exposures)
        ),
    )


def observe(
    settings: TruthSettings,
    sources: Sources,
    number: int,
    seeing_arcsec: float,
    rotation_deg: float,
    *,
    trail: bool,
) -> Observation:
    """One exposure: its own pointing, air, transparency, noise and artefacts."""
    rng = np.random.default_rng([settings.seed, 3, number])
    size = settings.size_px
    dither = rng.uniform(-1, 1, 2) * settings.dither_arcsec
    header = settings.wcs(size, rotation_deg, (float(dither[0]), float(dither[1])), distorted=True)
    grid = Grid.from_header(header, (size, size))
    psf = PsfTruth(seeing_arcsec, _beta(settings, number, rng), _terms(settings, rng), grid)
    transparency = float(rng.uniform(0.7, 1.0))
    zero_point_e = ZERO_POINT_E_MAG + 2.5 * np.log10(transparency)
    electrons = _flux_njy(sources, number) * 10.0 ** (0.4 * (zero_point_e - NANOJANSKY_MAG))
    x, y = grid.sky_to_pixel(*_places(sources, number, settings))
    static, moving = _draw(settings, sources, psf, x, y, electrons)
    artefacts = {"cosmic_ray": _cosmic_rays(settings, rng)}
    if sources.moving is not None:
        artefacts["moving"] = moving
    if trail:
        artefacts["trail"] = _trail(settings, seeing_arcsec, rng)
    image = _read_out(settings, static, artefacts, rng)
    gain = settings.gain_e_per_adu
    zero_point = float(zero_point_e - 2.5 * np.log10(gain))
    middle = 0.5 * (size - 1)
    seen = galsim.Convolve(psf.profile(middle, middle), galsim.Pixel(settings.scale_arcsec))
    known = MaskedImage(
        image.flux,
        image.variance,
        image.mask,
        fwhm_px=float(seen.calculateFWHM() / settings.scale_arcsec),
        zero_point_mag=zero_point,
    )
    planes = {kind: (plane / gain).astype(np.float32) for kind, plane in artefacts.items()}
    mjd = 61000.0 + 0.01 * number
    return Observation(number, mjd, known, grid, psf, transparency, x, y, electrons / gain, planes)


def _beta(settings: TruthSettings, number: int, rng: np.random.Generator) -> float | None:
    beta = float(rng.uniform(2.8, 4.5))
    kolmogorov = settings.profile == "kolmogorov" or (settings.profile == "both" and number % 2)
    return None if kolmogorov else beta


def _terms(settings: TruthSettings, rng: np.random.Generator) -> Floats:
    """A few percent of width and of ellipticity across the field."""
    scatter = np.array(
        [[0.0, 0.02, 0.02, 0.01], [0.02, 0.01, 0.01, 0.005], [0.02, 0.01, 0.01, 0.005]]
    )
    terms = rng.normal(size=scatter.shape) * scatter
    terms[:, 1:] *= settings.varying
    return terms


def _flux_njy(sources: Sources, number: int) -> Floats:
    """The variable star brightens and fades by up to 40 %."""
    flux = sources.flux_njy.copy()
    if sources.variable is not None:
        flux[sources.variable] *= 1.0 + 0.4 * np.sin(1.0 + 1.7 * number)
    return flux


def _places(sources: Sources, number: int, settings: TruthSettings) -> tuple[Floats, Floats]:
    lon, lat = sources.lon_deg.copy(), sources.lat_deg.copy()
    if sources.moving is not None:
        path = MOVE_ARCSEC * (number - (settings.exposures - 1) / 2) / 3600.0
        lon[sources.moving] += 0.8 * path
        lat[sources.moving] += 0.6 * path
    return lon, lat


def _draw(
    settings: TruthSettings,
    sources: Sources,
    psf: PsfTruth,
    x: Floats,
    y: Floats,
    electrons: Floats,
) -> tuple[Floats, Floats]:
    """Expected electrons from all that stays in place, and from the moving object."""
    size = settings.size_px
    static, moving = (
        galsim.ImageD(size, size, init_value=0.0),
        galsim.ImageD(size, size, init_value=0.0),
    )
    near = (np.abs(x - size / 2) < size / 2 + MARGIN_PX) & (
        np.abs(y - size / 2) < size / 2 + MARGIN_PX
    )
    for n in np.flatnonzero(near & (electrons > 0)):
        profile = psf.profile(float(x[n]), float(y[n]))
        reach = psf.radius_px(float(electrons[n]) / np.sqrt(settings.sky_e), settings.scale_arcsec)
        if sources.half_light_arcsec[n] > 0:
            half_light = float(sources.half_light_arcsec[n])
            galaxy = galsim.Sersic(
                float(sources.sersic[n]), half_light_radius=half_light, trunc=8.0 * half_light
            ).shear(g1=float(sources.g1[n]), g2=float(sources.g2[n]))
            profile = galsim.Convolve(galaxy, profile)
            reach += int(6.0 * half_light / settings.scale_arcsec)
        jacobian = psf.jacobian(float(x[n]), float(y[n]))
        canvas = moving if n == sources.moving else static
        _add(canvas, profile.withFlux(float(electrons[n])), x[n], y[n], jacobian, reach)
    return np.array(static.array), np.array(moving.array)


def _add(
    canvas: galsim.ImageD,
    profile: galsim.GSObject,
    x: float,
    y: float,
    jacobian: Floats,
    reach: int,
) -> None:
    middle_x, middle_y = round(float(x)) + 1, round(float(y)) + 1
    bounds = galsim.BoundsI(middle_x - reach, middle_x + reach, middle_y - reach, middle_y + reach)
    overlap = bounds & canvas.bounds
    if not overlap.isDefined():
        return
    stamp = galsim.ImageD(bounds)
    place = galsim.PositionD(float(x) + 1.0, float(y) + 1.0)
    profile.drawImage(image=stamp, wcs=galsim.JacobianWCS(*jacobian.ravel()), center=place)
    canvas[overlap] += stamp[overlap]


def _cosmic_rays(settings: TruthSettings, rng: np.random.Generator) -> Floats:
    """Electrons of straight tracks, one pixel wide, as particles leave them."""
    size = settings.size_px
    charge = np.zeros((size, size))
    for _ in range(rng.poisson(settings.cosmic_rays)):
        along = np.arange(0.0, 1.0 + rng.exponential(8.0), 0.5)
        start, angle = rng.uniform(0, size, 2), rng.uniform(0.0, 2.0 * np.pi)
        j = (start[0] + along * np.sin(angle)).astype(np.int64)
        i = (start[1] + along * np.cos(angle)).astype(np.int64)
        on = (i >= 0) & (j >= 0) & (i < size) & (j < size)
        charge[j[on], i[on]] = rng.uniform(800.0, 6000.0) * rng.uniform(0.7, 1.3, int(on.sum()))
    return charge


def _trail(settings: TruthSettings, seeing_arcsec: float, rng: np.random.Generator) -> Floats:
    """A satellite: a straight line through the middle half, as wide as the seeing."""
    size = settings.size_px
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    angle, offset = rng.uniform(0.0, np.pi), rng.uniform(-0.2, 0.2) * size
    distance = x * np.sin(angle) - y * np.cos(angle) - offset
    sigma = seeing_arcsec / settings.scale_arcsec / 2.3548
    peak = rng.uniform(10.0, 25.0) * np.sqrt(settings.sky_e)
    trail: Floats = peak * np.exp(-0.5 * (distance / sigma) ** 2)
    return trail


def _read_out(
    settings: TruthSettings,
    static: Floats,
    artefacts: Mapping[str, Floats],
    rng: np.random.Generator,
) -> MaskedImage:
    """Photons and read noise to ADU. The variance plane is that of the light that really falls,
    cosmic rays apart: they bring no photons."""
    size, gain = settings.size_px, settings.gain_e_per_adu
    light = static + settings.sky_e
    light += sum(plane for kind, plane in artefacts.items() if kind != "cosmic_ray")
    raw = rng.poisson(light) + rng.normal(0.0, settings.read_noise_e, light.shape)
    raw += artefacts["cosmic_ray"] - settings.sky_e
    noise = np.sqrt(settings.sky_e + settings.read_noise_e**2)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    v, u = np.mgrid[:size, :size] / (size - 1) - 0.5
    raw += settings.sky_slope_sigma * noise * (u * np.cos(angle) + v * np.sin(angle))
    mask = np.zeros(raw.shape, dtype=np.int32)
    saturated = raw + settings.sky_e > settings.full_well_e
    raw[saturated] = settings.full_well_e - settings.sky_e
    mask[saturated] |= bits("SAT")
    defects = np.random.default_rng([settings.seed, 4])
    for column in defects.integers(0, size, settings.bad_columns):
        raw[:, column] = defects.normal(3000.0, 500.0, size)
        mask[:, column] |= bits("BAD")
    variance = (light + settings.read_noise_e**2) / gain**2
    return MaskedImage((raw / gain).astype(np.float32), variance.astype(np.float32), mask)
