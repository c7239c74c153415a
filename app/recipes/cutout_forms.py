"""The forms in which cutouts are answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from app.errors import UnsupportedFormatError, quoted
from app.recipes.values import Parameters

Form = Literal["fits", "png", "jpeg"]
MEDIA_TYPES: Final[Mapping[Form, str]] = {
    "fits": "application/fits",
    "png": "image/png",
    "jpeg": "image/jpeg",
}
_ALSO: Final[Mapping[Form, str]] = {"fits": "image/fits", "png": "png", "jpeg": "jpg"}


def parse_form(parameters: Parameters) -> Form:
    """By RESPONSEFORMAT or FORMAT, the last one given; FITS where nothing says."""
    given = [
        value
        for name, value in parameters
        if name.upper() in ("RESPONSEFORMAT", "FORMAT") and value.strip()
    ]
    asked = given[-1] if given else "fits"
    word = asked.strip().lower()
    for form, media_type in MEDIA_TYPES.items():
        if word in (form, media_type, _ALSO[form]):
            return form
    offered = ", ".join(MEDIA_TYPES)
    raise UnsupportedFormatError("RESPONSEFORMAT", f"{quoted(asked)}; offered are {offered}")
