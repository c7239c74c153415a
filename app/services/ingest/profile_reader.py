"""TOML text to a profile; whatever is wrong in it is named by its key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from app.errors import UsageError
from app.pixels.image import MASK_PLANES
from app.recipes.recipe import CALIBRATIONS
from app.schema.obscore import OBSCORE
from app.services.ingest import toml_values as toml
from app.services.ingest.profile import (
    ROLES,
    Companion,
    Profile,
    Rules,
    Settings,
    builtin_text,
    merge,
)
from app.services.ingest.rules import FUNCTIONS, FWHM_UNITS, Rule

_SECTIONS = {
    "columns": None,  # any ObsCore column
    "identity": {"identifier"},
    "band": {"filter", "names"},
    "wavelengths_m": None,
    "time": {"start", "middle", "end", "exposure", "scale"},
    "photometry": {
        "fwhm",
        "zero_point",
        "zero_points_by_unit",
        "gain",
        "saturation",
        "bunit",
        "flux_scale",
    },
    "mask": {"planes", "codes"},
    "extensions": {"cards", *ROLES},
    "calibration": {"folders", *CALIBRATIONS},
}
_TOP = {*_SECTIONS, "name", "description", "exclude", "companion", "override"}

_OWN_COLUMNS = frozenset(
    {
        "access_url",
        "access_format",
        "access_estsize",
        "obs_publisher_did",
        "obs_collection",
        "s_ra",
        "s_dec",
        "s_fov",
        "s_region",
        "t_min",
        "t_max",
        "t_exptime",
        "s_resolution",
        "s_xel1",
        "s_xel2",
        "s_pixel_scale",
        "lsst_band",
        "lsst_filter",
    }
)
"""Columns that have their own sections or are never a profile's to say."""


def load_profile(path: Path | None) -> Profile:
    """The profile of a TOML file over the built-in one, or the built-in one alone.

    Raises UsageError that names the key at fault.
    """
    if path is None:
        return parse_profile("")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as fault:
        raise UsageError(f"Profile {path.name}: {fault.strerror}") from fault
    except UnicodeDecodeError as fault:
        raise UsageError(f"Profile {path.name}: it is not UTF-8 text") from fault
    try:
        return parse_profile(text)
    except UsageError as fault:
        raise UsageError(f"Profile {path.name}: {fault.args[0]}") from fault


def parse_profile(text: str) -> Profile:
    """A profile from TOML text, over the built-in one. Raises UsageError."""
    raw = _toml(text)
    toml.only(raw, _TOP, "")
    own = {key: value for key, value in raw.items() if key in _SECTIONS}
    base = merge(_builtin(), own)
    read_settings(base)
    overrides = tuple(
        _override(item, base, f"override[{index}]")
        for index, item in enumerate(toml.tables(raw, "override"))
    )
    companions = tuple(
        _companion(item, f"companion[{index}]")
        for index, item in enumerate(toml.tables(raw, "companion"))
    )
    return Profile(
        base=base,
        overrides=overrides,
        companions=companions,
        exclude=toml.texts(raw.get("exclude", []), "exclude"),
    )


@cache
def _builtin() -> Mapping[str, Any]:
    return {key: value for key, value in _toml(builtin_text()).items() if key in _SECTIONS}


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise UsageError(f"it is not TOML: {fault}") from fault


def _override(
    item: Mapping[str, Any], base: Mapping[str, Any], where: str
) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    toml.only(item, {*_SECTIONS, "files"}, where)
    if "files" not in item:
        raise UsageError(f"{where}.files is missing: the globs it is for")
    globs = toml.texts(item["files"], f"{where}.files")
    content = {key: value for key, value in item.items() if key != "files"}
    read_settings(merge(base, content), where)
    return globs, content


def _companion(item: Mapping[str, Any], where: str) -> Companion:
    toml.only(item, {"role", "match", "path"}, where)
    for key in ("role", "match", "path"):
        if not isinstance(item.get(key), str):
            raise UsageError(f"{where}.{key} is missing or not a text")
    if item["role"] not in {"variance", "weight", "stddev", "mask", "ignore"}:
        raise UsageError(f"{where}.role is none of variance, weight, stddev, mask, ignore")
    pattern = toml.pattern(item["match"], f"{where}.match")
    name = toml.replacement(item["path"], pattern, f"{where}.path")
    return Companion(item["role"], pattern, name)


def read_settings(raw: Mapping[str, Any], where: str = "") -> Settings:
    """Every rule of merged sections. Raises UsageError naming the key."""
    for section, keys in _SECTIONS.items():
        table = raw.get(section, {})
        if not isinstance(table, Mapping):
            raise UsageError(f"{toml.join(where, section)} is not a table")
        if keys is not None:
            toml.only(table, keys, toml.join(where, section))

    def rules(section: str, key: str) -> Rules:
        return _rules(raw[section].get(key, []), toml.join(where, section, key))

    photometry, mask = raw["photometry"], raw["mask"]
    return Settings(
        columns=_columns(raw["columns"], toml.join(where, "columns")),
        identifier=rules("identity", "identifier"),
        filter_name=rules("band", "filter"),
        band_names=_band_names(raw["band"].get("names", []), toml.join(where, "band.names")),
        wavelengths_m=_wavelengths(raw["wavelengths_m"], toml.join(where, "wavelengths_m")),
        start=rules("time", "start"),
        middle=rules("time", "middle"),
        end=rules("time", "end"),
        exposure=rules("time", "exposure"),
        time_scale=rules("time", "scale"),
        fwhm=rules("photometry", "fwhm"),
        zero_point=rules("photometry", "zero_point"),
        zero_points_by_unit=toml.numbers(
            photometry.get("zero_points_by_unit", {}),
            toml.join(where, "photometry.zero_points_by_unit"),
        ),
        gain=rules("photometry", "gain"),
        saturation=rules("photometry", "saturation"),
        bunit=rules("photometry", "bunit"),
        flux_scale=rules("photometry", "flux_scale"),
        mask_planes=_mask_planes(mask.get("planes", {}), toml.join(where, "mask.planes")),
        mask_codes=_mask_codes(mask.get("codes", {}), toml.join(where, "mask.codes")),
        role_cards=toml.texts(
            raw["extensions"].get("cards", []), toml.join(where, "extensions.cards")
        ),
        roles=_roles(raw["extensions"], toml.join(where, "extensions")),
        calibration_folders=toml.texts(
            raw["calibration"].get("folders", []), toml.join(where, "calibration.folders")
        ),
        calibrations={role: rules("calibration", role) for role in CALIBRATIONS},
    )


