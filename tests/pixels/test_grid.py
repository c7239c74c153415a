"""Where pixels lie on the sky: every kind of header in the real data, frames, footprints."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from app.errors import ImageFormatError
from app.pixels.grid import Grid, unit_vectors
from tests.machine import SHARED

REAL = SHARED / "realdata"
ODD = REAL / "odd_headers"

pytestmark = [
    pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning"),
    pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning"),
]

IMAGES = [
    (ODD / "1904-66_HPX.fits", 0),
    (ODD / "1904-66_ZPN.fits", 0),
    (ODD / "HSC-0908120-056-small.fits", 1),
    (ODD / "dist_lookup.fits.gz", 1),
    (ODD / "dss.14.29.56-62.41.05.fits.gz", 0),
    (ODD / "header_newlines.fits", 0),
    (ODD / "j94f05bgq_flt.fits", 1),
    (ODD / "j94f05bgq_flt.fits", 4),
    (ODD / "m13_rice.fits", 1),
    (ODD / "region.fits", 0),
    (ODD / "sipsample.fits", 0),
    (ODD / "tanflip.fits", 0),
    (ODD / "test0.fits", 3),
    (ODD / "tnx.fits", 0),
    (ODD / "tpv_odd.fits", 0),
    (ODD / "vla_first_4d.fits", 0),
    (REAL / "galactic_centre" / "gc_2mass_j.fits", 0),
    (REAL / "galactic_centre" / "gc_msx_e.fits", 0),
    (REAL / "decam_i_2016_2018" / "DEC-OBS04a.mini.fits", 0),
]


def separation_px(grid: Grid, lon, lat, other_lon, other_lat):
    chord = unit_vectors(lon, lat) - unit_vectors(other_lon, other_lat)
    return np.degrees(np.linalg.norm(chord, axis=-1)) * 3600 / grid.pixel_scale_arcsec


def tan_header(*, crval=(150.0, 2.0), scale_deg=5e-5, crpix=(50.5, 40.5), rotation_deg=0.0):
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = crval
    header["CRPIX1"], header["CRPIX2"] = crpix
    c, s = np.cos(np.radians(rotation_deg)), np.sin(np.radians(rotation_deg))
    header["CD1_1"], header["CD1_2"] = -scale_deg * c, scale_deg * s
    header["CD2_1"], header["CD2_2"] = scale_deg * s, scale_deg * c
    header["RADESYS"] = "ICRS"
    return header


def inside(grid: Grid, polygon, lon, lat):
    """Even-odd test in the gnomonic plane about the polygon (great circles are straight there)."""
    vertices = unit_vectors(*np.array(polygon.vertices).T)
    pole = vertices.mean(axis=0) / np.linalg.norm(vertices.mean(axis=0))
    east = np.cross([0, 0, 1.0], pole) if abs(pole[2]) < 0.9 else np.cross([1.0, 0, 0], pole)
    east /= np.linalg.norm(east)
    north = np.cross(pole, east)

    def plane(v):
        return np.stack([v @ east, v @ north], axis=-1) / (v @ pole)[..., None]

    a = plane(vertices)
    b = np.roll(a, -1, axis=0)
    p = plane(unit_vectors(lon, lat))[:, None, :]
    spans = (a[:, 1] > p[..., 1]) != (b[:, 1] > p[..., 1])
    with np.errstate(all="ignore"):
        cross = a[:, 0] + (p[..., 1] - a[:, 1]) * (b[:, 0] - a[:, 0]) / (b[:, 1] - a[:, 1])
    return (spans & (p[..., 0] < cross)).sum(axis=1) % 2 == 1


@pytest.mark.needs("shared")
@pytest.mark.parametrize(("path", "hdu"), IMAGES, ids=lambda v: getattr(v, "name", str(v)))
def test_grid_agrees_with_astropy_through_its_text(path, hdu):
    with fits.open(path) as hdulist:
        header = hdulist[hdu].header
        grid = Grid.from_header(header, hdulist[hdu].shape, hdulist)
        wcs = WCS(header, hdulist)
        wcs = wcs if wcs.naxis == 2 else wcs.celestial
        grid = Grid.from_text(grid.to_text())
        ny, nx = grid.shape
        x, y = (
            v.ravel()
            for v in np.meshgrid(np.linspace(-0.5, nx - 0.5, 9), np.linspace(-0.5, ny - 0.5, 9))
        )
        sky = wcs.pixel_to_world(x, y).icrs
    lon, lat = grid.pixel_to_sky(x, y)
    fitted = "dist_lookup" in path.name
    assert separation_px(grid, lon, lat, sky.ra.deg, sky.dec.deg).max() < (0.05 if fitted else 1e-3)
    back_x, back_y = grid.sky_to_pixel(lon, lat)
    assert np.hypot(back_x - x, back_y - y).max() < 1e-4


@pytest.mark.needs("shared")
def test_wcslib_applies_the_iraf_polynomial_and_the_plate_solution():
    """The distortion in tnx.fits is 12 px; the plate solution puts the target where the DSS
    header says it lies (OBJCTX, OBJCTY, in plate pixels)."""
    tnx = fits.getheader(ODD / "tnx.fits")
    bent = Grid.from_header(tnx, (400, 400))
    flat_header = tan_header()
    for key in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CD1_1", "CD1_2", "CD2_1", "CD2_2"):
        flat_header[key] = tnx[key]
    flat_header["RADESYS"] = "FK5"
    flat = Grid.from_header(flat_header, (400, 400))
    x, y = np.array([0.0, 399.0, 399.0]), np.array([0.0, 0.0, 399.0])
    moved = separation_px(bent, *bent.pixel_to_sky(x, y), *flat.pixel_to_sky(x, y))
    assert 8 < moved.max() < 16
    dss = fits.getheader(ODD / "dss.14.29.56-62.41.05.fits.gz")
    plate = Grid.from_header(dss, (100, 100))
    target = SkyCoord("14 29 56.000 -62 41 05.00", unit=(u.hourangle, u.deg), frame="fk5").icrs
    px, py = plate.sky_to_pixel(target.ra.deg, target.dec.deg)
    assert px == pytest.approx(dss["OBJCTX"] - dss["CNPIX1"] - 0.5, abs=0.05)
    assert py == pytest.approx(dss["OBJCTY"] - dss["CNPIX2"] - 0.5, abs=0.05)


@pytest.mark.needs("shared")
@pytest.mark.parametrize(
    ("name", "hdu", "reason"),
    [
        ("aia_171_level1.fits", 0, "helioprojective"),
        ("small_MI_corrupt_img.fits", 0, "CRPIX"),
        ("hips_tile.fits", 0, "not on the sky"),
        ("test0.fits", 1, "UNITLESS"),
        ("dist_lookup.fits.gz", 2, "no WCS"),
    ],
)
def test_headers_that_do_not_place_pixels_on_the_sky_are_refused(name, hdu, reason):
    with fits.open(ODD / name) as hdulist, pytest.raises(ImageFormatError, match=reason):
        Grid.from_header(hdulist[hdu].header, hdulist[hdu].shape, hdulist)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"CD1_1": 0.0, "CD1_2": 0.0}, "broken WCS"),
        ({"CRVAL1": None}, "CRVAL1"),
        ({"CRPIX2": "middle"}, "not a number"),
        ({"CD1_1": None, "CD1_2": None, "CD2_1": None, "CD2_2": None}, "pixel scale"),
        ({"CTYPE1": "RA---XYZ", "CTYPE2": "DEC--XYZ"}, "broken WCS"),
        ({"CPDIS1": "Lookup"}, "broken WCS"),
    ],
)
def test_broken_cards_are_refused_with_the_reason(changes, reason):
    header = tan_header()
    for key, value in changes.items():
        if value is None:
            del header[key]
        else:
            header[key] = value
    with pytest.raises(ImageFormatError, match=reason):
        Grid.from_header(header, (80, 100), fits.HDUList([fits.PrimaryHDU()]))


@pytest.mark.parametrize(
    ("cards", "frame"),
    [
        ({"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR"}, "galactic"),
        ({"RADESYS": "FK5", "EQUINOX": 1975.0}, "fk5"),
        ({"RADESYS": "FK4", "EQUINOX": 1950.0}, "fk4"),
        ({"RADESYS": None, "EQUINOX": 1950.0}, "fk4"),
        ({"RADESYS": None, "EQUINOX": 2000.0}, "fk5"),
        ({"CTYPE1": "ELON-TAN", "CTYPE2": "ELAT-TAN"}, "barycentricmeanecliptic"),
    ],
)
def test_every_frame_becomes_icrs(cards, frame):
    header = tan_header()
    for key, value in cards.items():
        if value is None:
            del header[key]
        else:
            header[key] = value
    grid = Grid.from_header(header, (80, 100))
    extra = {"equinox": f"{'B' if frame == 'fk4' else 'J'}{header.get('EQUINOX', 2000.0)}"}
    sky = SkyCoord(
        150.0 * u.deg, 2.0 * u.deg, frame=frame, **({} if frame == "galactic" else extra)
    )
    lon, lat = grid.pixel_to_sky(49.5, 39.5)
    expected = sky.icrs
    assert separation_px(grid, lon, lat, expected.ra.deg, expected.dec.deg) < 1e-3
    assert np.hypot(*np.subtract(grid.sky_to_pixel(lon, lat), (49.5, 39.5))) < 1e-4


@pytest.mark.needs("shared")
def test_a_cube_gives_its_sky_plane_wherever_the_axes_stand():
    header = fits.getheader(ODD / "manyaxes.fits")
    grid = Grid.from_header(header, (4, 50, 50, 10))
    assert grid.shape == (50, 50)
    lon, lat = grid.pixel_to_sky(29.0, 24.0)
    assert (float(lon), float(lat)) == pytest.approx((30.0, 45.0))


@pytest.mark.needs("shared")
def test_array_shapes_are_kept_and_far_directions_stay_outside():
    grid = Grid.from_header(fits.getheader(ODD / "sipsample.fits"), (256, 256))
    lon, lat = grid.pixel_to_sky(np.zeros((2, 3)), np.arange(3.0))
    assert lon.shape == lat.shape == (2, 3)
    ras, decs = np.meshgrid(np.arange(0.0, 360.0, 2.0), np.arange(-89.0, 90.0, 2.0))
    x, y = grid.sky_to_pixel(ras, decs)
    hits = (x > -0.5) & (x < 255.5) & (y > -0.5) & (y < 255.5)
    near = np.hypot((ras - 202.46) * np.cos(np.radians(decs)), decs - 47.2) < 1.0
    assert not (hits & ~near).any()


@pytest.mark.needs("shared")
def test_a_grid_pickles_and_serves_threads():
    grid = Grid.from_header(fits.getheader(ODD / "tpv_odd.fits"), (512, 512))
    x, y = np.random.default_rng(1).uniform(0, 512, (2, 500))
    expected = grid.pixel_to_sky(x, y)
    copy = pickle.loads(pickle.dumps(grid))
    assert copy == grid
    wrong = []

    def work():
        for _ in range(20):
            lon, lat = copy.pixel_to_sky(x, y)
            back = copy.sky_to_pixel(lon, lat)
            if not (np.array_equal(lon, expected[0]) and np.allclose(back, (x, y), atol=1e-4)):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_plain_tan_footprint_has_the_four_outer_corners():
    grid = Grid.from_header(tan_header(rotation_deg=30), (80, 100))
    vertices = np.array(grid.footprint().vertices)
    x, y = grid.sky_to_pixel(*vertices.T)
    corners = [(-0.5, -0.5), (99.5, -0.5), (99.5, 79.5), (-0.5, 79.5)]
    assert np.allclose(np.stack([x, y], axis=1), corners, atol=1e-6)


@pytest.mark.needs("shared")
@pytest.mark.parametrize(
    ("path", "hdu"),
    [pair for pair in IMAGES if "flt" not in pair[0].name and "newlines" not in pair[0].name],
    ids=lambda v: getattr(v, "name", str(v)),
)
def test_footprints_follow_the_pixel_edges_to_a_pixel(path, hdu):
    with fits.open(path) as hdulist:
        grid = Grid.from_header(hdulist[hdu].header, hdulist[hdu].shape, hdulist)
    ny, nx = grid.shape
    polygon = grid.footprint()
    t = np.linspace(0, 1, 101)
    for inset, expected in ((1.0, True), (-1.0, False)):
        low, high_x, high_y = -0.5 + inset, nx - 0.5 - inset, ny - 0.5 - inset
        x = np.concatenate(
            [low + t * (high_x - low), 0 * t + low, 0 * t + high_x, low + t * (high_x - low)]
        )
        y = np.concatenate(
            [0 * t + low, low + t * (high_y - low), low + t * (high_y - low), 0 * t + high_y]
        )
        assert (inside(grid, polygon, *grid.pixel_to_sky(x, y)) == expected).all()


@pytest.mark.parametrize("crval", [(0.001, 10.0), (123.0, 90.0), (40.0, -89.999)])
def test_footprints_at_the_poles_and_the_meridian(crval):
    grid = Grid.from_header(tan_header(crval=crval, scale_deg=1e-3), (80, 100))
    polygon = grid.footprint()
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-30, 130, 2000), rng.uniform(-30, 110, 2000)
    hit = inside(grid, polygon, *grid.pixel_to_sky(x, y))
    truth = (x > -0.5) & (x < 99.5) & (y > -0.5) & (y < 79.5)
    assert (hit == truth).all()
    assert len(polygon.vertices) == 4


def test_a_trimmed_border_gives_the_trimmed_rectangle():
    grid = Grid.from_header(tan_header(), (80, 100))
    valid = np.zeros((80, 100), dtype=bool)
    valid[5:70, 1:97] = True
    valid[30:33, 40:60] = False  # a hole inside is not outside
    valid[5:40, 50] = False  # a bad column that reaches the border
    x, y = grid.sky_to_pixel(*np.array(grid.footprint(valid).vertices).T)
    assert np.allclose(
        sorted(zip(x.round(6), y.round(6), strict=True)),
        [(0.5, 4.5), (0.5, 69.5), (96.5, 4.5), (96.5, 69.5)],
    )


@pytest.mark.parametrize("shape", ["rotated", "concave", "disc"])
def test_an_irregular_valid_area_is_followed_to_a_pixel_or_so(shape):
    grid = Grid.from_header(tan_header(crpix=(200.0, 200.0)), (400, 400))
    y, x = np.mgrid[0:400, 0:400].astype(float)
    c, s = np.cos(0.4), np.sin(0.4)
    valid = {
        "rotated": (abs((x - 200) * c + (y - 200) * s) < 150)
        & (abs((y - 200) * c - (x - 200) * s) < 110),
        "concave": ((x < 130) | (y < 150)) & (x > 10),
        "disc": np.hypot(x - 200, y - 200) < 170,
    }[shape]
    polygon = grid.footprint(valid)
    assert len(polygon.vertices) <= {"rotated": 8, "concave": 6, "disc": 100}[shape]
    hit = inside(grid, polygon, *grid.pixel_to_sky(x.ravel(), y.ravel())).reshape(400, 400)
    wrong = hit != valid
    grown = np.zeros_like(valid)
    edge = valid ^ np.roll(valid, 1, 0) | valid ^ np.roll(valid, 1, 1)
    for dy in (-2, -1, 0, 1, 2):
        for dx in (-2, -1, 0, 1, 2):
            grown |= np.roll(edge, (dy, dx), (0, 1))
    assert not (wrong & ~grown).any()


def test_an_all_sky_map_has_no_polygon():
    header = tan_header(scale_deg=1.0, crpix=(180.5, 90.5), crval=(0.0, 0.0))
    header["CTYPE1"], header["CTYPE2"] = "RA---AIT", "DEC--AIT"
    grid = Grid.from_header(header, (180, 360))
    with pytest.raises(ImageFormatError, match="hemisphere"):
        grid.footprint()


def test_pixels_outside_the_projection_are_outside_the_footprint():
    header = tan_header(scale_deg=1.2, crpix=(50.5, 50.5))
    header["CTYPE1"], header["CTYPE2"] = "RA---SIN", "DEC--SIN"
    grid = Grid.from_header(header, (100, 100))
    polygon = grid.footprint()
    y, x = (v.ravel() for v in np.mgrid[0:100, 0:100].astype(float))
    lon, lat = grid.pixel_to_sky(x, y)
    on_sky = np.isfinite(lon)
    radius_px = np.hypot(x - 49.5, y - 49.5)
    assert 40 < radius_px[on_sky].max() < 57
    hit = inside(grid, polygon, lon[on_sky], lat[on_sky])
    assert hit[radius_px[on_sky] < 45].all()
