"""How the light curve of a place on an image is asked for, as a DataLink service descriptor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, urlencode

from app.schema.rows import DatasetRow
from app.services.described import place_input
from app.services.light_curve_request import BACKGROUNDS
from app.services.place_images import KINDS
from app.sky.dali import format_shape
from app.sky.shapes import Point
from app.votable.descriptors import InputParameter, ServiceDescriptor, interval_input

FORMATS: Final = ("votable", "csv", "tsv", "json", "fits", "parquet", "svg", "png")


def light_curve_descriptor(
    rows: Sequence[DatasetRow], service_url: str
) -> tuple[ServiceDescriptor, ...]:
    """How ``/lightcurve`` is asked about a place on images that are on the sky."""
    address, columns = f"{service_url}/lightcurve", rows[0].columns
    middle = format_shape(Point(float(columns["s_ra"] or 0), float(columns["s_dec"] or 0)))
    band = columns.get("lsst_band")
    asked = {"POS": middle} | ({} if band is None else {"BAND": str(band)})
    descriptor = ServiceDescriptor(
        resource_id="lightcurve",
        name="lightcurve",
        access_url=address,
        description=(
            "Light curve of a place: PSF fluxes on this image and on all others that contain it"
        ),
        content_type="application/x-votable+xml",
        example_urls=(f"{address}?{urlencode(asked, quote_via=quote)}",),
        inputs=light_curve_inputs(rows),
    )
    return (descriptor,)


def light_curve_inputs(rows: Sequence[DatasetRow] = ()) -> tuple[InputParameter, ...]:
    """What ``/lightcurve`` is asked, of these images or (without any) in general."""
    return (
        place_input(rows),
        InputParameter(
            name="BAND",
            ucd="meta.id;instr.filter",
            description="Only images of this band; may be repeated",
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
            description="Only images of this obs_collection; may be repeated",
        ),
        InputParameter(
            name="KIND",
            description="Only images of this kind; may be repeated",
            options=KINDS,
        ),
        InputParameter(
            name="BACKGROUND",
            description="Whether the local background is taken off (keep unless given)",
            options=BACKGROUNDS,
        ),
        InputParameter(
            name="RESPONSEFORMAT", description="A table, or a plot of it", options=FORMATS
        ),
    )
