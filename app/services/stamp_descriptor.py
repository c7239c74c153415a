"""How the triplets of a place on an image are asked for, as a DataLink service descriptor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, urlencode

from app.schema.rows import DatasetRow
from app.services.described import place_input
from app.services.stamp_request import PLANES
from app.sky.dali import format_shape
from app.sky.shapes import Point
from app.votable.descriptors import InputParameter, ServiceDescriptor, interval_input

FORMATS: Final = ("fits", "png", "apng", "gif", "votable", "csv", "tsv", "json")


def stamp_descriptor(rows: Sequence[DatasetRow], service_url: str) -> tuple[ServiceDescriptor, ...]:
    """How ``/stamps`` is asked about a place on images that are on the sky."""
    address, columns = f"{service_url}/stamps", rows[0].columns
    middle = format_shape(Point(float(columns["s_ra"] or 0), float(columns["s_dec"] or 0)))
    band = columns.get("lsst_band")
    asked = {"POS": middle} | ({} if band is None else {"BAND": str(band)})
    descriptor = ServiceDescriptor(
        resource_id="stamps",
        name="stamps",
        access_url=address,
        description="Science, template and difference at a place, epoch by epoch",
        content_type="application/fits",
        example_urls=(f"{address}?{urlencode(asked, quote_via=quote)}",),
        inputs=stamp_inputs(rows),
    )
    return (descriptor,)


def stamp_inputs(rows: Sequence[DatasetRow] = ()) -> tuple[InputParameter, ...]:
    """What ``/stamps`` is asked, of these images or (without any) in general."""
    return (
        place_input(rows),
        InputParameter(
            name="SIZE",
            unit="deg",
            ucd="phys.angSize",
            description="Side of the square; with px behind the number in pixels (30 arcsec "
            "unless given)",
        ),
        InputParameter(
            name="BAND",
            ucd="meta.id;instr.filter",
            description="Only epochs of this band; may be repeated",
        ),
        interval_input(
            "TIME",
            "Only exposures in this range of MJD; may be repeated",
            "d",
            "time.interval;obs.exposure",
        ),
        InputParameter(
            name="COLLECTION",
            ucd="meta.id",
            description="Only exposures of this obs_collection; may be repeated",
        ),
        InputParameter(
            name="PLANES",
            description="Planes beside the image (all unless given); may be repeated",
            options=PLANES,
        ),
        InputParameter(
            name="BUILD",
            description="Whether what is missing is built (false unless given)",
            options=("true", "false"),
        ),
        InputParameter(
            name="RESPONSEFORMAT",
            description="Pixels, pictures, or a table of the epochs",
            options=FORMATS,
        ),
    )
