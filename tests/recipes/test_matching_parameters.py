"""How a template is matched: what goes together, and what a wrong value is told."""

from __future__ import annotations

import pytest

from app.errors import ParameterError
from app.pixels.grid import Grid
from app.recipes.recipe import DifferenceOptions, Recipe
from app.recipes.registered import describe_difference
from app.recipes.request import parameters_of_json, parse_difference
from app.recipes.target import cut, grown
from tests.services.survey import SIZE_PX, Exposure, exposure_header

ID = ("ID", "ivo://a/b?c")
OTHER = ("TEMPLATE_IDS", "ivo://a/b?d")


def options(*given: tuple[str, str]) -> DifferenceOptions:
    return parse_difference([ID, *given]).options


@pytest.mark.parametrize(
    ("given", "name", "told"),
    [
        ([("METHOD", "sum")], "METHOD", "kernel, zogy, snap, likelihood"),
        ([("PRODUCT", "kernel")], "PRODUCT", "difference, matched"),
        ([("KERNEL_BASIS", "wavelets")], "KERNEL_BASIS", "gaussians, delta"),
        ([("KERNEL_LAMBDA", "0.2")], "KERNEL_LAMBDA", "KERNEL_BASIS=delta"),
        ([("KERNEL_BASIS", "delta"), ("KERNEL_LAMBDA", "0")], "KERNEL_LAMBDA", "above 0"),
        ([("METHOD", "snap")], "TEMPLATE_IDS", "required with METHOD=snap"),
        ([("METHOD", "snap"), OTHER, ("KERNEL_ORDER", "0")], "KERNEL_ORDER", "one kernel"),
        ([("METHOD", "snap"), OTHER, ("BACKGROUND_ORDER", "1")], "BACKGROUND_ORDER", "fits no"),
        ([("METHOD", "likelihood"), ("CONVOLVE", "auto")], "CONVOLVE", "METHOD=likelihood"),
        ([("METHOD", "likelihood"), ("DECORRELATE", "true")], "DECORRELATE", "share noise"),
        ([("METHOD", "likelihood"), ("PRODUCT", "matched")], "PRODUCT", "no other product"),
        ([("METHOD", "zogy"), ("CANDIDATES", "1 2")], "CANDIDATES", "no kernel is fitted"),
        ([("METHOD", "zogy"), ("PRODUCT", "matched")], "PRODUCT", "no kernel is fitted"),
        ([("PRODUCT", "matched"), ("CONVOLVE", "science")], "CONVOLVE", "PRODUCT=matched"),
        ([("PRODUCT", "matched"), ("DECORRELATE", "1")], "DECORRELATE", "nothing is subtracted"),
        ([("CANDIDATES", "10 20 30")], "CANDIDATES", "'lon lat' pairs"),
        ([("CANDIDATES", "10 95")], "CANDIDATES", "latitude -90 to 90"),
        ([("CANDIDATES", "a b")], "CANDIDATES", "a number is needed"),
        ([("CANDIDATES", ", ".join(["1 2"] * 2001))], "CANDIDATES", "at most 2000"),
        ([("SCIENCE_FWHM", "0")], "SCIENCE_FWHM", "above 0"),
        ([("TEMPLATE_FWHM", "wide")], "TEMPLATE_FWHM", "a number is needed"),
        ([("METHOD", "zogy"), ("SCIENCE_FWHM", "1")], "SCIENCE_FWHM", "no kernel is fitted"),
        ([("METHOD", "likelihood"), ("TEMPLATE_FWHM", "1")], "TEMPLATE_FWHM", "measured PSF"),
        ([("WARP_TEMPLATE", "maybe")], "WARP_TEMPLATE", "true or false"),
        ([("WARP_TEMPLATE", "false"), ("KERNEL", "nearest")], "KERNEL", "nothing is resampled"),
    ],
)
def test_wrong_values_are_told(given: list[tuple[str, str]], name: str, told: str) -> None:
    with pytest.raises(ParameterError, match=told) as caught:
        options(*given)
    assert caught.value.args[0] == name


def test_what_is_asked_is_in_the_recipe() -> None:
    snap = options(("METHOD", "Snap"), OTHER, ("KERNEL_BASIS", "delta"), ("KERNEL_LAMBDA", "0.2"))
    assert (snap.method, snap.kernel_basis, snap.kernel_lambda) == ("snap", "delta", 0.2)
    usual, asked = DifferenceOptions(), [options(("PRODUCT", "matched")), snap]
    keys = {
        Recipe(kind="difference", band="i", grid="g", inputs=(), difference=each).key()
        for each in (usual, *asked)
    }
    assert options() == usual and len(keys) == 3


def test_given_stars() -> None:
    pairs = parse_difference([ID, ("CANDIDATES", "150 2, 150.1 -2.5"), ("CANDIDATES", "0 0")])
    assert pairs.candidates.places == ((150.0, 2.0), (150.1, -2.5), (0.0, 0.0))
    body = {"ID": ID[1], "CANDIDATES": [[150, 2], [150.1, -2.5]]}
    assert parse_difference(parameters_of_json(body)).candidates.places == (
        (150.0, 2.0),
        (150.1, -2.5),
    )
    table = parse_difference([ID, ("CANDIDATES", "mine.stars")]).candidates
    assert (table.table, table.places) == ("mine.stars", ())


def grid_of(**changes: object) -> Grid:
    header = exposure_header(Exposure(visit=1, **changes))  # type: ignore[arg-type]
    return Grid.from_header(header, (SIZE_PX, SIZE_PX))


def test_grids_that_are_the_same_need_no_warp() -> None:
    here = grid_of(rotation_deg=3)
    assert describe_difference(here, here) is None
    assert describe_difference(grown(here, 20), here) is None
    smaller = describe_difference(cut(here, (0, 150, 10, 200)), here)
    assert smaller is not None and "190 x 150 pixels begin at x = 10, y = 0" in smaller
    for beside, least in (
        (grid_of(rotation_deg=3.1), "0.2"),
        (grid_of(rotation_deg=3, offset_px=(0.3, 0)), "0.30 px"),
    ):
        told = describe_difference(beside, here)
        assert told is not None and "px beside whole ones" in told and least in told
