"""ADQL to SQL: parse, resolve, write; each pass a function of the value before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app.adql.compiled import CompiledQuery, Target
from app.adql.parse import parse
from app.adql.postgres import PostgresWriter
from app.adql.pushing import push_down
from app.adql.resolve import resolve
from app.adql.sqlite import SqliteWriter
from app.adql.tree import Query
from app.adql.writer import SqlWriter
from app.schema.fields import Catalog

_WRITERS: Final[dict[Target, type[SqlWriter]]] = {
    "sqlite": SqliteWriter,
    "postgres": PostgresWriter,
}

_NO_PREFIXES: Final[Mapping[str, str]] = {}


def compile_query(
    text: str,
    *,
    catalog: Catalog,
    target: Target,
    maxrec: int,
    prefixes: Mapping[str, str] = _NO_PREFIXES,
) -> CompiledQuery:
    """One statement that answers an ADQL 2.1 query, for one engine.

    Raises AdqlError (syntax, unknown name, type, not supported) with the line and column of the
    fault, and LimitError for a query beyond the parser's bounds. The rest as :func:`compile_tree`.
    """
    return compile_tree(
        parse(text), catalog=catalog, target=target, maxrec=maxrec, prefixes=prefixes
    )


def compile_tree(
    written: Query,
    *,
    catalog: Catalog,
    target: Target,
    maxrec: int,
    prefixes: Mapping[str, str] = _NO_PREFIXES,
) -> CompiledQuery:
    """The statement of a syntax tree, however it was made.

    ``prefixes`` supplies what stored values of fields with a ``prefix_bind`` lack. Raises
    AdqlError (unknown name, type, not supported) and LimitError.
    """
    query = push_down(resolve(written, catalog))
    writer = _WRITERS[target](prefixes)
    sql = writer.statement(query, _limit(query.top, maxrec))
    return CompiledQuery(
        sql=sql,
        binds=dict(writer.binds),
        fields=tuple(output.field for output in query.outputs),
        maxrec=maxrec,
        target=target,
    )


def _limit(top: int | None, maxrec: int) -> int:
    """Rows to fetch: one more than ``maxrec`` shows that the answer was cut."""
    return maxrec + 1 if top is None else min(top, maxrec + 1)