def _columns(table: Mapping[str, Any], where: str) -> dict[str, Rules]:
    for name in table:
        if OBSCORE.find_field(name) is None or name != name.lower():
            raise UsageError(f"{where}.{name}: ivoa.ObsCore has no such column")
        if name in _OWN_COLUMNS:
            raise UsageError(f"{where}.{name} is not set here: see docs/profiles.md")
    return {name: _rules(value, f"{where}.{name}") for name, value in table.items()}


def _rules(value: Any, where: str) -> Rules:
    """A constant, one rule, or a list of rules to be tried in order."""
    if isinstance(value, list):
        return tuple(_rule(item, f"{where}[{index}]") for index, item in enumerate(value))
    return (_rule(value, where),)


def _rule(value: Any, where: str) -> Rule:
    if isinstance(value, (str, int, float, bool)):
        return Rule(value=value)
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} is neither a constant nor a rule: {value!r}")
    toml.only(value, set(_RULE_KEYS), where)
    if sum(key in value for key in ("value", "cards", "template")) != 1:
        raise UsageError(f"{where} needs exactly one of value, cards and template")
    fields = {key: _RULE_KEYS[key](item, f"{where}.{key}") for key, item in value.items()}
    if "take" in fields:
        if "match" not in fields:
            raise UsageError(f"{where}.take needs {where}.match")
        toml.replacement(fields["take"], fields["match"], f"{where}.take")
    return Rule(**fields)


_RULE_KEYS: Mapping[str, Callable[[Any, str], Any]] = {
    "value": toml.constant,
    "cards": toml.texts,
    "template": toml.text,
    "match": toml.pattern,
    "take": toml.text,
    "map": toml.constants,
    "function": toml.choice(*FUNCTIONS),
    "scale": toml.number,
    "offset": toml.number,
    "unit": toml.choice(*FWHM_UNITS),
    "format": toml.text,
    "per_second": toml.truth,
}


def _band_names(value: Any, where: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    if not isinstance(value, list):
        raise UsageError(f"{where} is not a list of [pattern, band] pairs")
    names = []
    for index, pair in enumerate(value):
        here = f"{where}[{index}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise UsageError(f"{here} is not a [pattern, band] pair")
        pattern = toml.pattern(pair[0], here)
        names.append((pattern, toml.replacement(pair[1], pattern, here)))
    return tuple(names)


def _wavelengths(table: Mapping[str, Any], where: str) -> dict[str, tuple[float, float]]:
    result = {}
    for band, pair in table.items():
        here = f"{where}.{band}"
        if not isinstance(pair, list) or len(pair) != 2:
            raise UsageError(f"{here} is not [shortest, longest] in metres")
        low, high = toml.number(pair[0], here), toml.number(pair[1], here)
        if not 0 < low < high:
            raise UsageError(f"{here}: the shortest wavelength must come first")
        result[band] = (low, high)
    return result


def _mask_planes(table: Any, where: str) -> tuple[tuple[str, int], ...]:
    """``{plane = bit}`` or ``{plane = [bits]}``."""
    if not isinstance(table, Mapping):
        raise UsageError(f"{where} is not a table")
    planes = []
    for name, value in table.items():
        _require_plane(name, f"{where}.{name}")
        for bit in value if isinstance(value, list) else [value]:
            if isinstance(bit, bool) or not isinstance(bit, int) or not 0 <= bit < 63:
                raise UsageError(f"{where}.{name} is not a bit number: {bit!r}")
            planes.append((name, bit))
    return tuple(planes)


def _mask_codes(table: Any, where: str) -> tuple[tuple[int, str], ...]:
    """``{"code" = plane}``."""
    if not isinstance(table, Mapping):
        raise UsageError(f"{where} is not a table")
    codes = []
    for code, name in table.items():
        if not re.fullmatch(r"-?\d+", code):
            raise UsageError(f"{where}.{code}: a code is a whole number")
        _require_plane(name, f"{where}.{code}")
        codes.append((int(code), str(name)))
    return tuple(codes)


def _require_plane(name: Any, where: str) -> None:
    if name not in MASK_PLANES:
        raise UsageError(f"{where}: {name!r} is none of {', '.join(MASK_PLANES)}")


def _roles(table: Mapping[str, Any], where: str) -> dict[str, tuple[re.Pattern[str], ...]]:
    return {
        role: tuple(
            toml.pattern(f"(?i:{text})", f"{where}.{role}")
            for text in toml.texts(table.get(role, []), f"{where}.{role}")
        )
        for role in ROLES
    }
