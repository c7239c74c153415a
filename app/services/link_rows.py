"""Links of datasets, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, urlencode

from app.schema.dia_source import DIA_SOURCE
from app.schema.rows import DatasetRow, ProductInput, Value, links_path
from app.services.cutout_descriptor import ASYNC_ID, SYNC_ID
from app.votable.datalink import MEDIA_TYPE, Link
from app.votable.descriptors import ServiceDescriptor

MOST_CODERIVED: Final = 100
THUMBNAIL_PX: Final = 160


def link_elsewhere(row: DatasetRow) -> Link:
    """Where the image of another service lies."""
    columns = row.columns
    title = columns.get("obs_title") or columns.get("dataproduct_subtype") or "Dataset"
    address = columns.get("access_url")
    if address is None:
        reason = "NotFoundFault: it lies at another service, which gave no address"
        return Link(ID=row.dataset_id, semantics="#this", error_message=reason)
    size_kb = columns.get("access_estsize")
    return Link(
        ID=row.dataset_id,
        semantics="#this",
        access_url=str(address),
        description=f"{title}, at another service",
        content_type=text_of(columns.get("access_format")),
        content_length=None if size_kb is None else 1000 * int(size_kb),
        local_semantics="image",
    )


def withheld_link(row: DatasetRow, service_url: str) -> Link:
    """An image that is not for the one who asks: where it is got with a token that may see it."""
    asked = urlencode({"ID": row.dataset_id}, quote_via=quote)
    return Link(
        ID=row.dataset_id,
        semantics="#this",
        access_url=f"{service_url}/soda/sync?{asked}",
        description=f"{row.rights.data_rights.capitalize()} image: a token that may see it is "
        "needed",
        content_type="application/fits",
        content_qualifier="#image",
        local_semantics="image",
    )


def text_of(value: Value) -> str | None:
    """A value as text."""
    return None if value is None else str(value)


def service_link(row: DatasetRow, descriptor: ServiceDescriptor) -> Link:
    """A service that takes a dataset."""
    return Link(
        ID=row.dataset_id,
        semantics="#cutout" if descriptor.standard_id in (SYNC_ID, ASYNC_ID) else "#proc",
        service_def=descriptor.resource_id,
        description=descriptor.description,
        content_type=descriptor.content_type,
        local_semantics=descriptor.name,
        link_auth="false",
        link_authorized=True,
    )


def dataset_link(
    row: DatasetRow, other_id: str, service_url: str, semantics: str, description: str
) -> Link:
    """Another dataset, by its own links."""
    return Link(
        ID=row.dataset_id,
        semantics=semantics,
        access_url=service_url + links_path(other_id),
        description=description,
        content_type=MEDIA_TYPE,
        content_qualifier="#image",
        local_semantics=semantics.removeprefix("#"),
        link_auth="false",
        link_authorized=True,
    )


def sources_link(row: DatasetRow, service_url: str) -> Link:
    """What was found on a difference."""
    quoted = row.dataset_id.replace("'", "''")
    return _query_link(
        row,
        f"SELECT * FROM {DIA_SOURCE.name} WHERE obs_publisher_did = '{quoted}'",
        service_url,
        semantics="#derivation",
        description=f"Sources found on this image: its rows of {DIA_SOURCE.name}",
        content_qualifier="#measurements",
        local_semantics="dia-sources",
    )


def coderived_links(row: DatasetRow, service_url: str) -> Iterator[Link]:
    """Queries for images of its place: of its kind the nearest in time, in its band and in the
    others; and what other collections have."""
    lon, lat, start = (row.columns.get(name) for name in ("s_ra", "s_dec", "t_min"))
    if lon is None or lat is None:
        return
    here = f"CONTAINS(POINT({lon!r}, {lat!r}), s_region) = 1"
    kind = f"{here} AND {_equal(row, 'calib_level')} AND {_equal(row, 'dataproduct_subtype')}"
    nearest = "" if start is None else f" ORDER BY ABS(t_min - {start!r})"
    band = row.columns.get("lsst_band")
    same_band = kind if band is None else f"{kind} AND {_equal(row, 'lsst_band')}"
    asked = [
        ("#coderived", "same-band", "Images of this place in this band", same_band + nearest),
        (
            "#counterpart",
            "other-collections",
            "What other collections have of this place",
            f"{here} AND NOT {_equal(row, 'obs_collection')}",
        ),
    ]
    if band is not None:
        others = f"{kind} AND NOT {_equal(row, 'lsst_band')}{nearest}"
        told = "Images of this place in other bands"
        asked.insert(1, ("#coderived", "other-bands", told, others))
    for semantics, name, description, where in asked:
        yield _query_link(
            row,
            f"SELECT TOP {MOST_CODERIVED} * FROM ivoa.ObsCore WHERE {where}",
            service_url,
            semantics=semantics,
            description=description,
            content_qualifier="#image",
            local_semantics=name,
        )


def _equal(row: DatasetRow, column: str) -> str:
    """The condition that a column has the value it has here."""
    value = row.columns.get(column)
    if value is None:
        return f"{column} IS NULL"
    told = "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
    return f"{column} = {told}"


def _query_link(
    row: DatasetRow,
    query: str,
    service_url: str,
    *,
    semantics: str,
    description: str,
    content_qualifier: str,
    local_semantics: str,
) -> Link:
    """What a query answers."""
    asked = urlencode({"LANG": "ADQL", "QUERY": query}, quote_via=quote)
    return Link(
        ID=row.dataset_id,
        semantics=semantics,
        access_url=f"{service_url}/tap/sync?{asked}",
        description=description,
        content_type="application/x-votable+xml",
        content_qualifier=content_qualifier,
        local_semantics=local_semantics,
        link_auth="false",
        link_authorized=True,
    )


def picture_links(row: DatasetRow, service_url: str) -> Iterator[Link]:
    """Pictures of an image that is here."""
    pictures: tuple[tuple[str, dict[str, str], str], ...] = (
        ("#preview", {}, "Preview, 900 pixels along its longer side"),
        ("#preview-image", {"MASK": "1"}, "Preview with the planes of the mask in colours"),
        ("#thumbnail", {"SIZE": str(THUMBNAIL_PX)}, "Thumbnail"),
    )
    for semantics, options, description in pictures:
        asked = urlencode({"ID": row.dataset_id, **options}, quote_via=quote)
        yield Link(
            ID=row.dataset_id,
            semantics=semantics,
            access_url=f"{service_url}/previews?{asked}",
            description=description,
            content_type="image/png",
            content_qualifier="#image",
            local_semantics=semantics.removeprefix("#"),
            link_auth="false",
            link_authorized=True,
        )


def page_link(row: DatasetRow, service_url: str) -> Link:
    """The page of a dataset."""
    asked = urlencode({"ID": row.dataset_id}, quote_via=quote)
    return Link(
        ID=row.dataset_id,
        semantics="#documentation",
        access_url=f"{service_url}/images?{asked}",
        description="What is known of this image, for people",
        content_type="text/html",
        local_semantics="page",
        link_auth="false",
        link_authorized=True,
    )


def describe_input(used: ProductInput) -> str:
    """An input of a product in words."""
    weight = "" if used.weight is None else f", weight {used.weight:.4g}"
    return f"{used.input_id}: {used.role} input{weight}"


def fault_link(identifier: str) -> Link:
    """What is answered for an identifier that nothing has."""
    return Link(
        ID=identifier,
        semantics="#this",
        error_message=f"NotFoundFault: no dataset has the identifier {identifier}",
    )
