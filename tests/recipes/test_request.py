"""What users write in build requests, right and wrong."""

from __future__ import annotations

import math

import pytest

from app.errors import MultiValuedParameterError, ParameterError
from app.recipes.request import (
    DIFFERENCE_NAMES,
    TEMPLATE_NAMES,
    parameters_of_json,
    parse_difference,
    parse_template,
)
from app.sky.shapes import Circle, Point, Polygon, Range


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.5 -20", Point(10.5, -20.0)),
        ("10.5,-20", Point(10.5, -20.0)),
        ("360 0", Point(0.0, 0.0)),
        ("circle 10 20 0.5", Circle(10.0, 20.0, 0.5)),
        ("RANGE 10 11 20 21", Range(10.0, 11.0, 20.0, 21.0)),
        ("POLYGON 10 20 11 20 11 21", Polygon(((10.0, 20.0), (11.0, 20.0), (11.0, 21.0)))),
    ],
)
def test_positions(text: str, expected: object) -> None:
    request = parse_template([("POS", text), ("BAND", "i")])
    assert request.target == expected
    assert request.band == "i"


MATCHED = (("POS", "1 2"), ("BAND", "i"), ("WARP", "psfmatched"))


def test_names_are_case_insensitive_and_lists_may_repeat() -> None:
    request = parse_difference(
        [
            ("id", "ivo://a/c?x"),
            ("Template_Ids", "ivo://a/c?one,ivo://a/c?two, with a comma"),
            ("TEMPLATE_IDS", "ivo://a/c?three ivo://a/c?one"),
        ]
    )
    assert request.science_id == "ivo://a/c?x"
    assert request.selection.template_ids == (
        "ivo://a/c?one",
        "ivo://a/c?two, with a comma",
        "ivo://a/c?three",
    )


def test_times_and_fraction() -> None:
    request = parse_template(
        [
            ("POS", "1 2"),
            ("BAND", "r"),
            ("TIME", "-Inf 57000"),
            ("TIME", "58000 58100"),
            ("EXCLUDE_TIME", "58050 +Inf"),
            ("FWHM_FRACTION", "0.5"),
        ]
    )
    assert request.selection.times == ((-math.inf, 57000.0), (58000.0, 58100.0))
    assert request.selection.exclude_times == ((58050.0, math.inf),)
    assert request.selection.fwhm_fraction == 0.5


def test_the_psf_that_inputs_are_brought_to() -> None:
    asked = [*MATCHED, ("MODEL_PSF", "DoubleGaussian"), ("MODEL_FWHM", "1.5")]
    options = parse_template(asked).options
    assert (options.warp, options.model_psf) == ("psfmatched", "doublegaussian")
    assert options.model_fwhm_arcsec == 1.5
    assert parse_template(MATCHED).options.model_fwhm_arcsec is None


