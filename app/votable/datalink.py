"""The links table of DataLink 1.1 (section 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

import pyarrow as pa

from app.schema.batches import arrow_schema
from app.schema.fields import Datatype, Field, Kind
from app.votable.descriptors import ServiceDescriptor
from app.votable.markup import Info
from app.votable.writer import write_results

MEDIA_TYPE: Final = "application/x-votable+xml;content=datalink"
STANDARD_ID: Final = "ivo://ivoa.net/std/DataLink#links-1.1"
ID_FIELD: Final = "ID"
"""The column to which the identifiers of descriptors for several datasets refer."""


class Link(NamedTuple):
    """One row. Exactly one of ``access_url``, ``service_def`` and ``error_message`` is set."""

    ID: str
    semantics: str
    access_url: str | None = None
    service_def: str | None = None
    error_message: str | None = None
    description: str | None = None
    content_type: str | None = None
    content_length: int | None = None
    content_qualifier: str | None = None
    local_semantics: str | None = None
    link_auth: str | None = None
    link_authorized: bool | None = None


def _field(
    name: str,
    ucd: str,
    description: str,
    *,
    kind: Kind = "text",
    datatype: Datatype = "char",
    unit: str | None = None,
) -> Field:
    arraysize = "*" if datatype == "char" else None
    return Field(
        name=name,
        kind=kind,
        datatype=datatype,
        arraysize=arraysize,
        unit=unit,
        ucd=ucd,
        description=description,
    )


FIELDS: Final = (
    _field(ID_FIELD, "meta.id;meta.main", "Identifier of the dataset that the link is about"),
    _field("access_url", "meta.ref.url", "Address of the linked resource"),
    _field("service_def", "meta.ref", "ID of the RESOURCE that describes a service"),
    _field("error_message", "meta.code.error", "Why there is no link"),
    _field("description", "meta.note", "What the link leads to, for people"),
    _field("semantics", "meta.code", "Relation to the dataset, of www.ivoa.net/rdf/datalink/core"),
    _field("content_type", "meta.code.mime", "Media type of the linked resource"),
    _field(
        "content_length",
        "phys.size;meta.file",
        "Size of the linked resource",
        kind="integer",
        datatype="long",
        unit="byte",
    ),
    _field("content_qualifier", "meta.code", "Kind of product, of www.ivoa.net/rdf/product-type"),
    _field("local_semantics", "meta.code", "Kind of link within this service"),
    _field("link_auth", "meta.code", "Whether following the link needs authentication"),
    _field(
        "link_authorized",
        "meta.code",
        "Whether the caller may follow the link",
        kind="boolean",
        datatype="boolean",
    ),
)


def write_links(
    links: Sequence[Link],
    descriptors: Sequence[ServiceDescriptor] = (),
    *,
    truncated: bool = False,
) -> Iterator[bytes]:
    """The document; ``truncated`` marks that links of further identifiers are missing."""
    columns = [
        pa.array(map(attrgetter(column.name), links), column.type)
        for column in arrow_schema(FIELDS)
    ]
    batch = pa.RecordBatch.from_arrays(columns, schema=arrow_schema(FIELDS))
    return write_results(
        FIELDS,
        [batch],
        maxrec=len(links),
        infos=(Info("standardID", STANDARD_ID),),
        descriptors=descriptors,
        truncated=truncated,
    )
