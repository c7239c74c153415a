"""What every stage of a build is given: the plan, where to read and keep, when to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from app.errors import StoppedError
from app.pixels.bands import thread_count
from app.pixels.grid import Grid
from app.recipes.recipe import BuildPlan
from app.stores.images import ImageStore
from app.stores.warps import WarpStore
from app.workers.engine import Progress

Stage = Literal[
    "merge",
    "warp",
    "scale",
    "background",
    "psf",
    "artefacts",
    "coadd",
    "match",
    "subtract",
    "detect",
    "write",
]
STAGES: Final[tuple[Stage, ...]] = get_args(Stage)
"""In the order in which a build reports them."""

_WARP_BYTES: Final = 24
"""Of a pixel while an exposure is warped: its planes before and after, and some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a build may take of its machine.

    ``stack_memory_bytes``: planes of exposures that are warped at the same time (one always is);
    half of it: rows of all inputs that a stack holds at a time.
    ``warp_cache_bytes``: warps that stay on disk for later builds.
    """

    stack_memory_bytes: int = 256 * 2**20
    warp_cache_bytes: int = 10 * 2**30

    def band_bytes(self) -> int:
        """What the rows of all inputs that a stack holds at a time may take."""
        return self.stack_memory_bytes // 2


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One build under way."""

    plan: BuildPlan
    grid: Grid
    """The pixels of the template (:func:`app.recipes.target.template_grid`)."""
    images: ImageStore
    warps: WarpStore
    limits: Limits
    should_stop: Callable[[], bool]
    progress: Progress

    def check(self) -> None:
        """Raise StoppedError when the build is to stop."""
        if self.should_stop():
            raise StoppedError()

    def at(self, stage: Stage, done: int, total: int) -> None:
        """Report progress. Raises StoppedError when the build is to stop."""
        self.check()
        self.progress(stage, done, total)

    def exposures_at_once(self) -> int:
        """How many exposures the threads of this build may warp at the same time."""
        ny, nx = self.grid.shape
        fit = self.limits.stack_memory_bytes // (_WARP_BYTES * ny * nx)
        return max(1, min(thread_count(), fit))

    def fwhm_arcsec(self, fwhm_px: float | None) -> float | None:
        """A width in pixels of the target on the sky."""
        return None if fwhm_px is None else float(fwhm_px * self.grid.pixel_scale_arcsec)