def test_limits_and_options() -> None:
    request = parse_difference(
        parameters_of_json(
            {
                "ID": "ivo://a/c?x",
                "MAX_INPUTS": 12,
                "FWHM_MAX": 1.4,
                "EXPTIME": [20, None],
                "ZEROPOINT": [29, 31],
                "DEPTH_MIN": 22,
                "STATISTIC": "Median",
                "KERNEL": "lanczos5",
                "BACKGROUND_MATCHING": True,
            }
        )
    )
    selection = request.selection
    assert (selection.max_inputs, selection.fwhm_max_arcsec) == (12, 1.4)
    assert (selection.exposure_s, selection.zero_point_mag) == ((20.0, math.inf), (29.0, 31.0))
    assert selection.depth_min_mag == 22.0
    assert (request.template.statistic, request.template.kernel) == ("median", "lanczos5")
    assert request.template.background_matching


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ([("BAND", "i")], "POS"),
        ([("POS", "10 20")], "BAND"),
        ([("TRACT", "1"), ("PATCH", "2")], "BAND"),
        ([("TRACT", "1"), ("BAND", "i")], "PATCH"),
        ([("TRACT", "-1"), ("PATCH", "2"), ("BAND", "i")], "TRACT"),
        ([("POS", "1 2"), ("TRACT", "1"), ("PATCH", "2"), ("BAND", "i")], "TRACT"),
        ([("POS", "10 95"), ("BAND", "i")], "POS"),
        ([("POS", "DONUT 1 2 3"), ("BAND", "i")], "POS"),
        ([("POS", "CIRCLE 1 2"), ("BAND", "i")], "POS"),
        ([("POS", "ten twenty"), ("BAND", "i")], "POS"),
        ([("POS", "10 20"), ("ID", "ivo://a/b?c")], "POS"),
        ([("POS", "1 2"), ("BAND", "i"), ("FWHM_FRACTION", "0")], "FWHM_FRACTION"),
        ([("POS", "1 2"), ("BAND", "i"), ("MAX_INPUTS", "1")], "MAX_INPUTS"),
        ([("POS", "1 2"), ("BAND", "i"), ("MAX_INPUTS", "2.5")], "MAX_INPUTS"),
        ([("POS", "1 2"), ("BAND", "i"), ("MAX_INPUTS", "9" * 5000)], "MAX_INPUTS"),
        ([("TRACT", "1"), ("PATCH", "9" * 5000), ("BAND", "i")], "PATCH"),
        ([("POS", "1 2"), ("BAND", "i"), ("TEMPLATE_IDS", " , ")], "TEMPLATE_IDS"),
        ([("POS", "1 2"), ("BAND", "i"), ("FWHM_MAX", "-1")], "FWHM_MAX"),
        ([("POS", "1 2"), ("BAND", "i"), ("FWHM_MAX", "inf")], "FWHM_MAX"),
        ([("POS", "1 2"), ("BAND", "i"), ("FWHM_MIN", "2"), ("FWHM_MAX", "1")], "FWHM_MIN"),
        ([("POS", "1 2"), ("BAND", "i"), ("EXPTIME", "60 30")], "EXPTIME"),
        ([("POS", "1 2"), ("BAND", "i"), ("ZEROPOINT", "deep")], "ZEROPOINT"),
        ([("POS", "1 2"), ("BAND", "i"), ("DEPTH_MIN", "nan")], "DEPTH_MIN"),
        ([("POS", "1 2"), ("BAND", "i"), ("EFFTIME_MIN", "0")], "EFFTIME_MIN"),
        ([("POS", "1 2"), ("BAND", "i"), ("STATISTIC", "mode")], "STATISTIC"),
        ([("POS", "1 2"), ("BAND", "i"), ("MODEL_FWHM", "1.5")], "MODEL_FWHM"),
        ([*MATCHED, ("MODEL_FWHM", "0")], "MODEL_FWHM"),
        ([*MATCHED, ("MODEL_PSF", "moffat")], "MODEL_PSF"),
        ([("POS", "1 2"), ("BAND", "i"), ("KERNEL", "cubic")], "KERNEL"),
        ([("POS", "1 2"), ("BAND", "i"), ("BACKGROUND_MATCHING", "2")], "BACKGROUND_MATCHING"),
        ([("POS", "1 2"), ("BAND", "i"), ("FWHM_FRACTION", "1.01")], "FWHM_FRACTION"),
        ([("POS", "1 2"), ("BAND", "i"), ("FWHM_FRACTION", "nan")], "FWHM_FRACTION"),
        ([("POS", "1 2"), ("BAND", "i"), ("TIME", "yesterday")], "TIME"),
        ([("POS", "1 2"), ("BAND", "i"), ("EXCLUDE_TIME", "2 1")], "EXCLUDE_TIME"),
        ([("POS", "1 2"), ("BAND", "i"), ("FWHM_FRACTON", "1")], "FWHM_FRACTON"),
        ([("ID", "ivo://a/b?c"), ("TEMPLATE_IDS", "ivo://a/b?d"), ("TIME", "1 2")], "TIME"),
    ],
)
def test_the_parameter_at_fault_is_named(parameters: list[tuple[str, str]], name: str) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_template(parameters)
    assert caught.value.args[0] == name
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ([], "ID"),
        ([("ID", "ivo://a/b?c"), ("POS", "10 20")], "POS"),
        ([("ID", "ivo://a/b?c"), ("CONVOLVE", "both")], "CONVOLVE"),
        ([("ID", "ivo://a/b?c"), ("METHOD", "subtract")], "METHOD"),
        ([("ID", "ivo://a/b?c"), ("METHOD", "zogy"), ("KERNEL_ORDER", "1")], "KERNEL_ORDER"),
        ([("ID", "ivo://a/b?c"), ("KERNEL_ORDER", "-1")], "KERNEL_ORDER"),
        ([("ID", "ivo://a/b?c"), ("BACKGROUND_ORDER", "1.5")], "BACKGROUND_ORDER"),
    ],
)
def test_a_difference_names_its_fault(parameters: list[tuple[str, str]], name: str) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_difference(parameters)
    assert caught.value.args[0] == name


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("POS", "62", "'lon lat'"),
        ("POS", "62 -37 0.1", "'lon lat'"),
        ("POS", "CIRCLE 62 -37", "3 numbers"),
        ("TIME", "2026-01-01", "MJD"),
        ("EXCLUDE_TIME", "61000/61050", "'61000 61050'"),
    ],
)
def test_a_wrong_value_is_told_what_a_right_one_is(name: str, value: str, told: str) -> None:
    asked = {"POS": "1 2", "BAND": "i", name: value}
    with pytest.raises(ParameterError) as caught:
        parse_template(list(asked.items()))
    assert told in str(caught.value)


