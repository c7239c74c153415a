"""Triplets as pictures: which limits each has, and what is written beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Literal

import numpy as np

from app.pixels.picture import PictureOptions, find_limits
from app.pixels.stamp_strip import Panel, Row, animate, draw_strip
from app.services.stamp_epochs import Role, StampEpoch, StampEpochs, TemplateOrigin
from app.services.stamp_files import ORDER
from app.services.stamp_request import StampRequest
from app.services.stamps import StampService, Triplet

PictureForm = Literal["png", "apng", "gif"]
PICTURES: Final[Mapping[PictureForm, str]] = {
    "png": "image/png",
    "apng": "image/apng",
    "gif": "image/gif",
}
LEFT_OUT: Final = "Older epochs were left out (MAXREC)"
_MJD_ZERO: Final = datetime(1858, 11, 17)
_CAPTIONS: Final[Mapping[TemplateOrigin, str]] = {
    "matched": "template",
    "alike": "template",
    "subtracted": "science - difference",
    "coadd": "template, resampled",
}


class StampPictures:
    """Draws triplets."""

    def __init__(self, *, stamps: StampService) -> None:
        self._stamps = stamps

    def draw(
        self, epochs: StampEpochs, request: StampRequest, look: PictureOptions, form: PictureForm
    ) -> bytes:
        """A strip of all epochs, the first above, or an animation with a frame for each.

        Science and template have the same limits, by ``look``; those of a difference lie five
        standard deviations about zero, its stretch is linear.
        """
        rows = self._rows(epochs, request, look)
        if form == "png":
            footer = LEFT_OUT if epochs.truncated else ""
            return draw_strip(rows, len(epochs.epochs), len(ORDER), footer)
        return animate(rows, form)

    def _rows(
        self, epochs: StampEpochs, request: StampRequest, look: PictureOptions
    ) -> Iterator[Row]:
        several = len(request.positions) > 1
        for triplet in self._stamps.read(epochs, request):
            yield Row(
                _label(triplet.epoch, several=several),
                tuple(_panel(role, triplet, _shared(triplet, look)) for role in ORDER),
            )


def _shared(triplet: Triplet, look: PictureOptions) -> PictureOptions:
    """With limits for the science image and its template."""
    if look.limits is not None:
        return look
    both = [triplet.stamps[r].image.flux for r in ("science", "template") if r in triplet.stamps]
    if not both:
        return look
    values = np.concatenate([flux.ravel() for flux in both]).astype(np.float64)
    return replace(look, limits=find_limits(values, look.scale or "zscale"))


def _panel(role: Role, triplet: Triplet, look: PictureOptions) -> Panel:
    epoch, stamp = triplet.epoch, triplet.stamps.get(role)
    origin = epoch.template_origin if role == "template" else None
    caption = role if origin is None else _CAPTIONS[origin]
    if stamp is None:
        return Panel(caption=role, reason=epoch.missing.get(role, ""))
    return Panel(
        caption=caption,
        values=stamp.image.flux.astype(np.float64),
        place=stamp.place,
        options=_about_zero(look) if role == "difference" else look,
        compass=stamp.grid if role == "science" else None,
    )


def _about_zero(look: PictureOptions) -> PictureOptions:
    return replace(look, limits=None, scale="symmetric", stretch="linear")


def _label(epoch: StampEpoch, *, several: bool) -> str:
    """Band, date and number of a row."""
    mjd = epoch.mid_mjd
    parts = [str(epoch.ref.band or "no band")]
    if math.isfinite(mjd):
        moment = _MJD_ZERO + timedelta(days=mjd)
        parts += [f"{moment:%Y-%m-%d %H:%M} UTC", f"MJD {mjd:.4f}"]
    if several:
        parts.append(f"position {epoch.position}")
    return "   ".join(parts)
