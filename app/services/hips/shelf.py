"""The surveys that the service shows: folders beside its other data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.errors import NotFoundError, shortened
from app.stores.hips_files import SERVED, HipsFolder

SHELF: Final = "hips"
"""The folder of all surveys, in the data folder."""


@dataclass(frozen=True, slots=True)
class ShownSurvey:
    """A survey that is whole: the name of its folder and its properties."""

    name: str
    properties: Mapping[str, str]

    @property
    def title(self) -> str:
        """For people."""
        return self.properties.get("obs_title") or self.name


class HipsShelf:
    """Finds surveys and their files. Nothing outside of ``folder`` can be named."""

    def __init__(self, *, folder: Path) -> None:
        self._folder = folder

    def surveys(self) -> tuple[ShownSurvey, ...]:
        """Those that are whole, by name."""
        try:
            folders = sorted(self._folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return ()
        found = ((each.name, HipsFolder(each).properties()) for each in folders)
        return tuple(ShownSurvey(name, properties) for name, properties in found if properties)

    def find(self, name: str, path: str) -> Path:
        """A file of a survey that is whole. Raises NotFoundError for whatever is none."""
        if SERVED.fullmatch(path):
            for survey in self.surveys():
                if survey.name == name and (self._folder / name / path).is_file():
                    return self._folder / name / path
        raise NotFoundError(f"File {shortened(path)} of a survey {shortened(name)}")
