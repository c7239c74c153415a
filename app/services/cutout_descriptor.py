"""How parts of an image are asked for, as a DataLink service descriptor (SODA 1.0, section 5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, urlencode

from app.pixels.colour_maps import COLOUR_MAPS
from app.pixels.grid import Grid
from app.pixels.picture import SCALES, STRETCHES
from app.recipes.cutout import COMPRESSIONS
from app.recipes.picture import LEAST_SIDE_PX, MOST_SIDE_PX
from app.recipes.recipe import ImageRef
from app.schema.rows import DatasetRow
from app.sky.dali import format_shape
from app.sky.predicates import bounding_circle
from app.sky.shapes import Circle, Polygon, Region
from app.sky.stcs import describe_area, parse_region
from app.votable.descriptors import InputParameter, ServiceDescriptor, number_input

SYNC_ID: Final = "ivo://ivoa.net/std/SODA#sync-1.0"
PATH: Final = "/soda/sync"
FORMATS: Final = ("fits", "png", "jpeg")
_OUTLINE: Final = "pos.outline;obs"


def cutout_descriptor(
    row: DatasetRow, service_url: str, *, number: int
) -> ServiceDescriptor | None:
    """How ``/soda/sync`` cuts an image of this service; None for what has no pixels on the sky.

    ``number`` as in :func:`app.services.build_descriptors.build_descriptors`.
    """
    ref = ImageRef.from_text(row.image_ref)
    if not ref.grid or not ref.planes:
        return None
    region = row.columns.get("s_region")
    outline = None if region is None else parse_region(str(region))
    address = service_url + PATH
    asked = {"ID": row.dataset_id, **_example(outline)}
    return ServiceDescriptor(
        resource_id=f"soda_sync_{number}",
        name="soda-sync" if number == 1 else f"soda-sync-{number}",
        access_url=address,
        standard_id=SYNC_ID,
        description=f"Part of this image, with all of its planes{_whereabouts(outline)}",
        content_type="application/fits",
        example_urls=(f"{address}?{urlencode(asked, quote_via=quote)}",),
        inputs=tuple(_inputs(row, ref, outline)),
    )


def _example(outline: Region | None) -> dict[str, str]:
    """A tenth of the image about its middle."""
    if outline is None:
        return {"PIXELS": "0 99 0 99"}
    circle = bounding_circle(outline)
    small = Circle(circle.lon_deg, circle.lat_deg, max(circle.radius_deg / 10, 1e-5))
    return {"CIRCLE": format_shape(small)}


def _whereabouts(outline: Region | None) -> str:
    return "" if outline is None else f"; it lies {describe_area(outline)}"


def _inputs(row: DatasetRow, ref: ImageRef, outline: Region | None) -> Iterator[InputParameter]:
    yield InputParameter(
        name="ID", value=row.dataset_id, ucd="meta.id;meta.main", description="The image"
    )
    yield from _sky_inputs(outline)
    yield _pixels(Grid.from_text(ref.grid))
    yield _interval(row, "BAND", "em", "m", "em.wl;stat.interval", "Wavelengths in vacuum")
    yield _interval(row, "TIME", "t", "d", "time.interval;obs.exposure", "Times: MJD, UTC")
    states = [state for state in str(row.columns.get("pol_states") or "").split("/") if state]
    if states:
        yield _choice("POL", "Polarisation; may be repeated", states, "meta.code;phys.polarization")
    roles = dict.fromkeys(plane.role for plane in ref.planes)
    yield _choice("EXT", "Planes, all unless given; may be repeated", [*roles, "psf"])
    yield from _picture_inputs()
    yield _choice("COMPRESS", "Rice-compressed tiles; real numbers lose noise", COMPRESSIONS)


def _picture_inputs() -> Iterator[InputParameter]:
    yield _choice("RESPONSEFORMAT", "FITS, or a picture of the first plane", FORMATS)
    yield _choice("STRETCH", "Of pictures: how values become light", list(STRETCHES))
    words = "or the percentage of values between black and white"
    yield _choice("SCALE", f"Of pictures: how limits are found, {words}", SCALES)
    yield InputParameter(
        name="LIMITS",
        datatype="double",
        arraysize="2",
        xtype="interval",
        description="Of pictures: the values that are black and white",
    )
    yield _choice("COLORMAP", "Of pictures", list(COLOUR_MAPS))
    yield InputParameter(
        name="MARKER",
        datatype="double",
        arraysize="2",
        xtype="point",
        unit="deg",
        ucd="pos.eq",
        description="Of pictures: a place that is circled; may be repeated",
    )
    yield number_input(
        "SIZE",
        "Of pictures: pixels of the longer side",
        "pixel",
        datatype="int",
        limits=(str(LEAST_SIDE_PX), str(MOST_SIDE_PX)),
    )


def _sky_inputs(outline: Region | None) -> Iterator[InputParameter]:
    """Regions, with the largest that makes sense."""
    circle = polygon = None
    if outline is not None:
        circle = format_shape(bounding_circle(outline))
    if isinstance(outline, Polygon):
        polygon = format_shape(outline)
    yield _shape("CIRCLE", "3", "circle", "Longitude, latitude and radius", circle)
    yield _shape("POLYGON", "*", "polygon", "Longitude and latitude of each vertex", polygon)
    yield InputParameter(
        name="POS",
        ucd=_OUTLINE,
        description="CIRCLE lon lat radius, RANGE lon1 lon2 lat1 lat2 or POLYGON …, in degrees",
    )


def _shape(
    name: str, arraysize: str, xtype: str, description: str, largest: str | None
) -> InputParameter:
    return InputParameter(
        name=name,
        datatype="double",
        arraysize=arraysize,
        xtype=xtype,
        unit="deg",
        ucd=_OUTLINE,
        description=f"{description} (ICRS)",
        maximum=largest,
    )


def _pixels(grid: Grid) -> InputParameter:
    ny, nx = grid.shape
    return InputParameter(
        name="PIXELS",
        datatype="double",
        arraysize="4",
        unit="pixel",
        ucd="pos.cartesian",
        description="x_min x_max y_min y_max; the first pixel is 0, both ends are taken",
        maximum=f"0 {nx - 1} 0 {ny - 1}",
    )


def _interval(
    row: DatasetRow, name: str, prefix: str, unit: str, ucd: str, description: str
) -> InputParameter:
    low, high = row.columns.get(f"{prefix}_min"), row.columns.get(f"{prefix}_max")
    return InputParameter(
        name=name,
        datatype="double",
        arraysize="2",
        xtype="interval",
        unit=unit,
        ucd=ucd,
        description=description,
        maximum=None if low is None or high is None else f"{float(low)!r} {float(high)!r}",
    )


def _choice(
    name: str, description: str, options: list[str] | tuple[str, ...], ucd: str | None = None
) -> InputParameter:
    return InputParameter(name=name, ucd=ucd, description=description, options=tuple(options))
