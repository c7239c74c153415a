"""The coverage that the sky of the pages shows."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units
from astropy_healpix import HEALPix

from app.pages.coverage_view import MAX_CELLS, to_geojson
from app.sky.healpix_outlines import outline_cells
from app.sky.moc import MOC, bounded
from tests.pages.conftest import Site


@pytest.mark.parametrize("order", [0, 1, 3, 8, 13])
def test_cells_have_the_corners_of_another_implementation(order: int) -> None:
    count = 12 << (2 * order)
    cells = np.unique(np.linspace(0, count - 1, 500).astype(np.int64))
    lon, lat = outline_cells(order, cells)
    points = lon.shape[1] // 4
    other = HEALPix(nside=1 << order, order="nested").boundaries_lonlat(cells, points)
    ours = np.stack(_vector(lon, lat))
    theirs = np.stack(_vector(*(each.to_value(units.deg) for each in other)))
    # each of ours is one of theirs, which begin elsewhere
    distance = np.linalg.norm(ours[:, :, :, None] - theirs[:, :, None, :], axis=0)
    assert distance.min(axis=2).max() < 1e-9
    assert distance.min(axis=1).max() < 1e-9


def _vector(lon: np.ndarray, lat: np.ndarray) -> list[np.ndarray]:
    a, b = np.radians(lon), np.radians(lat)
    return [np.cos(b) * np.cos(a), np.cos(b) * np.sin(a), np.sin(b)]


@pytest.mark.parametrize("order", [0, 2, 6])
def test_outlines_run_clockwise_about_their_cells(order: int) -> None:
    cells = np.arange(min(12 << (2 * order), 3000), dtype=np.int64)
    x, y, z = _vector(*outline_cells(order, cells))
    ring = np.stack([x, y, z], axis=-1)
    turned = np.cross(ring, np.roll(ring, -1, axis=1)).sum(axis=1)
    assert ((turned * ring.mean(axis=1)).sum(axis=1) < 0).all()


def test_the_map_of_the_pages_is_bounded_and_holds_the_images(site: Site) -> None:
    answer = site.client.get("/sky/coverage")
    assert answer.status_code == 200 and "max-age" in answer.headers["cache-control"]
    geometry = answer.json()["geometry"]
    assert geometry["type"] == "MultiPolygon" and 0 < len(geometry["coordinates"]) <= MAX_CELLS
    lon, lat = site.truth.centre_deg
    centres = np.array([np.mean(rings[0][:-1], axis=0) for rings in geometry["coordinates"]])
    off = np.hypot((centres[:, 0] - lon) * np.cos(np.radians(lat)), centres[:, 1] - lat)
    assert off.min() < 0.01 and off.max() < 0.2
    assert "blue" in answer.json()["about"]


def test_large_maps_become_coarser() -> None:
    rng = np.random.default_rng(1)
    cells = np.unique(rng.integers(0, 12 << 20, 20_000).astype(np.uint64))
    moc = bounded(MOC.from_healpix_cells(cells, np.uint8(10), max_depth=10), cells=MAX_CELLS)
    assert 0 < len(to_geojson(moc)["coordinates"]) <= MAX_CELLS
