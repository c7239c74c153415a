"""From light to numbers: shot and read noise, saturation, cosmic rays, defects, mask planes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.demo.render import Scene
from app.demo.schedule import Visit
from app.demo.settings import Camera
from app.pixels.image import MaskedImage, bits

COSMIC_RAYS: Final = 7.0
"""Mean number of tracks in an image."""
MISSED_SHARE: Final = 0.05
"""Share of the tracks that the mask does not know of, as in any real pipeline."""
DETECTED_SIGMA: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Readout:
    """A reduced exposure in ADU and the tracks (x, y, 0-based) missed by its mask."""

    image: MaskedImage
    missed_cosmic_rays: tuple[tuple[int, int], ...]


def read_out(
    scene: Scene, visit: Visit, camera: Camera, detector: int, rng: np.random.Generator, seed: int
) -> Readout:
    """Turn expected electrons into a background-subtracted image with variance and mask.

    The variance is what the noise truly has: Poisson noise of sky and sources, and read noise.
    ``rng`` draws what changes from exposure to exposure; defects depend on seed and detector.
    """
    expected_e = scene.source_e + visit.sky_e
    noise_e2 = expected_e + camera.read_noise_e**2
    raw_e = rng.poisson(expected_e) + rng.normal(0, camera.read_noise_e, expected_e.shape)
    mask = np.zeros(raw_e.shape, np.int32)
    mask[scene.source_e > DETECTED_SIGMA * np.sqrt(noise_e2)] |= bits("DETECTED")
    missed = _add_cosmic_rays(raw_e, mask, rng)
    _saturate(raw_e, mask, camera.full_well_e)
    _add_defects(raw_e, mask, np.random.default_rng([seed, 3, detector]))
    gain = camera.gain_of(detector)
    flux = ((raw_e - visit.sky_e) / gain).astype(np.float32)
    variance = (noise_e2 / gain**2).astype(np.float32)
    if detector == camera.detectors - 1:
        _lose_corner(flux, variance, mask)
    return Readout(image=MaskedImage(flux, variance, mask), missed_cosmic_rays=missed)


def _add_cosmic_rays(
    raw_e: NDArray[np.float64], mask: NDArray[np.int32], rng: np.random.Generator
) -> tuple[tuple[int, int], ...]:
    """Draw straight tracks of charge; the positions of those left out of the mask."""
    ny, nx = raw_e.shape
    missed: list[tuple[int, int]] = []
    for _ in range(rng.poisson(COSMIC_RAYS)):
        x0, y0, angle = rng.uniform(0, nx), rng.uniform(0, ny), rng.uniform(0, 2 * math.pi)
        length_px = 1 + int(rng.exponential(5))
        steps = np.arange(0, length_px, 0.5)
        x = (x0 + steps * math.cos(angle)).astype(int)
        y = (y0 + steps * math.sin(angle)).astype(int)
        hit = np.unique(np.stack([x, y], axis=1), axis=0)
        hit = hit[(hit >= 0).all(axis=1) & (hit[:, 0] < nx) & (hit[:, 1] < ny)]
        raw_e[hit[:, 1], hit[:, 0]] += rng.uniform(800, 6000) * rng.uniform(0.7, 1.3, len(hit))
        if rng.uniform() < MISSED_SHARE:
            missed += [(int(px), int(py)) for px, py in hit]
        else:
            mask[hit[:, 1], hit[:, 0]] |= bits("CR")
    return tuple(missed)


def _saturate(raw_e: NDArray[np.float64], mask: NDArray[np.int32], full_well_e: float) -> None:
    """Cut charge at the full well; what does not fit bleeds up and down its column."""
    ny = raw_e.shape[0]
    for x in np.flatnonzero((raw_e > full_well_e).any(axis=0)):
        over = np.flatnonzero(raw_e[:, x] > full_well_e)
        excess_e = float((raw_e[over, x] - full_well_e).sum())
        spread_px = math.ceil(excess_e / (2 * full_well_e))
        low, high = max(over[0] - spread_px, 0), min(over[-1] + spread_px + 1, ny)
        raw_e[low:high, x] = full_well_e
        mask[low:high, x] |= bits("SAT")


def _add_defects(
    raw_e: NDArray[np.float64], mask: NDArray[np.int32], rng: np.random.Generator
) -> None:
    """Two bad columns (dead from some row on), forty dead or hot pixels: always the same ones."""
    ny, nx = raw_e.shape
    for x in rng.choice(nx, 2, replace=False):
        first = int(rng.integers(0, ny // 2))
        raw_e[first:, x] = 0.0
        mask[first:, x] |= bits("BAD")
    y, x = rng.integers(0, ny, 40), rng.integers(0, nx, 40)
    raw_e[y, x] = np.where(rng.uniform(size=40) < 0.5, 0.0, rng.uniform(5e3, 5e4, 40))
    mask[y, x] |= bits("BAD")


def _lose_corner(
    flux: NDArray[np.float32], variance: NDArray[np.float32], mask: NDArray[np.int32]
) -> None:
    """The last detector has a dead amplifier in a corner: no data there."""
    ny, nx = flux.shape
    corner = np.s_[: ny // 4, : nx // 3]
    flux[corner], variance[corner] = np.nan, np.nan
    mask[corner] = bits("NO_DATA")
