"""How parts of an image are asked for, as a DataLink service descriptor (SODA 1.0, section 5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import quote, urlencode

from app.pixels.colour_maps import COLOUR_MAPS
from app.pixels.cube_axes import STOKES
from app.pixels.picture import SCALES, STRETCHES
from app.recipes.cutout import COMPRESSIONS
from app.recipes.picture import LEAST_SIDE_PX, MOST_SIDE_PX
from app.recipes.recipe import ImageRef
from app.schema.rows import DatasetRow, Value
from app.services.described import identifier_input, largest_px
from app.sky.dali import format_shape
from app.sky.predicates import bounding_circle
from app.sky.shapes import Circle, Polygon, Region
from app.sky.stcs import describe_area, parse_region
from app.votable.descriptors import InputParameter, ServiceDescriptor, number_input

SYNC_ID: Final = "ivo://ivoa.net/std/SODA#sync-1.0"
ASYNC_ID: Final = "ivo://ivoa.net/std/SODA#async-1.0"
FORMATS: Final = ("fits", "png", "jpeg")
ROLES: Final = ("image", "variance", "weight", "stddev", "mask")
_OUTLINE: Final = "pos.outline;obs"


def cutout_descriptor(
    rows: Sequence[DatasetRow], service_url: str
) -> tuple[ServiceDescriptor, ...]:
    """How ``/soda/sync`` and ``/soda/async`` cut images of this service (see
    :func:`has_pixels`)."""
    regions = [row.columns.get("s_region") for row in rows]
    outline = None if regions[0] is None else parse_region(str(regions[0]))
    address = f"{service_url}/soda/sync"
    asked = {"ID": rows[0].dataset_id, **_example(outline)}
    alone = outline if len(rows) == 1 else None
    sync = ServiceDescriptor(
        resource_id="soda_sync",
        name="soda-sync",
        access_url=address,
        standard_id=SYNC_ID,
        description=f"Part of this image, with all of its planes{_whereabouts(alone)}",
        content_type="application/fits",
        example_urls=(f"{address}?{urlencode(asked, quote_via=quote)}",),
        inputs=tuple(_inputs(rows, alone)),
    )
    many = replace(
        sync,
        resource_id="soda_async",
        name="soda-async",
        access_url=f"{service_url}/soda/async",
        standard_id=ASYNC_ID,
        description="Parts of images, one for each combination: makes a job (UWS 1.1)",
        content_type="application/xml",
        example_urls=(),
    )
    return sync, many


def has_pixels(row: DatasetRow) -> bool:
    """Whether there is something to cut: a plane, and where its pixels are."""
    ref = ImageRef.from_text(row.image_ref)
    return bool(ref.grid and ref.planes)


def describe_parameters() -> tuple[InputParameter, ...]:
    """Every parameter, for images in general."""
    return tuple(_inputs((), None))


def _example(outline: Region | None) -> dict[str, str]:
    """A tenth of the image about its middle."""
    if outline is None:
        return {"PIXELS": "0 99 0 99"}
    circle = bounding_circle(outline)
    small = Circle(circle.lon_deg, circle.lat_deg, max(circle.radius_deg / 10, 1e-5))
    return {"CIRCLE": format_shape(small)}


def _whereabouts(outline: Region | None) -> str:
    return "" if outline is None else f"; it lies {describe_area(outline)}"


def _inputs(rows: Sequence[DatasetRow], outline: Region | None) -> Iterator[InputParameter]:
    yield identifier_input(rows, "The image")
    yield from _sky_inputs(outline)
    yield _pixels(largest_px(rows) if rows else None)
    yield _interval(rows, "BAND", "em", "m", "em.wl;stat.interval", "Wavelengths in vacuum")
    yield _interval(rows, "TIME", "t", "d", "time.interval;obs.exposure", "Times: MJD, UTC")
    told = [str(row.columns.get("pol_states") or "").split("/") for row in rows]
    states = dict.fromkeys(state for some in told for state in some if state) if rows else STOKES
    if states:
        yield _choice("POL", "Polarisation; may be repeated", states, "meta.code;phys.polarization")
    refs = [ImageRef.from_text(row.image_ref) for row in rows]
    roles = dict.fromkeys(plane.role for ref in refs for plane in ref.planes) or ROLES
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


def _pixels(size: tuple[int, int] | None) -> InputParameter:
    return InputParameter(
        name="PIXELS",
        datatype="double",
        arraysize="4",
        unit="pixel",
        ucd="pos.cartesian",
        description="x_min x_max y_min y_max; the first pixel is 0, both ends are taken",
        maximum=None if size is None else f"0 {size[0] - 1} 0 {size[1] - 1}",
    )


def _interval(
    rows: Sequence[DatasetRow], name: str, prefix: str, unit: str, ucd: str, description: str
) -> InputParameter:
    """The ends are the outermost of all images, if all have some."""
    lows = [row.columns.get(f"{prefix}_min") for row in rows]
    highs = [row.columns.get(f"{prefix}_max") for row in rows]
    known = bool(rows) and not any(end is None for end in (*lows, *highs))
    ends = f"{min(map(_real, lows))!r} {max(map(_real, highs))!r}" if known else None
    return InputParameter(
        name=name,
        datatype="double",
        arraysize="2",
        xtype="interval",
        unit=unit,
        ucd=ucd,
        description=description,
        maximum=ends,
    )


def _real(value: Value) -> float:
    return float(value or 0.0)


def _choice(
    name: str, description: str, options: Iterable[str], ucd: str | None = None
) -> InputParameter:
    return InputParameter(name=name, ucd=ucd, description=description, options=tuple(options))
