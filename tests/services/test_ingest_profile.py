"""What a profile can say, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from astropy.io.fits import Header

from app.errors import UsageError
from app.services.ingest.cards import Cards
from app.services.ingest.describe import (
    find_band,
    find_columns,
    find_photometry,
    find_span,
    wavelengths_of,
)
from app.services.ingest.profile_reader import load_profile, parse_profile
from app.services.ingest.times import mjd_of, parse_instant, to_utc


def cards(
    own: dict[str, Any] | None = None, primary: dict[str, Any] | None = None, **facts: Any
) -> Cards:
    known = {"path": "d/a", "stem": "a", "part": "", "type": "image", **facts}
    return Cards([Header(own or {}), Header(primary or {})], known)


def columns(text: str, own: dict[str, Any] | None = None, **facts: Any) -> dict[str, Any]:
    settings = parse_profile(text).settings_for("d/a.fits")
    return find_columns(settings, cards(own, **facts))[0]


@pytest.mark.parametrize(
    ("name", "band"),
    [
        ("r", "r"),
        ("Ks", "Ks"),
        ("g DECam SDSS c0001 4720.0 1520.0", "g"),
        ("z SDSS c6020", "z"),
        ("HSC-I", "i"),
        ("i_sim_1.4", "i"),
        ("r_03", "r"),
        ("g.MP9401", "g"),
        ("LSST-y", "y"),
        ("Halpha", None),
        ("CLEAR", None),
    ],
)
def test_bands_of_common_filter_names(name: str, band: str | None) -> None:
    settings = parse_profile("").settings_for("a.fits")
    assert find_band(settings, cards({"FILTER": name})) == (band, name)


def test_bands_of_a_profile_come_first() -> None:
    text = "[band]\nnames = [['^bok([gr])$', '\\1'], ['^r$', 'R']]"
    settings = parse_profile(text).settings_for("a.fits")
    assert find_band(settings, cards({"FILTER": "bokr"})) == ("r", "bokr")
    assert find_band(settings, cards({"FILTER": "r"})) == ("R", "r")
    assert find_band(settings, cards({"FILTER": "i"})) == ("i", "i")
    assert wavelengths_of(settings, "i")["em_min"] == 6.91e-7
    assert wavelengths_of(settings, "H-alpha") == {}
    assert find_band(settings, cards()) == (None, None)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"MJD-OBS": 60000.25, "EXPTIME": 86.4}, (60000.25, 60000.251)),
        ({"DATE-OBS": "2023-02-25T06:00:00", "EXPTIME": 86.4}, (60000.25, 60000.251)),
        ({"DATE-OBS": "2023-02-25", "TIME-OBS": "06:00:00.0"}, (60000.25, 60000.25)),
        ({"DATE-OBS": "2023-02-25", "EXPTIME": 86.4}, (60000.0, 60001.0)),
        ({"DATE-OBS": "25/02/93"}, (49043.0, 49044.0)),
        ({"DATE-OBS": "19930225"}, (49043.0, 49044.0)),
        ({"MJD-AVG": 60000.5, "EXPTIME": 86.4}, (60000.4995, 60000.5005)),
        ({"MJD-AVG": 60000.5}, (60000.5, 60000.5)),
        (
            {"DATE-BEG": "2023-02-25T06:00:00", "DATE-END": "2023-02-25T12:00:00"},
            (60000.25, 60000.5),
        ),
        ({"MJD-OBS": 60000.25, "EXPTIME": 0.0}, (60000.25, 60000.25)),
        ({"DATE-OBS": "yesterday"}, (None, None)),
        ({"MJD-OBS": 0.0}, (None, None)),
        ({"EXPTIME": 10.0}, (None, None)),
        ({"DATE": "2023-02-25T06:00:00"}, (None, None)),
    ],
)
def test_when_an_image_was_taken(headers: dict[str, Any], expected: tuple[Any, Any]) -> None:
    span = find_span(parse_profile("").settings_for("a.fits"), cards(headers))
    for value, wanted in zip((span.t_min, span.t_max), expected, strict=True):
        assert value == (None if wanted is None else pytest.approx(wanted, abs=1e-9))


def test_atomic_time_becomes_utc() -> None:
    span = find_span(
        parse_profile("").settings_for("a.fits"), cards({"MJD-OBS": 60000.0, "TIMESYS": "TAI"})
    )
    assert span.t_min == pytest.approx(60000.0 - 37 / 86400, abs=1e-9)
    assert to_utc(60000.0, "tt") == pytest.approx(60000.0 - 69.184 / 86400, abs=1e-9)


def test_dates_in_formats_of_their_own() -> None:
    made = parse_instant("Tue Aug 23 00:53:39 2016", "%a %b %d %H:%M:%S %Y")
    assert made is not None
    assert made.mjd == pytest.approx(57623 + (53 * 60 + 39) / 86400)
    assert parse_instant(2460000.75, "auto") == parse_instant(60000.25, "mjd")
    assert parse_instant("2460000.75", "jd") == parse_instant("60000.25", "auto")
    from datetime import UTC, datetime

    assert mjd_of(datetime(1858, 11, 18, tzinfo=UTC)) == 1.0


def photometry(text: str, headers: dict[str, Any], comments: dict[str, str] | None = None) -> Any:
    header = Header(headers)
    for key, comment in (comments or {}).items():
        header.comments[key] = comment
    settings = parse_profile(text).settings_for("a.fits")
    return find_photometry(settings, Cards([header], {}), 0.2, 100.0)


@pytest.mark.parametrize(
    ("comment", "expected"),
    [("[arcsec] seeing", 5.0), ("Median FWHM in pixels", 1.0), ("[pix]", 1.0), ("FWHM", None)],
)
def test_the_unit_of_a_width_must_be_known(comment: str, expected: float | None) -> None:
    assert photometry("", {"FWHM": 5.0}, {"FWHM": comment}).fwhm_arcsec == expected


def test_zero_points() -> None:
    assert photometry("", {"BUNIT": "nJy", "MAGZERO": 27.0}).zero_point_mag == 31.4
    assert photometry("", {"BUNIT": "adu", "MAGZERO": 27.0}).zero_point_mag == 27.0
    assert photometry("", {"MAGZERO": 0.0}).zero_point_mag is None
    assert photometry("", {"FLUXMAG0": 6.30957e10}).zero_point_mag == pytest.approx(27.0, abs=1e-4)
    text = "[photometry]\nzero_point = {cards = ['ZP'], per_second = true, offset = 1.0}"
    assert photometry(text, {"ZP": 20.0}).zero_point_mag == pytest.approx(26.0)
    assert photometry(text, {"MAGZERO": 20.0}).zero_point_mag is None


def test_constants_cards_templates_maps_and_patterns() -> None:
    text = """
        [columns]
        obs_title = "a field"
        target_name = { cards = ["NAME", "OBJECT"] }
        obs_id = { template = "{EXPNUM:08d}-{CCDNUM}-{stem}" }
        calib_level = [{ cards = ["KIND"], map = { raw = 1, stack = 3 } }, 2]
        lsst_visit = { cards = ["ROOT"], match = 'v(\\d+)_d(\\d+)', take = '\\1' }
        lsst_detector = { cards = ["ROOT"], match = 'd(\\d+)' }
        t_resolution = { cards = ["MS"], scale = 0.001 }
    """
    header = {
        "OBJECT": "M1",
        "EXPNUM": 42,
        "CCDNUM": 7,
        "KIND": "STACK",
        "ROOT": "v12_d05",
        "MS": "250",
    }
    found = columns(text, header)
    assert found["obs_title"] == "a field"
    assert found["target_name"] == "M1"
    assert found["obs_id"] == "00000042-7-a"
    assert found["calib_level"] == 3
    assert (found["lsst_visit"], found["lsst_detector"]) == (12, 5)
    assert found["t_resolution"] == 0.25
    assert columns(text, {"KIND": "flat"})["calib_level"] == 2
    assert "obs_id" not in columns(text, {"EXPNUM": "many", "CCDNUM": 7})


def test_the_nearest_header_wins_and_unset_texts_say_nothing() -> None:
    found = cards({"OBJECT": "unknown", "GAIN": 2.0}, {"OBJECT": "M31", "GAIN": 3.0})
    assert (found.find("OBJECT"), found.find("GAIN"), found.find("NONE")) == ("M31", 2.0, None)


def test_an_empty_text_takes_a_column_away() -> None:
    assert "target_name" not in columns("[columns]\ntarget_name = ''", {"OBJECT": "M1"})


def test_values_that_do_not_fit_a_column_are_none() -> None:
    found = columns("", {"VISIT": "first", "DETECTOR": 2.5, "DATE": "10/01/21"})
    assert not {"lsst_visit", "lsst_detector", "obs_creation_date"} & set(found)


def test_overrides_by_glob_in_order() -> None:
    profile = parse_profile(
        """
        [columns]
        calib_level = 2
        facility_name = "T"
        [[override]]
        files = ["stacks/*"]
        [override.columns]
        calib_level = 3
        [[override]]
        files = ["*_b.fits"]
        [override.columns]
        facility_name = "U"
        """
    )

    def level(name: str) -> tuple[Any, Any]:
        found = find_columns(profile.settings_for(name), cards())[0]
        return found["calib_level"], found["facility_name"]

    assert level("x_a.fits") == (2, "T")
    assert level("stacks/x_a.fits") == (3, "T")
    assert level("stacks/x_b.fits") == (3, "U")


def test_the_subtype_goes_with_the_level() -> None:
    assert columns("")["dataproduct_subtype"] == "lsst.visit_image"
    assert "dataproduct_subtype" not in columns("[columns]\ncalib_level = 1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[columns", "not TOML"),
        ("[colums]", "colums is not known"),
        ("[columns]\nobs_idd = 'x'", "columns.obs_idd: ivoa.ObsCore has no such column"),
        ("[columns]\ns_region = 'x'", "columns.s_region is not set here"),
        ("[columns]\nobs_id = {card = 'X'}", "columns.obs_id.card is not known"),
        ("[columns]\nobs_id = {}", "columns.obs_id needs exactly one of value, cards and template"),
        ("[columns]\nobs_id = {cards = 3}", "columns.obs_id.cards is not a list of texts"),
        (
            "[columns]\nobs_id = {cards = ['X'], match = '('}",
            "columns.obs_id.match is not a regular",
        ),
        ("[columns]\nobs_id = {cards = ['X'], match = 'x', take = '\\\\1'}", "has no group 1"),
        ("[columns]\nobs_id = {cards = ['X'], take = 'a'}", "columns.obs_id.take needs"),
        (
            "[columns]\nobs_id = {cards = ['X'], function = 'cube'}",
            "columns.obs_id.function is none of",
        ),
        ("[band]\nnames = ['r']", "band.names[0] is not a [pattern, band] pair"),
        ("[wavelengths_m]\nr = [2.0, 1.0]", "wavelengths_m.r: the shortest"),
        ("[photometry]\nfwhm = {cards = ['X'], unit = 'mm'}", "photometry.fwhm.unit is none of"),
        ("[photometry]\nzeropoint = 3", "photometry.zeropoint is not known"),
        ("[mask.codes]\nx = 'BAD'", "mask.codes.x: a code is a whole number"),
        ("[mask.codes]\n1 = 'AWFUL'", "mask.codes.1: 'AWFUL' is none of BAD"),
        ("[mask.planes]\nSAT = 99", "mask.planes.SAT is not a bit number"),
        ("[[companion]]\nrole = 'weight'", "companion[0].match is missing"),
        ("[[companion]]\nrole = 'x'\nmatch = 'a'\npath = 'b'", "companion[0].role is none of"),
        ("[[override]]\n[override.columns]\ncalib_level = 3", "override[0].files is missing"),
        ("[[override]]\nfiles = ['*']\n[override.columns]\nx = 3", "override[0].columns.x"),
        ("[time]\nstart = {cards = ['X'], scale = 'big'}", "time.start.scale is not a number"),
        ("[extensions]\nmask = ['(']", "extensions.mask is not a regular expression"),
    ],
)
def test_a_wrong_profile_is_refused_by_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as fault:
        load_profile(path)
    assert message in str(fault.value)
    assert "p.toml" in str(fault.value)
    assert str(tmp_path) not in str(fault.value)


def test_a_profile_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: No such file"):
        load_profile(tmp_path / "none.toml")


def test_every_example_in_the_documentation_is_a_profile() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "profiles.md").read_text()
    blocks = [part.split("```")[0] for part in text.split("```toml\n")[1:]]
    assert len(blocks) > 4
    for block in blocks:
        parse_profile(block)
