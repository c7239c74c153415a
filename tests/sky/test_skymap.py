"""The sky map: complete, overlapping, and true to FITS."""

from __future__ import annotations

import math
import random

import pytest
from astropy.io import fits
from astropy.wcs import WCS

from app.config import Config
from app.errors import LimitError, RegionError
from app.sky.predicates import contains_point, intersects
from app.sky.shapes import Circle, Point, Polygon, Range, Shape
from app.sky.skymap import SkyMap
from app.sky.tracts import Patch, Tract
from app.wiring_images import make_skymap


@pytest.fixture(scope="module")
def sky_map() -> SkyMap:
    return SkyMap(
        pixel_scale_arcsec=2.0, patch_px=500, patch_border_px=20, tract_patches=5, rings=140
    )


def wcs_of(patch: Patch) -> WCS:
    return WCS(fits.Header.fromstring(patch.header, sep="\n"))


SPECIAL = [(0.0, 90.0), (77.0, -90.0), (0.0, 0.0), (359.9999, 45.0), (180.0, 89.5)]


def test_every_direction_has_a_patch_and_lies_on_its_pixels(sky_map: SkyMap) -> None:
    rng = random.Random(4)
    points = SPECIAL + [
        (rng.uniform(0, 360), math.degrees(math.asin(rng.uniform(-1, 1)))) for _ in range(150)
    ]
    several = 0
    for lon, lat in points:
        patches = sky_map.find_patches(Point(lon, lat))
        assert patches, (lon, lat)
        several += len(patches) > 1
        for patch in patches:
            x, y = wcs_of(patch).all_world2pix(lon, lat, 0)
            ny, nx = patch.shape
            assert -0.5 - 1e-6 <= x <= nx - 0.5 + 1e-6
            assert -0.5 - 1e-6 <= y <= ny - 0.5 + 1e-6
            assert contains_point(patch.outline, Point(lon, lat))
    assert several > 10


@pytest.mark.parametrize(("lon", "lat"), SPECIAL)
def test_outline_and_parent_pixels_agree_with_the_header(
    sky_map: SkyMap, lon: float, lat: float
) -> None:
    for patch in sky_map.find_patches(Point(lon, lat)):
        wcs, (ny, nx) = wcs_of(patch), patch.shape
        corners = ((-0.5, -0.5), (nx - 0.5, -0.5), (nx - 0.5, ny - 0.5), (-0.5, ny - 0.5))
        for (ra, dec), corner in zip(patch.outline.vertices, corners, strict=True):
            assert list(map(float, wcs.all_world2pix(ra, dec, 0))) == pytest.approx(
                corner, abs=1e-6
            )
        header = fits.Header.fromstring(patch.header, sep="\n")
        assert (header["LTV1"], header["LTV2"]) == (-patch.outer.x_min, -patch.outer.y_min)
        parent = WCS(header, key="A").all_pix2world(0, 0, 0)
        assert tuple(map(float, parent)) == pytest.approx((patch.outer.x_min, patch.outer.y_min))


def test_neighbouring_patches_share_pixels_of_one_tract(sky_map: SkyMap) -> None:
    a, b = sky_map.get_patch(100, 6), sky_map.get_patch(100, 7)
    assert a.inner.x_max == b.inner.x_min
    assert a.outer.x_max - b.outer.x_min == 40
    assert a.outer.shape == (540, 540)
    assert sky_map.get_patch(100, 0).outer.shape == (520, 520)
    shared = a.outer.x_max - 5
    ours = wcs_of(a).all_pix2world(shared - a.outer.x_min, 10, 0)
    theirs = wcs_of(b).all_pix2world(shared - b.outer.x_min, 10, 0)
    assert list(map(float, ours)) == pytest.approx(list(map(float, theirs)), abs=1e-11)


