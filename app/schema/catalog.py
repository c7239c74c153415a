"""The catalog: everything a query may see."""

from __future__ import annotations

from typing import Final

from app.schema.catalogs import SKYLOOM
from app.schema.fields import Catalog
from app.schema.obscore import IVOA
from app.schema.tap_schema import TAP_SCHEMA

CATALOG: Final = Catalog(schemas=(IVOA, SKYLOOM, TAP_SCHEMA))
