"""Rows of the published tables for other services: asked in the ADQL that users write."""

from __future__ import annotations

from typing import Any, Final

from app.adql.compile import compile_tree
from app.adql.parse import parse
from app.adql.tree import Query
from app.errors import LimitError
from app.schema.catalog import CatalogSource
from app.stores.tables.base import TableStore

TIME_LIMIT_S: Final = 60.0
_ALL: Final = 2**40


class CatalogRows:
    """Compiles and runs queries whose whole answer is wanted."""

    def __init__(self, *, tables: TableStore, catalogs: CatalogSource) -> None:
        self._tables = tables
        self._catalogs = catalogs

    def select(
        self, adql: str | Query, limit: int | None = None, *, what: str
    ) -> list[tuple[Any, ...]]:
        """Every row. Raises LimitError, which tells ``what`` is too much, beyond ``limit``."""
        query = compile_tree(
            parse(adql) if isinstance(adql, str) else adql,
            catalog=self._catalogs.current(),
            target=self._tables.target,
            maxrec=_ALL if limit is None else limit,
        )
        found = [
            row
            for batch in self._tables.stream(query, time_limit_s=TIME_LIMIT_S)
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
        ]
        if limit is not None and len(found) > limit:
            raise LimitError(what, f"more than {limit}", limit)
        return found


def literal(text: str) -> str:
    """An ADQL string literal."""
    return "'" + text.replace("'", "''") + "'"
