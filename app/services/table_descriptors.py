"""How a client goes on from a table with identifiers of datasets: service descriptors whose ``ref``
is that column (DataLink 1.1, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from app.schema.fields import Field
from app.services.cutout_descriptor import SYNC_ID, describe_parameters
from app.votable.datalink import MEDIA_TYPE
from app.votable.descriptors import InputParameter, ServiceDescriptor

LINKS_ID: Final = "ivo://ivoa.net/std/DataLink#links-1.1"
DATASET_UTYPE: Final = "obscore:Curation.PublisherDID"


def describe_services(fields: Sequence[Field], service_url: str) -> tuple[ServiceDescriptor, ...]:
    """Links and cutouts of the datasets in a table; nothing if no column identifies them."""
    column = next((f.name for f in fields if f.utype == DATASET_UTYPE), None)
    return () if column is None else _services(column, service_url)


@lru_cache(maxsize=64)
def _services(column: str, service_url: str) -> tuple[ServiceDescriptor, ...]:
    identifier = InputParameter(name="ID", ref=column, ucd="meta.id;meta.main")
    links = ServiceDescriptor(
        resource_id="datalink",
        access_url=f"{service_url}/datalink/links",
        standard_id=LINKS_ID,
        content_type=MEDIA_TYPE,
        description="Files, provenance and services of each dataset",
        inputs=(identifier,),
    )
    cutouts = ServiceDescriptor(
        resource_id="soda_sync",
        name="soda-sync",
        access_url=f"{service_url}/soda/sync",
        standard_id=SYNC_ID,
        content_type="application/fits",
        description="Part of an image, with all of its planes",
        inputs=tuple(
            replace(each, ref=column) if each.name == "ID" else each
            for each in describe_parameters()
        ),
    )
    return links, cutouts
