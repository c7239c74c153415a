"""What the editor of the query page highlights and completes: the words of the language, and the
tables that may be queried now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from starlette.responses import JSONResponse, Response

from app.adql.user_functions import USER_FUNCTIONS
from app.adql.words import AGGREGATES, FUNCTIONS, KEYWORDS
from app.schema.fields import Catalog, Table
from app.schema.tap_schema import published_name
from app.services.query import QueryService

_COUNT: Final = frozenset({"COUNT"})
"""A keyword to the grammar, a function to whoever writes it."""


def vocabulary(queries: QueryService) -> Callable[[], Response]:
    """The address of the vocabulary, as JSON."""

    def answer() -> Response:
        content = list_vocabulary(queries.current_catalog())
        return JSONResponse(content, headers={"Cache-Control": "no-cache"})

    return answer


def list_vocabulary(catalog: Catalog) -> dict[str, Any]:
    """Keywords, functions (several signatures of one name are several) and tables with columns.
    Names are written as a query must write them."""
    plain = sorted(FUNCTIONS | AGGREGATES | _COUNT)
    own = [{"name": f.name, "form": f.form, "description": f.description} for f in USER_FUNCTIONS]
    return {
        "keywords": sorted(KEYWORDS - _COUNT),
        "functions": [*({"name": name} for name in plain), *own],
        "tables": [_describe(table) for table in catalog.tables],
    }


def _describe(table: Table) -> dict[str, Any]:
    columns = [
        {
            "name": published_name(field.name),
            "unit": field.unit,
            "type": field.kind,
            "description": field.description,
        }
        for field in table.fields
    ]
    return {"name": table.name, "description": table.description, "columns": columns}
