"""A slice of ``python -m benchmarks.fuzz_adql``: no query text breaks the compiler or a database,
or reads anything that is not published."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pyarrow as pa
import pytest

from app.adql.compiled import CompiledQuery
from app.errors import ServiceError
from app.schema.fields import Field
from benchmarks.fuzz_adql import Target, fuzz, postgres_target, sqlite_target
from benchmarks.fuzz_mutations import mutated
from tests.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgres"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    """Each engine with its guard."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            yield sqlite_target(tmp_path, stack)
        else:
            server: PostgresServer = request.getfixturevalue("postgres_server")
            yield postgres_target(server, stack)


def test_no_text_makes_anything_but_an_answer_or_a_refusal(target: Target) -> None:
    report = fuzz(mutated(20, 1000), [target])
    assert report.faults == {}
    assert report.outcomes["answered"] > 100


@pytest.mark.parametrize(
    "sql",
    ["SELECT parameters FROM job", "SELECT 1 FROM alembic_version", "DELETE FROM obscore"],
)
def test_the_guard_sees_what_must_not_be(target: Target, sql: str) -> None:
    with pytest.raises(ServiceError):
        _rows(sql, target)
    assert bool(target.breaches) is (target.stores.engine.dialect.name == "sqlite")


@pytest.mark.parametrize(
    "sql", ["SELECT file_path FROM obscore", "SELECT image_ref AS x FROM obscore"]
)
def test_columns_of_the_service_itself_are_never_read(target: Target, sql: str) -> None:
    if target.stores.engine.dialect.name == "sqlite":
        (column,) = _rows(sql, target).columns
        assert column.null_count == len(column) > 0
    else:
        with pytest.raises(ServiceError):
            _rows(sql, target)


def _rows(sql: str, target: Target) -> pa.Table:
    query = CompiledQuery(
        sql=sql,
        binds={},
        fields=(Field(name="x", kind="text", datatype="char", arraysize="*"),),
        maxrec=1,
        target=target.stores.tables.target,
    )
    with closing(target.stores.tables.stream(query)) as batches:
        return pa.Table.from_batches(list(batches))
