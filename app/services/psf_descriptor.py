"""How the PSF of an image at a place is asked for, as a DataLink service descriptor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, urlencode

from app.schema.rows import DatasetRow
from app.services.described import identifier_input, largest_px, place_input
from app.sky.dali import format_shape
from app.sky.shapes import Point
from app.votable.descriptors import InputParameter, ServiceDescriptor, number_input

FORMATS: Final = ("fits", "png", "json")


def psf_descriptor(rows: Sequence[DatasetRow], service_url: str) -> tuple[ServiceDescriptor, ...]:
    """How ``/psf`` is asked about images that are on the sky."""
    address, columns = f"{service_url}/psf", rows[0].columns
    middle = format_shape(Point(float(columns["s_ra"] or 0), float(columns["s_dec"] or 0)))
    asked = {"ID": rows[0].dataset_id, "POS": middle, "RESPONSEFORMAT": "json"}
    descriptor = ServiceDescriptor(
        resource_id="psf",
        name="psf",
        access_url=address,
        description=(
            "PSF of this image at a place, given by POS or by X and Y: what its file brings, "
            "else what its stars show"
        ),
        content_type="application/fits",
        example_urls=(f"{address}?{urlencode(asked, quote_via=quote)}",),
        inputs=psf_inputs(rows),
    )
    return (descriptor,)


def psf_inputs(rows: Sequence[DatasetRow] = ()) -> tuple[InputParameter, ...]:
    """What ``/psf`` is asked, of these images or (without any) in general."""
    nx, ny = largest_px(rows) if rows else (None, None)
    return (
        identifier_input(rows, "The image"),
        place_input(rows),
        _pixel("X", "Column", nx),
        _pixel("Y", "Row", ny),
        InputParameter(
            name="RESPONSEFORMAT",
            description="A stamp, a picture of it, or place and shape",
            options=FORMATS,
        ),
    )


def _pixel(name: str, told: str, size: int | None) -> InputParameter:
    return number_input(
        name,
        f"{told} of the image; the middle of the first is 0",
        "pixel",
        "pos.cartesian." + name.lower(),
        limits=("0", None if size is None else str(size - 1)),
    )
