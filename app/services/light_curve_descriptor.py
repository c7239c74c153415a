"""How the light curve of a place on an image is asked for, as a DataLink service descriptor."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlencode

from app.recipes.recipe import ImageRef
from app.schema.rows import DatasetRow
from app.services.light_curve_request import BACKGROUNDS, KINDS
from app.services.psf_descriptor import place_input
from app.sky.dali import format_shape
from app.sky.shapes import Point
from app.votable.descriptors import InputParameter, ServiceDescriptor, interval_input

FORMATS: Final = ("votable", "csv", "tsv", "json", "fits", "parquet", "svg", "png")


def light_curve_descriptor(
    row: DatasetRow, service_url: str, *, number: int
) -> ServiceDescriptor | None:
    """How ``/lightcurve`` is asked about a place on an image; None for what is not on the sky.

    ``number`` as in :func:`app.services.build_descriptors.build_descriptors`.
    """
    columns = row.columns
    region, lon, lat = (columns.get(name) for name in ("s_region", "s_ra", "s_dec"))
    if not ImageRef.from_text(row.image_ref).grid or region is None or lon is None or lat is None:
        return None
    address = f"{service_url}/lightcurve"
    band = columns.get("lsst_band")
    asked = {"POS": format_shape(Point(float(lon), float(lat)))}
    if band is not None:
        asked["BAND"] = str(band)
    return ServiceDescriptor(
        resource_id=f"lightcurve_{number}",
        name="lightcurve" if number == 1 else f"lightcurve-{number}",
        access_url=address,
        description=(
            "Light curve of a place: PSF fluxes on this image and on all others that contain it"
        ),
        content_type="application/x-votable+xml",
        example_urls=(f"{address}?{urlencode(asked, quote_via=quote)}",),
        inputs=(
            place_input(str(region)),
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
        ),
    )
