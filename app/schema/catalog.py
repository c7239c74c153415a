"""The catalog: everything a query may see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Protocol

from app.schema.catalogs import SKYLOOM
from app.schema.fields import Catalog, Schema, Table
from app.schema.obscore import IVOA
from app.schema.tap_schema import TAP_SCHEMA

CATALOG: Final = Catalog(schemas=(IVOA, SKYLOOM, TAP_SCHEMA))
"""The tables that every service has."""

BESIDE: Final = "Tables that are published beside the images"
"""Description of a schema that tables were published in."""


def catalog_with(published: Iterable[Table]) -> Catalog:
    """:data:`CATALOG` with more tables, in the order in which they come. A schema that it does not
    have stands before TAP_SCHEMA."""
    schemas = {schema.name.lower(): schema for schema in CATALOG.schemas}
    last = schemas.pop(TAP_SCHEMA.name)
    for table in published:
        key = table.schema_name.lower()
        known = schemas.get(key) or Schema(name=table.schema_name, description=BESIDE, tables=())
        schemas[key] = replace(known, tables=(*known.tables, table))
    return Catalog(schemas=(*schemas.values(), last))


class CatalogSource(Protocol):
    """Says what may be queried now. A catalog never changes; when the published tables do, another
    one comes."""

    def current(self) -> Catalog:
        """The catalog of this moment; the same object as long as nothing changed."""