@pytest.mark.parametrize("number", ["١٢", "1_0"])
@pytest.mark.parametrize(
    ("name", "form"),
    [("POS", "{} 2"), ("POS", "CIRCLE {} 2 3"), ("TIME", "{} 61000"), ("MAX_INPUTS", "{}")],
)
def test_numbers_have_ascii_digits(name: str, form: str, number: str) -> None:
    asked = {"POS": "1 2", "BAND": "i", name: form.format(number)}
    with pytest.raises(ParameterError) as caught:
        parse_template(list(asked.items()))
    assert caught.value.args[0] == name and number in str(caught.value)


def test_a_blank_value_is_as_if_not_given() -> None:
    request = parse_template([("POS", "1 2"), ("BAND", ""), ("BAND", "i"), ("STATISTIC", " ")])
    assert request == parse_template([("POS", "1 2"), ("BAND", "i")])


def test_two_ids_are_refused() -> None:
    with pytest.raises(MultiValuedParameterError):
        parse_difference([("ID", "ivo://a/b?c"), ("id", "ivo://a/b?d")])


def test_standard_parameters_are_left_aside() -> None:
    request = parse_difference([("ID", "ivo://a/b?c"), ("RUNID", "x"), ("PHASE", "RUN")])
    assert request == parse_difference([("ID", "ivo://a/b?c")])


def test_matching_options() -> None:
    options = parse_difference(
        [
            ("ID", "ivo://a/b?c"),
            ("CONVOLVE", "Science"),
            ("KERNEL_ORDER", "2"),
            ("BACKGROUND_ORDER", "0"),
            ("DECORRELATE", "false"),
        ]
    ).options
    assert not options.decorrelate
    assert (options.convolve, options.kernel_spatial_order, options.background_order) == (
        "science",
        2,
        0,
    )


def test_proper_subtraction() -> None:
    options = parse_difference([("ID", "ivo://a/b?c"), ("METHOD", "ZOGY")]).options
    assert options.method == "zogy"


def test_json_gives_the_same_request() -> None:
    body = {
        "ID": "ivo://a/b?c",
        "template_ids": None,
        "TIME": [[None, 57000], [58000.5, 58100]],
        "EXCLUDE_TIME": [58050, None],
        "FWHM_FRACTION": 0.5,
        "KERNEL_ORDER": 1,
    }
    request = parse_difference(parameters_of_json(body))
    assert request.selection.times == ((-math.inf, 57000.0), (58000.5, 58100.0))
    assert request.selection.exclude_times == ((58050.0, math.inf),)
    assert request.selection.fwhm_fraction == 0.5
    assert request.options.kernel_spatial_order == 1
    listed = parameters_of_json({"POS": [10, 20], "TEMPLATE_IDS": ["ivo://a/b?c", "ivo://a/b?d"]})
    assert listed == (
        ("POS", "10 20"),
        ("TEMPLATE_IDS", "ivo://a/b?c"),
        ("TEMPLATE_IDS", "ivo://a/b?d"),
    )


@pytest.mark.parametrize("body", [[], "x", None, {"ID": {"a": 1}}, {"ID": [{"a": 1}]}])
def test_json_of_another_form_is_refused(body: object) -> None:
    with pytest.raises(ParameterError):
        parameters_of_json(body)


def test_the_names_are_those_of_the_documentation() -> None:
    assert set(TEMPLATE_NAMES) - set(DIFFERENCE_NAMES) == {"POS", "TRACT", "PATCH"}
