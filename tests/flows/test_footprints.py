"""Every search result contains its target: checked against the pixels themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvo
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from tests.flows.service import Service

POSITIONS = 500
NO_DATA = 8
EDGE_PX = 1.0
"""Positions within this distance of the border of the valid pixels may go either way: s_region
follows the border to that accuracy."""


class Pixels:
    """The valid pixels of one image, from the file alone."""

    def __init__(self, path: Path) -> None:
        with fits.open(path) as hdus:
            header = hdus["IMAGE"].header
            mask = hdus["MASK"].data & (1 << hdus["MASK"].header["MP_NO_DATA"])
            self.valid: NDArray[np.bool_] = np.isfinite(hdus["IMAGE"].data) & (mask == 0)
            self.wcs = WCS(header)

    def inside(self, ra: NDArray[Any], dec: NDArray[Any], margin_px: float) -> NDArray[np.bool_]:
        """True where the sky position falls on the array, ``margin_px`` away from its border."""
        x, y = self.wcs.all_world2pix(ra, dec, 0, quiet=True)
        ny, nx = self.valid.shape
        low, high_x, high_y = margin_px - 0.5, nx - 0.5 - margin_px, ny - 0.5 - margin_px
        return (x > low) & (x < high_x) & (y > low) & (y < high_y)


def survey_positions(images: dict[str, Pixels]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Random positions over the survey's box, a tenth of a field beyond its border."""
    corners = np.concatenate([p.wcs.calc_footprint() for p in images.values()])
    low, high = corners.min(axis=0), corners.max(axis=0)
    pad = 0.1 * (high - low)
    rng = np.random.default_rng(7)
    ra = rng.uniform(low[0] - pad[0], high[0] + pad[0], POSITIONS)
    dec = rng.uniform(low[1] - pad[1], high[1] + pad[1], POSITIONS)
    return ra, dec


def test_no_false_hit_and_no_miss(
    service: Service,
    demo_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = sorted((demo_dir / "survey").rglob("*.fits*"))
    tap = pyvo.dal.TAPService(f"{service.url}/tap")
    rows = tap.search("SELECT obs_id FROM ivoa.ObsCore WHERE calib_level = 2")
    ids = set(rows["obs_id"])
    images = {}
    for path in files:
        matching = [i for i in ids if path.name.split(".")[0].lower() in str(i).lower()]
        assert len(matching) == 1, path
        images[matching[0]] = Pixels(path)
    ra, dec = survey_positions(images)
    sure = {i: p.inside(ra, dec, EDGE_PX) for i, p in images.items()}
    possible = {i: p.inside(ra, dec, -EDGE_PX) for i, p in images.items()}
    false_hits = misses = hits = 0
    for n in range(POSITIONS):
        found = tap.search(
            f"SELECT obs_id FROM ivoa.ObsCore WHERE calib_level = 2 AND "
            f"CONTAINS(POINT('ICRS', {float(ra[n])!r}, {float(dec[n])!r}), s_region) = 1"
        )
        answered = set(found["obs_id"])
        hits += len(answered)
        false_hits += sum(1 for i in answered if not possible[i][n])
        misses += sum(1 for i in images if sure[i][n] and i not in answered)
    with capsys.disabled():
        print(
            f"\n{service.url}: {POSITIONS} positions, {hits} hits, "
            f"{false_hits} false, {misses} missed"
        )
    assert hits > POSITIONS
    assert false_hits == 0
    assert misses == 0
