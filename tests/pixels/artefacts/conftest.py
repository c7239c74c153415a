"""The simulated field on one grid, with what artefacts add there, and how finders are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from app.pixels.grid import Grid
from app.pixels.image import MaskedImage
from app.pixels.scaling import rescaled
from app.pixels.spans import Spans
from app.pixels.warp import warp
from app.pixels.warped import InMemory, in_memory
from tests.truth.exposures import Observation, Truth, simulate
from tests.truth.settings import NANOJANSKY_MAG, TruthSettings

CORE_RADIUS_PX = 2.5
SEEN_BY = 3
"""What is an artefact cannot be told where fewer inputs see the place."""


@dataclass(frozen=True)
class Scene:
    """Warped exposures and, for each, what its artefacts add (flux of the warped image)."""

    truth: Truth
    grid: Grid
    inputs: list[InMemory]
    added: list[NDArray[np.float32]]

    def judge(self, pixels: Sequence[Spans]) -> tuple[float, float]:
        """Share of artefact pixels above 5 sigma that are found, and of clean core pixels lost."""
        cores, seen = self._cores(), sum(each.image.usable().astype(int) for each in self.inputs)
        found, lost = np.zeros(2), np.zeros(2)
        for each, added, spans in zip(self.inputs, self.added, pixels, strict=True):
            clipped = spans.rows(0, *self.grid.shape)
            good = each.image.usable() & (seen >= SEEN_BY)
            sigmas = np.abs(added) / np.sqrt(np.where(good, each.image.variance, np.inf))
            artefact = good & (sigmas > 5.0)
            clean = good & cores & ~binary_dilation(sigmas > 1.0, iterations=2)
            found += [(clipped & artefact).sum(), artefact.sum()]
            lost += [(clipped & clean).sum(), clean.sum()]
        return float(found[0] / found[1]), float(lost[0] / lost[1])

    def _cores(self) -> NDArray[np.bool_]:
        sources = self.truth.sources
        star = sources.is_star
        x, y = self.grid.sky_to_pixel(sources.lon_deg[star], sources.lat_deg[star])
        cores = np.zeros(self.grid.shape, dtype=bool)
        rows, columns = np.mgrid[: self.grid.shape[0], : self.grid.shape[1]]
        for star_x, star_y in zip(x, y, strict=True):
            cores |= np.hypot(rows - star_y, columns - star_x) <= CORE_RADIUS_PX
        return cores


def make_scene(settings: TruthSettings) -> Scene:
    truth = simulate(settings)
    grid = settings.target_grid()
    pairs = [_warped(observation, grid) for observation in truth.observations]
    return Scene(truth, grid, in_memory([p[0] for p in pairs]), [p[1] for p in pairs])


def _warped(observation: Observation, grid: Grid) -> tuple[MaskedImage, NDArray[np.float32]]:
    factor = 10.0 ** (0.4 * (NANOJANSKY_MAG - (observation.image.zero_point_mag or 0.0)))
    image = rescaled(observation.image, factor, NANOJANSKY_MAG)
    added = sum(observation.artefacts.values()) * np.float32(factor)
    alone = MaskedImage(added, np.ones_like(added), np.zeros(added.shape, dtype=np.int32))
    warped = warp(alone, observation.grid, grid).flux
    return warp(image, observation.grid, grid), np.nan_to_num(warped)


@pytest.fixture(scope="session", params=[31, 32, 33])
def scene(request: pytest.FixtureRequest) -> Scene:
    """Ten exposures: seeing 0.6 to 1.4 arcsec, dithered, rotated, with every kind of artefact.

    No threshold was chosen by what these seeds give.
    """
    return make_scene(TruthSettings(seed=request.param))
