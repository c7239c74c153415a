"""Compiled code made ready before the first build needs it: small builds of a small survey."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from app.config import Config
from app.demo.announce import dataset_id
from app.demo.settings import BANDS, DEFAULT_SEED, Camera, SurveySettings
from app.recipes.recipe import BuildKind
from app.wiring_builds import run_builds
from app.wiring_images import prepare_demo

SURVEY: Final = SurveySettings(
    camera=Camera(columns=1, rows=1, nx_px=336, ny_px=300),
    bands=BANDS[1:2],
    quiet_epochs=4,
    active_epochs=1,
    dither_arcsec=10.0,
    transients=1,
    variables=1,
)
BUILDS: Final[tuple[tuple[BuildKind, str], ...]] = (
    ("template", "comparewarp"),
    ("template", "safeclip"),
    ("difference", "meanclip"),
)
"""Kinds and statistics that between them call what is compiled for builds as they are usually asked
for."""


def warm_up(progress: Callable[[int, int], None]) -> None:
    """Run builds in a folder that is removed again; what numba compiles for them, it keeps for
    every later process. Nothing that a service serves is touched."""
    with TemporaryDirectory(prefix="skyloom-warm-up-") as folder:
        config = Config(data_dir=Path(folder), database_url=None, dask_scheduler=None, workers=1)
        truth, _ = prepare_demo(
            config, seed=DEFAULT_SEED, progress=lambda _done, _all: None, settings=SURVEY
        )
        image = dataset_id(truth.exposures[-1], config.authority)
        requests = [
            (kind, (("ID", image), ("FWHM_FRACTION", "1"), ("STATISTIC", statistic)))
            for kind, statistic in BUILDS
        ]
        progress(0, len(requests))
        for done, _ in enumerate(run_builds(config, requests), start=1):
            progress(done, len(requests))
