"""Links of datasets, one by one."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from app.schema.dia_source import DIA_SOURCE
from app.schema.rows import DatasetRow, ProductInput, Value, links_path
from app.services.cutout_descriptor import SYNC_ID
from app.votable.datalink import MEDIA_TYPE, Link
from app.votable.descriptors import ServiceDescriptor


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


def text_of(value: Value) -> str | None:
    """A value as text."""
    return None if value is None else str(value)


def service_link(row: DatasetRow, descriptor: ServiceDescriptor) -> Link:
    """A service that takes a dataset."""
    return Link(
        ID=row.dataset_id,
        semantics="#cutout" if descriptor.standard_id == SYNC_ID else "#proc",
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
    asked = {
        "LANG": "ADQL",
        "QUERY": f"SELECT * FROM {DIA_SOURCE.name} WHERE obs_publisher_did = '{quoted}'",
    }
    return Link(
        ID=row.dataset_id,
        semantics="#derivation",
        access_url=f"{service_url}/tap/sync?{urlencode(asked, quote_via=quote)}",
        description=f"Sources found on this image: its rows of {DIA_SOURCE.name}",
        content_type="application/x-votable+xml",
        content_qualifier="#measurements",
        local_semantics="dia-sources",
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
