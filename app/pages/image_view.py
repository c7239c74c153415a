"""One image as its page shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.pages.holdings import format_instant
from app.pages.position import format_position
from app.pages.result_table import format_value
from app.pages.snippets import open_snippet
from app.recipes.recipe import ImageRef
from app.schema.fields import Field
from app.schema.obscore import CALIBRATED, OBSCORE
from app.schema.rows import DatasetRow, ProductInput, Value
from app.sky.shapes import Point
from app.stores.tables.datasets import DatasetStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageView:
    """What the template needs of a dataset."""

    dataset_id: str
    title: str
    collection: str
    centre: str
    facts: list[tuple[str, str]]
    size: str | None
    buildable: bool
    is_external: bool
    is_promise: bool
    """It is not there, but can be built."""
    metadata: list[tuple[Field, str | None]]
    adql: str
    snippet: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """One line of provenance; ``known`` tells whether the dataset still has a page."""

    dataset_id: str
    role: str
    weight: str
    scale: str
    rejected: str | None
    known: bool


def view_image(row: DatasetRow, *, service_url: str) -> ImageView:
    """Everything the page tells of one dataset."""
    columns = row.columns
    literal = row.dataset_id.replace("'", "''")
    return ImageView(
        dataset_id=row.dataset_id,
        title=str(columns.get("obs_title") or columns["obs_id"]),
        collection=str(columns["obs_collection"]),
        centre=_centre(row),
        facts=_facts(row),
        size=None if row.is_external or row.is_buildable else _size(row.file_size),
        buildable=columns.get("calib_level") == CALIBRATED and not row.is_external,
        is_external=row.is_external,
        is_promise=row.is_buildable,
        metadata=[(f, _metadata_text(f, columns.get(f.name), service_url)) for f in OBSCORE.fields],
        adql=f"SELECT * FROM ivoa.ObsCore\nWHERE obs_publisher_did = '{literal}'",
        snippet=open_snippet(row.dataset_id, service_url),
    )


def relate(
    items: Sequence[ProductInput], datasets: DatasetStore, *, product: bool
) -> list[Relation]:
    """Provenance rows as lines about their products, or about their inputs."""
    ids = [item.product_id if product else item.input_id for item in items]
    known = {row.dataset_id.lower() for row in datasets.get_many(ids)}
    return [
        Relation(
            dataset_id=dataset_id,
            role=item.role,
            weight=_short(item.weight),
            scale=_short(item.scale),
            rejected=item.rejected,
            known=dataset_id.lower() in known,
        )
        for item, dataset_id in zip(items, ids, strict=True)
    ]


def _facts(row: DatasetRow) -> list[tuple[str, str]]:
    columns = row.columns
    ref = ImageRef.from_text(row.image_ref)
    start, exposure = columns.get("t_min"), columns.get("t_exptime")
    found = (
        ("Kind", columns.get("dataproduct_subtype")),
        ("Band", _band(columns.get("lsst_band"), columns.get("lsst_filter"))),
        ("Taken", f"{format_instant(float(start))} UTC" if start is not None else None),
        ("Exposure", f"{float(exposure):g} s" if exposure is not None else None),
        ("Seeing", _with_unit(columns.get("s_resolution"), "″ FWHM")),
        ("Zero point", _with_unit(ref.zero_point_mag, f" mag, 1 {ref.bunit or 'unit'}")),
        ("Centre", _centre(row)),
        ("Visit, detector", _pair(columns.get("lsst_visit"), columns.get("lsst_detector"))),
        ("Tract, patch", _pair(columns.get("lsst_tract"), columns.get("lsst_patch"))),
        ("Instrument", _pair(columns.get("facility_name"), columns.get("instrument_name"))),
        ("Pixels", _pixels(columns.get("s_xel1"), columns.get("s_xel2"))),
    )
    return [(name, str(value)) for name, value in found if value is not None]


def _metadata_text(field: Field, value: Value, service_url: str) -> str | None:
    text = format_value(value)
    is_path = text is not None and field.prefix_bind and text.startswith("/")
    return f"{service_url}{text}" if is_path else text


def _centre(row: DatasetRow) -> str:
    lon, lat = row.columns.get("s_ra"), row.columns.get("s_dec")
    return "" if lon is None or lat is None else format_position(Point(float(lon), float(lat)))


def _band(band: Value, filter_name: Value) -> Value:
    return f"{band} ({filter_name})" if band and filter_name and band != filter_name else band


def _with_unit(value: Value, unit: str) -> str | None:
    return None if value is None else f"{float(value):.3f}{unit}"


def _pair(first: Value, second: Value) -> str | None:
    parts = [str(value) for value in (first, second) if value is not None]
    return ", ".join(parts) or None


def _pixels(width: Value, height: Value) -> str | None:
    return None if width is None or height is None else f"{width} × {height}"


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.0f} kB"