@pytest.mark.parametrize(
    "region",
    [
        Circle(0.0, 89.9, 0.5),
        Circle(359.8, 0.3, 1.0),
        Polygon(((10.0, 20.0), (12.0, 20.0), (10.3, 20.3), (10.0, 22.0))),
        Range(359.5, 0.5, -45.5, -44.0),
    ],
    ids=str,
)
def test_regions_find_exactly_the_patches_they_touch(
    sky_map: SkyMap, region: Circle | Polygon | Range
) -> None:
    found = sky_map.find_patches(region)
    keys = [(patch.tract, patch.patch) for patch in found]
    assert keys == sorted(set(keys))
    assert all(intersects(region, patch.outline) for patch in found)
    tracts = {tract for tract, _ in keys}
    near = {t + d for t in tracts for d in (-1, 0, 1) if 0 <= t + d < sky_map.tracts}
    every = {
        (tract, patch)
        for tract in near
        for patch in range(25)
        if intersects(region, sky_map.get_patch(tract, patch).outline)
    }
    assert every == set(keys)


def test_the_first_patches_are_found_without_looking_at_all_tracts(
    sky_map: SkyMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = Circle(62.0, -37.0, 4.0)
    everything = sky_map.find_numbers(region)
    looked_at: list[int] = []
    find = Tract.find_patches

    def counted(tract: Tract, shape: Shape) -> list[int]:
        looked_at.append(tract.tract)
        return find(tract, shape)

    monkeypatch.setattr(Tract, "find_patches", counted)
    assert sky_map.find_numbers(region, 7) == everything[:7]
    assert len(looked_at) < len({tract for tract, _ in everything}) / 2


def test_each_direction_belongs_to_one_patch(sky_map: SkyMap) -> None:
    rng = random.Random(5)
    points = SPECIAL + [
        (rng.uniform(0, 360), math.degrees(math.asin(rng.uniform(-1, 1)))) for _ in range(150)
    ]
    for lon, lat in points:
        patch = sky_map.locate(Point(lon, lat))
        x, y = wcs_of(patch).all_world2pix(lon, lat, 0)
        x, y = x + patch.outer.x_min, y + patch.outer.y_min
        assert patch.inner.x_min - 0.5 - 1e-6 <= x <= patch.inner.x_max - 0.5 + 1e-6
        assert patch.inner.y_min - 0.5 - 1e-6 <= y <= patch.inner.y_max - 0.5 + 1e-6
        assert (patch.row, patch.column) == divmod(patch.patch, 5)
        assert (patch.tract, patch.patch) in sky_map.find_numbers(Point(lon, lat))
        centre = wcs_of(patch).all_world2pix(patch.centre.lon_deg, patch.centre.lat_deg, 0)
        middle = (patch.inner.x_min + patch.inner.x_max - 1) / 2 - patch.outer.x_min
        assert float(centre[0]) == pytest.approx(middle, abs=1e-6)


def test_the_default_numbers_are_those_of_rubin() -> None:
    """The Extended Chandra Deep Field South of Data Preview 1: tract 5063, patch 14."""
    config = Config()
    rubin = make_skymap(config)
    patch = rubin.locate(Point(53.13, -28.10))
    assert (rubin.tracts, patch.tract, patch.patch) == (18938, 5063, 14)
    assert (patch.column, patch.row) == (4, 1)
    assert (patch.outer.x_min, patch.outer.y_min, patch.shape) == (11800, 2800, (3400, 3400))
    assert config.skymap_pixel_scale_arcsec == 0.2


def test_what_cannot_be(sky_map: SkyMap) -> None:
    with pytest.raises(RegionError, match="tracts are numbered"):
        sky_map.get_patch(sky_map.tracts, 0)
    with pytest.raises(RegionError, match="patches are numbered"):
        sky_map.get_patch(0, 25)
    with pytest.raises(LimitError, match="radius"):
        sky_map.find_patches(Circle(0.0, 0.0, 20.0))
    with pytest.raises(LimitError, match="rings"):
        SkyMap(pixel_scale_arcsec=2.0, patch_px=500, patch_border_px=20, tract_patches=5, rings=90)
