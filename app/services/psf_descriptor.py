"""How the PSF of an image at a place is asked for, as a DataLink service descriptor."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlencode

from app.pixels.grid import Grid
from app.recipes.recipe import ImageRef
from app.schema.rows import DatasetRow
from app.sky.dali import format_shape
from app.sky.shapes import Point
from app.sky.stcs import describe_area, parse_region
from app.votable.descriptors import InputParameter, ServiceDescriptor, number_input

FORMATS: Final = ("fits", "png", "json")


def psf_descriptor(row: DatasetRow, service_url: str, *, number: int) -> ServiceDescriptor | None:
    """How ``/psf`` is asked about an image of this service; None for what is not on the sky.

    ``number`` as in :func:`app.services.build_descriptors.build_descriptors`.
    """
    grid_text = ImageRef.from_text(row.image_ref).grid
    region, lon, lat = (row.columns.get(name) for name in ("s_region", "s_ra", "s_dec"))
    if not grid_text or region is None or lon is None or lat is None:
        return None
    ny, nx = Grid.from_text(grid_text).shape
    address = f"{service_url}/psf"
    middle = format_shape(Point(float(lon), float(lat)))
    asked = {"ID": row.dataset_id, "POS": middle, "RESPONSEFORMAT": "json"}
    return ServiceDescriptor(
        resource_id=f"psf_{number}",
        name="psf" if number == 1 else f"psf-{number}",
        access_url=address,
        description=(
            "PSF of this image at a place, given by POS or by X and Y: what its file brings, "
            "else what its stars show"
        ),
        content_type="application/fits",
        example_urls=(f"{address}?{urlencode(asked, quote_via=quote)}",),
        inputs=(
            InputParameter(
                name="ID", value=row.dataset_id, ucd="meta.id;meta.main", description="The image"
            ),
            place_input(str(region)),
            _pixel("X", "Column", nx),
            _pixel("Y", "Row", ny),
            InputParameter(
                name="RESPONSEFORMAT",
                description="A stamp, a picture of it, or place and shape",
                options=FORMATS,
            ),
        ),
    )


def place_input(region: str) -> InputParameter:
    """A place in ``region``, that of an image."""
    return InputParameter(
        name="POS",
        datatype="double",
        arraysize="2",
        xtype="point",
        unit="deg",
        ucd="pos.eq",
        description=f"Place on the image, {describe_area(parse_region(region))}",
    )


def _pixel(name: str, told: str, size: int) -> InputParameter:
    return number_input(
        name,
        f"{told} of the image; the middle of the first is 0",
        "pixel",
        "pos.cartesian." + name.lower(),
        limits=("0", str(size - 1)),
    )
