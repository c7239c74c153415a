"""Which exposures a template takes, and what is said when there are too few."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from astropy.io.fits import Header

from app.errors import CoverageError, RecipeError
from app.pixels.grid import Grid
from app.recipes.photometry import effective_times_s, point_source_depth_mag
from app.recipes.recipe import ImageRef, PlaneRef
from app.recipes.select import Candidate, Chosen, check_listed, select_inputs
from app.recipes.selection import Selection
from app.sky.predicates import bounding_circle, centroid
from app.sky.shapes import Point, Polygon, Region

TARGET = Polygon(((10.0, 0.0), (11.0, 0.0), (11.0, 1.0), (10.0, 1.0)))
ELSEWHERE = Polygon(((20.0, 0.0), (21.0, 0.0), (21.0, 1.0), (20.0, 1.0)))
WEST_HALF = Polygon(((9.5, 0.0), (10.4, 0.0), (10.4, 1.0), (9.5, 1.0)))


def grid_over(region: Region | None) -> Grid:
    """Pixels whose outline is about that of a square region."""
    centre = Point(0.0, 0.0) if region is None else centroid(region)
    side_px, width_deg = 100, 0.0 if region is None else 2 * bounding_circle(region).radius_deg
    header = Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = centre.lon_deg, centre.lat_deg
    header["CRPIX1"] = header["CRPIX2"] = (side_px + 1) / 2
    header["CDELT1"] = -(width_deg or 1.0) / math.sqrt(2) / side_px
    header["CDELT2"] = -header["CDELT1"]
    return Grid.from_header(header, (side_px, side_px))


def candidate(
    name: str,
    *,
    exposure: str | None = None,
    fwhm_arcsec: float | None = 1.0,
    time_mjd: float | None = 58000.0,
    band: str = "i",
    region: Region | None = TARGET,
    calib_level: int = 2,
    members: frozenset[str] = frozenset(),
    pixels: Region | None = None,
    **facts: float | None,
) -> Candidate:
    """An image of the target."""
    return Candidate(
        ref=ImageRef(
            dataset_id=name,
            planes=(PlaneRef(path=f"/{name}.fits", hdu=0, role="image"),),
            grid=grid_over(pixels or region).to_text(),
            band=band,
            t_min=time_mjd,
            t_max=None if time_mjd is None else time_mjd + 0.001,
            fwhm_arcsec=fwhm_arcsec,
            checksum=name,
            **facts,  # type: ignore[arg-type]
        ),
        region=region,
        exposure=exposure or name,
        calib_level=calib_level,
        members=members,
    )


def many(count: int) -> list[Candidate]:
    """``count`` exposures, e00 the sharpest."""
    return [candidate(f"e{n:02d}", fwhm_arcsec=1 + n / 10) for n in range(count)]


def choose(candidates: list[Candidate], **options: object) -> Chosen:
    """The choice for the target in band i."""
    selection = Selection(
        **{k: v for k, v in options.items() if k not in {"position", "science_exposure"}}  # type: ignore[arg-type]
    )
    rest = {k: v for k, v in options.items() if k in {"position", "science_exposure"}}
    return select_inputs(
        candidates,
        target=TARGET,
        band="i",
        selection=selection,
        **rest,  # type: ignore[arg-type]
    )


def names(chosen: Chosen) -> list[str]:
    """The identifiers of the inputs."""
    return [c.dataset_id for c in chosen.inputs]


def reasons(chosen: Chosen) -> dict[str, str | None]:
    """Why images were left out."""
    return {use.dataset_id: use.rejected for use in chosen.rejected}


def test_the_best_third_is_taken_but_never_less_than_six() -> None:
    assert names(choose(many(30))) == [f"e{n:02d}" for n in range(10)]
    assert names(choose(many(31))) == [f"e{n:02d}" for n in range(11)]
    assert len(names(choose(many(12)))) == 6
    assert len(names(choose(many(5)))) == 5


def test_a_fraction_is_taken_at_its_word_with_two_at_least() -> None:
    assert len(names(choose(many(12), fwhm_fraction=1 / 3))) == 4
    assert len(names(choose(many(10), fwhm_fraction=1.0))) == 10
    assert names(choose(many(10), fwhm_fraction=0.01)) == ["e00", "e01"]
    assert reasons(choose(many(3), fwhm_fraction=0.5)) == {
        "e02": "its seeing is not among the best"
    }


def test_unknown_seeing_sorts_last_and_detectors_of_an_exposure_stay_together() -> None:
    images = [
        candidate("blind", fwhm_arcsec=None),
        candidate("a1", exposure="a", fwhm_arcsec=0.8),
        candidate("a2", exposure="a", fwhm_arcsec=3.0),
        candidate("b1", exposure="b", fwhm_arcsec=2.0),
        candidate("c1", exposure="c", fwhm_arcsec=2.5),
    ]
    assert names(choose(images, fwhm_fraction=0.5)) == ["a1", "a2", "b1"]


def test_times() -> None:
    images = [candidate(f"t{mjd}", time_mjd=float(mjd)) for mjd in (57000, 57500, 58000, 58500)]
    images.append(candidate("timeless", time_mjd=None))
    chosen = choose(images, times=((-math.inf, 57600.0), (58400.0, math.inf)))
    assert names(chosen) == ["t57000", "t57500", "t58500"]
    assert reasons(chosen) == {"t58000": "outside TIME", "timeless": "its time is not known"}
    assert names(choose(images, exclude_times=((57400.0, 58100.0),))) == ["t57000", "t58500"]


def test_only_true_overlap_in_the_band_counts() -> None:
    images = [
        *many(2),
        candidate("far", region=ELSEWHERE),
        candidate("nowhere", region=None),
        candidate("red", band="r"),
    ]
    chosen = choose(images)
    assert names(chosen) == ["e00", "e01"]
    assert reasons(chosen) == {
        "far": "no true overlap",
        "nowhere": "no true overlap",
        "red": "another band",
    }


def test_a_padded_footprint_is_no_overlap() -> None:
    padded = candidate("padded", region=TARGET, pixels=ELSEWHERE)
    chosen = choose([*many(2), padded])
    assert reasons(chosen) == {"padded": "no true overlap"}
    with pytest.raises(RecipeError, match="padded does not overlap"):
        listed([*many(2), padded])


def test_a_number_of_exposures_is_taken_from_the_sharpest() -> None:
    assert names(choose(many(9), max_inputs=8)) == [f"e{n:02d}" for n in range(8)]
    assert names(choose(many(9), max_inputs=3)) == ["e00", "e01", "e02"]
    assert len(names(choose(many(9), max_inputs=3, fwhm_fraction=1.0))) == 3
    assert len(names(choose(many(9), max_inputs=8, fwhm_fraction=0.5))) == 5


@pytest.mark.parametrize(
    ("limits", "kept", "told"),
    [
        ({"fwhm_max_arcsec": 1.2}, ["a", "b"], {"c": "its seeing is above FWHM_MAX"}),
        ({"fwhm_min_arcsec": 1.1}, ["b", "c"], {"a": "its seeing is below FWHM_MIN"}),
        ({"exposure_s": (20.0, 60.0)}, ["a", "b"], {"c": "its exposure time is below EXPTIME"}),
        ({"zero_point_mag": (-math.inf, 30.0)}, ["a", "c"], {"b": "its zero point is above ZERO"}),
        ({"depth_min_mag": 30.0}, ["a", "b"], {"c": "its depth is below DEPTH_MIN"}),
        ({"effective_time_min_s": 12.0}, ["a", "b"], {"c": "its effective time is below EFFTIME"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_limits_say_why(limits: dict[str, object], kept: list[str], told: dict[str, str]) -> None:
    """c is as long as the limits ask for in nothing: blurred, short, shallow."""
    images = [
        candidate("a", fwhm_arcsec=1.0, exposure_s=30.0, zero_point_mag=30.0, noise=3.0),
        candidate("b", fwhm_arcsec=1.2, exposure_s=30.0, zero_point_mag=30.1, noise=3.3),
        candidate("c", fwhm_arcsec=1.6, exposure_s=15.0, zero_point_mag=29.2, noise=2.8),
        candidate("unknown", fwhm_arcsec=None),
    ]
    chosen = choose(images, **limits)
    assert names(chosen) == kept
    found = reasons(chosen)
    assert str(found.pop("unknown")).endswith("is not known")
    assert {name: str(text)[: len(told[name])] for name, text in found.items()} == told


def test_the_effective_time_of_a_median_image_is_its_exposure_time() -> None:
    images = [
        candidate(name, fwhm_arcsec=fwhm, exposure_s=30.0, zero_point_mag=30.0, noise=3.0)
        for name, fwhm in (("sharp", 0.8), ("usual", 1.0), ("blurred", 2.0))
    ]
    seconds = effective_times_s([each.ref for each in images])
    assert seconds["usual"] == pytest.approx(30.0)
    assert seconds["blurred"] == pytest.approx(30.0 / 4)
    assert seconds["sharp"] == pytest.approx(30.0 / 0.64)


def test_depth_is_five_sigma_of_a_gaussian_star() -> None:
    sigma_px, noise = 2.0, 3.0
    y, x = np.mgrid[-20:21, -20:21]
    psf = np.exp(-(x**2 + y**2) / (2 * sigma_px**2))
    psf /= psf.sum()
    error = noise / math.sqrt(float((psf**2).sum()))  # of the best (matched) estimate of the flux
    fwhm_px = sigma_px * math.sqrt(8 * math.log(2))
    depth = point_source_depth_mag(noise, fwhm_px, 30.0)
    assert depth == pytest.approx(30.0 - 2.5 * math.log10(5 * error), abs=1e-3)


def test_exposures_that_miss_the_position_stay_out() -> None:
    images = [
        *many(2),
        candidate("west", exposure="w", region=WEST_HALF),
        candidate("chip", exposure="e00", region=WEST_HALF),
    ]
    chosen = choose(images, position=Point(10.8, 0.5))
    assert names(chosen) == ["chip", "e00", "e01"]
    assert reasons(chosen) == {"west": "not over the position"}


def test_the_science_exposure_is_never_in_its_template() -> None:
    images = [*many(3), candidate("other chip", exposure="e00")]
    chosen = choose(images, science_exposure="e00")
    assert names(chosen) == ["e01", "e02"]


def test_a_copy_of_an_input_is_left_out() -> None:
    twin = candidate("e00 again", exposure="x")
    first = many(3)
    copied = Candidate(ref=first[0].ref, region=TARGET, exposure="copy")
    assert len(choose([*first, twin, copied]).inputs) == 4


def test_a_band_with_one_image_only() -> None:
    with pytest.raises(CoverageError) as caught:
        choose([candidate("lonely", band="i"), candidate("red", band="r")])
    assert caught.value.args[1:] == (1, 2)
    assert "band i has one image only here that can be used, lonely, " in str(caught.value)
    assert re.search(r"within \d\.\d+ deg of RA \d+\.\d+, Dec [+-]\d+\.\d+", str(caught.value))
    assert "(left out: another band: red)" in str(caught.value)


def test_too_few_exposures_are_told_with_those_that_were_left_out() -> None:
    chips = [candidate(f"e00 chip {n}", exposure="e00") for n in range(3)]
    images = [*many(9), *chips, candidate("far", region=ELSEWHERE)]
    late = candidate("late", time_mjd=60000.0)
    with pytest.raises(CoverageError) as caught:
        choose([*images, late], times=((59000.0, 61000.0),))
    told = str(caught.value)
    assert "can be used, late, " in told
    assert "outside TIME: e00, e01, e02, e03, e04 and 4 more" in told
    assert "no true overlap: far" in told
    assert caught.value.args[1:] == (1, 2)


def test_no_image_at_all() -> None:
    with pytest.raises(CoverageError, match="No image of band i"):
        choose([])


def listed(candidates: list[Candidate], **options: object) -> list[str]:
    """The accepted explicit list."""
    given = {"science_exposure": None, "products": False, **options}
    return names(check_listed(candidates, target=TARGET, band="i", **given))  # type: ignore[arg-type]


def test_an_explicit_list_is_taken_as_it_is() -> None:
    assert listed([candidate("b", fwhm_arcsec=9.0), candidate("a")]) == ["a", "b"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (candidate("x", band="r"), "x is of band r, not i"),
        (candidate("x", region=ELSEWHERE), "x does not overlap"),
        (candidate("x", exposure="science"), "own template"),
        (candidate("x", calib_level=3, members=frozenset({"science"})), "contains the science"),
        (candidate("x", calib_level=3), "not both"),
        (candidate("x", calib_level=1), "calib_level 2"),
    ],
)
def test_a_wrong_image_in_a_list_is_named(wrong: Candidate, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        listed([*many(2), wrong], science_exposure="science", products=True)


def test_an_existing_template_stands_for_exposures_in_a_difference_only() -> None:
    template = candidate("coadd", calib_level=3, members=frozenset({"e1", "e2"}))
    assert listed([template], science_exposure="science", products=True) == ["coadd"]
    with pytest.raises(RecipeError, match="calib_level 2"):
        listed([template])


def test_one_listed_exposure_is_no_template() -> None:
    with pytest.raises(CoverageError):
        listed([candidate("a1", exposure="a"), candidate("a2", exposure="a")])
