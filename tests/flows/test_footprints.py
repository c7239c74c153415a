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
from scipy import ndimage

from tests.flows.service import Service

POSITIONS = 500
NO_DATA = 8
EDGE_PX = 1.5
"""Positions within this distance of the border of the valid pixels may go either way: s_region
follows the border to one pixel, and the border is known here to half a pixel."""
PAD_PX = 8


class Pixels:
    """The valid pixels of one image, from the file alone; defects inside belong to the image."""

    def __init__(self, path: Path) -> None:
        with fits.open(path) as hdus:
            no_data = hdus["MASK"].data & (1 << hdus["MASK"].header["MP_NO_DATA"])
            valid = np.isfinite(hdus["IMAGE"].data) & (no_data == 0)
            self.wcs = WCS(hdus["IMAGE"].header)
        padded = np.pad(ndimage.binary_fill_holes(valid), PAD_PX)
        outwards = ndimage.distance_transform_edt(~padded)
        self.depth_px: NDArray[Any] = ndimage.distance_transform_edt(padded) - outwards

    def inside(self, ra: NDArray[Any], dec: NDArray[Any], margin_px: float) -> NDArray[np.bool_]:
        """True where a sky position lies more than ``margin_px`` within the valid pixels."""
        x, y = self.wcs.all_world2pix(ra, dec, 0, quiet=True)
        column, row = np.rint(x).astype(int) + PAD_PX, np.rint(y).astype(int) + PAD_PX
        ny, nx = self.depth_px.shape
        there = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
        depth = self.depth_px[np.clip(row, 0, ny - 1), np.clip(column, 0, nx - 1)]
        return there & (depth > margin_px)


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
