"""The calibration frames that an image's header names, where they are kept."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Final

from app.recipes.recipe import CALIBRATIONS
from app.services.ingest.cards import Cards
from app.services.ingest.files import FoundFile
from app.services.ingest.profile import Settings
from app.services.ingest.rules import find_value

_ENDINGS: Final = ("", ".fits", ".fits.fz", ".fits.gz", ".fz")
"""Pipelines name a frame with its ending or without."""
_EXTENSION: Final = re.compile(r"\[[^\]]*\]$")
_FOLDERS: Final = re.compile(r".*[/\\$]")
"""Where the frame lay when the image was reduced, also as IRAF's ``name$``."""


def find_calibrations(
    settings: Settings, cards: Cards, file: FoundFile
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """(role, absolute path) of each frame that is there, and the names of those that are not.

    They are looked for in the profile's folders, which lie below the folder that was ingested
    unless they are absolute; without any nothing is looked for.
    """
    found, missing = [], []
    for role in CALIBRATIONS if settings.calibration_folders else ():
        named = find_value(settings.calibrations[role], cards)
        name = _EXTENSION.sub("", _FOLDERS.sub("", str(named or "").strip()))
        if not name:
            continue
        path = _find(name, settings.calibration_folders, file)
        if path is None:
            missing.append(f"{role} {name}")
        else:
            found.append((role, str(path)))
    return tuple(found), tuple(missing)


def _find(name: str, folders: tuple[str, ...], file: FoundFile) -> Path | None:
    root = Path(file.path).parents[len(PurePosixPath(file.name).parts) - 1]
    paths = (root / folder / f"{name}{ending}" for folder in folders for ending in _ENDINGS)
    return next((path.resolve() for path in paths if path.is_file()), None)
