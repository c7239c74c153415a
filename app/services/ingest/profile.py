"""What a profile says, once it is read: rules for every value, roles of extensions, companions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Any

from app.services.ingest.rules import Rule

Rules = tuple[Rule, ...]

ROLES = ("image", "variance", "weight", "stddev", "mask", "ignore")
"""What an image HDU can be; ``ignore`` is an image that is not of the sky (a PSF, a table)."""


@dataclass(frozen=True, slots=True)
class Companion:
    """A file whose name is ``path`` (``match`` replaced in the name of the science file)."""

    role: str
    match: re.Pattern[str]
    path: str

    def find_name(self, name: str) -> str | None:
        """The companion's name for a science file's, or None when the rule is not for it."""
        found = self.match.search(name)
        if found is None:
            return None
        other = name[: found.start()] + found.expand(self.path) + name[found.end() :]
        return None if other == name else other


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The rules for one file: the profile with every override whose glob fits."""

    columns: Mapping[str, Rules]
    identifier: Rules
    filter_name: Rules
    band_names: tuple[tuple[re.Pattern[str], str], ...]
    wavelengths_m: Mapping[str, tuple[float, float]]
    start: Rules
    middle: Rules
    end: Rules
    exposure: Rules
    time_scale: Rules
    fwhm: Rules
    zero_point: Rules
    zero_points_by_unit: Mapping[str, float]
    gain: Rules
    saturation: Rules
    bunit: Rules
    flux_scale: Rules
    mask_planes: tuple[tuple[str, int], ...]
    mask_codes: tuple[tuple[int, str], ...]
    role_cards: tuple[str, ...]
    roles: Mapping[str, tuple[re.Pattern[str], ...]]
    calibration_folders: tuple[str, ...]
    calibrations: Mapping[str, Rules]


class Profile:
    """A profile as text that was checked. Cheap to send to another process: only data."""

    def __init__(
        self,
        *,
        base: Mapping[str, Any],
        overrides: tuple[tuple[tuple[str, ...], Mapping[str, Any]], ...],
        companions: tuple[Companion, ...],
        exclude: tuple[str, ...],
    ) -> None:
        self._base = base
        self._overrides = overrides
        self._made: dict[tuple[int, ...], Settings] = {}
        self.companions = companions
        self.exclude = exclude

    def with_columns(self, columns: Mapping[str, str]) -> Profile:
        """The same, with constants for columns of every image."""
        content = {"columns": {name: {"value": value} for name, value in columns.items()}}
        return Profile(
            base=self._base,
            overrides=(*self._overrides, (("*",), content)),
            companions=self.companions,
            exclude=self.exclude,
        )

    def settings_for(self, name: str) -> Settings:
        """The rules for a file, by its path below the folder that is ingested ('/' between)."""
        from app.services.ingest.profile_reader import read_settings

        fitting = tuple(
            index
            for index, (globs, _) in enumerate(self._overrides)
            if any(matches_glob(name, glob) for glob in globs)
        )
        if fitting not in self._made:
            merged = self._base
            for index in fitting:
                merged = merge(merged, self._overrides[index][1])
            self._made[fitting] = read_settings(merged)
        return self._made[fitting]

    def is_excluded(self, name: str) -> bool:
        """Whether the profile says that a file is none of this collection."""
        return any(matches_glob(name, glob) for glob in self.exclude)


def matches_glob(name: str, glob: str) -> bool:
    """Shell pattern on the whole path or on the last part of it; ``*`` also matches '/'."""
    return fnmatchcase(name, glob) or fnmatchcase(name.rsplit("/", 1)[-1], glob)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Sections of ``over`` put over those of ``base``; within a section each key is replaced as a
    whole, but names of bands are tried before those of ``base``."""
    merged = dict(base)
    for section, content in over.items():
        if isinstance(content, Mapping) and isinstance(base.get(section), Mapping):
            combined = {**base[section], **content}
            if section == "band" and "names" in content and "names" in base[section]:
                combined["names"] = [*content["names"], *base[section]["names"]]
            merged[section] = combined
        else:
            merged[section] = content
    return merged


@cache
def builtin_text() -> str:
    """The built-in profile as TOML."""
    return resources.files(__package__).joinpath("builtin.toml").read_text(encoding="utf-8")
